"""Analytic FLOPs of a model: products only, a multiply-add counts two."""

from vlfusion_jax.core import names
from vlfusion_jax.layers.block import CROSS, MLP
from vlfusion_jax.models.spec import IMAGE_STREAM, JOINT, TEXT_STREAM, ModelSpec


def image_flops(spec: ModelSpec) -> int:
    """FLOPs to turn one image into tokens."""
    rows, columns = spec.image.grid
    if spec.image.tokens == "patch":
        return 2 * rows * columns * 3 * spec.image.patch**2 * spec.width
    total, inputs, (height, width) = 0, 3, spec.image.size
    for features in spec.image.channels:
        height, width = -(-height // 2), -(-width // 2)
        total += 2 * height * width * 9 * inputs * features
        inputs = features
    return total + 2 * rows * columns * inputs * spec.width


def _layer_flops(spec: ModelSpec, sublayer: str, tokens: int, keys: int, key_share: int) -> int:
    if sublayer == MLP:
        return 4 * tokens * spec.width * spec.block.mlp_width
    # Query and output of the tokens, key and value of the keys; then scores and sums.
    return 4 * (tokens + keys / key_share) * spec.width**2 + 4 * tokens * keys * spec.width


def row_flops(spec: ModelSpec, text_tokens: int, head: str, predictions: int = 0, texts_per_image: int = 1) -> int:
    """Forward FLOPs of one text with its image, padding included.

    Args:
      spec: the model.
      text_tokens: padded length of the text.
      head: task whose head is applied.
      predictions: masked positions a text, for the `mlm` head.
      texts_per_image: texts among which an image's tokens are shared: what is computed once is divided by it.
    """
    grid = spec.image.grid[0] * spec.image.grid[1]
    tokens = {TEXT_STREAM: text_tokens, IMAGE_STREAM: grid, JOINT: text_tokens + grid}
    total = image_flops(spec) // texts_per_image
    for i, stage in enumerate(spec.stages):
        shared = texts_per_image if all(s.image_once for s in spec.stages[: i + 1]) else 1
        for stream in stage.streams:
            share = shared if stream == IMAGE_STREAM else 1
            for sublayer in stage.sublayers:
                keys, key_share = tokens[stream], 1
                if sublayer == CROSS:
                    other = stage.context or stage.streams[1 - stage.streams.index(stream)]
                    keys, key_share = tokens[other], shared if stage.context else 1
                total += stage.layers * _layer_flops(spec, sublayer, tokens[stream], keys, key_share) // share
    total += 2 * spec.width**2
    if head == names.MLM:
        total += predictions * 2 * (spec.width**2 + spec.width * spec.padded_vocab)
    elif head == names.VQA:
        total += 2 * spec.answer_hidden * (spec.width + spec.padded_answers)
    elif head == names.ITM:
        total += 4 * spec.width
    return total

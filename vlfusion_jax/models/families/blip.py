"""BLIP (Li et al. 2022, "BLIP: Bootstrapping Language-Image Pre-training …"): text that reads an image, or writes.

An image encoder (ViT) and BERT layers with cross-attention in each. `captioning`: a causal decoder reads the image
(section 3.1, "image-grounded text decoder"). `vqa`: an encoder of the question reads the image, a decoder of the
answer reads the question (figure 5); the answer can also be picked from a list, by the question's first token.
`retrieval`: an encoder that reads the image tells whether both match; the same layers without cross-attention make a
vector of the text alone.
"""

from typing import Any

from vlfusion_jax.core import names
from vlfusion_jax.layers.block import CROSS, MLP, SELF, BlockSpec, Stage
from vlfusion_jax.models.families import pixels
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.spec.heads import ClassHead, ContrastiveHead, WordHead
from vlfusion_jax.models.spec.inputs import ImageInput, TextInput
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.pools import Pool
from vlfusion_jax.models.spec.steps import Transform
from vlfusion_jax.models.spec.streams import IMAGE, TARGET, TEXT

ALONE = "text_alone"  # the text as if there were no image
VARIANTS = ("captioning", "vqa", "retrieval")

SIZES = {
    "base": {
        "variant": "captioning",  # captioning | vqa | retrieval
        "text_width": 768,
        "text_layers": 12,  # of encoder and decoder each
        "text_heads": 12,
        "text_mlp_width": 3072,
        "text_activation": "gelu",
        "text_norm_epsilon": 1e-12,
        "text_positions": 512,  # rows of the position table
        "begin_id": 30522,  # token that begins what is written: [DEC], behind BERT's vocabulary
        "end_id": 102,  # token that ends it: BERT's [SEP]
        "dropout": 0.1,  # of the text: the image encoder has none on its branches
        "attention_dropout": 0.1,  # of the text
        "image_width": 768,
        "image_layers": 12,
        "image_heads": 12,
        "image_mlp_width": 3072,
        "image_activation": "gelu",
        "image_norm_epsilon": 1e-5,  # as Hugging Face has it; 1e-6 in the original
        "image_attention_dropout": 0.0,
        "patch_size": 16,
        "vector_width": 256,  # retrieval: of the vectors of text alone and image
        "temperature": True,  # retrieval: products of vectors are divided by a learned number
        **pixels.CLIP,
    },
    "tiny": {
        "text_width": 32,
        "text_layers": 2,
        "text_heads": 2,
        "text_mlp_width": 64,
        "text_positions": 64,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "image_width": 32,
        "image_layers": 2,
        "image_heads": 2,
        "image_mlp_width": 64,
        "patch_size": 15,
        "vector_width": 16,
    },
}

TEMPERATURE = 0.07  # at first


def spec(model: Any, given: Given) -> ModelSpec:
    """The model of `config.model`."""
    width, epsilon = model.text_width, model.text_norm_epsilon
    text_block = BlockSpec(
        model.text_heads, model.text_mlp_width, "post", epsilon, model.text_activation, model.dropout,
        model.attention_dropout,
    )  # fmt: skip
    image_block = BlockSpec(
        model.image_heads, model.image_mlp_width, "pre", model.image_norm_epsilon, model.image_activation,
        attention_dropout=model.image_attention_dropout,
    )  # fmt: skip

    def words(stream: str) -> TextInput:
        return TextInput(stream, given.vocab, width, model.text_positions, epsilon=epsilon, dropout=model.dropout)

    def layers(name: str, streams: tuple[str, ...], context: str, **more: Any) -> Stage:
        sublayers = (SELF, CROSS, MLP)
        return Stage(name, streams, (text_block,), sublayers, model.text_layers, context=(context,), **more)

    image = ImageInput(
        "patch", given.image_size, model.image_width, model.patch_size, cls=True, positions="learned",
        mean=model.pixel_mean, std=model.pixel_std,
    )  # fmt: skip
    steps = (
        Stage("image_layers", (IMAGE,), (image_block,), (SELF, MLP), model.image_layers),
        Transform("image_norm", IMAGE, IMAGE, norm_out=model.image_norm_epsilon),
    )
    decoder = WordHead(TARGET, model.text_activation, epsilon, everywhere=True)
    first = Pool(TEXT, "first")
    if model.variant == "captioning":
        inputs, pools = (image, words(TARGET)), ()
        steps += (layers("decoder_layers", (TARGET,), IMAGE, causal=True),)
        heads = ((names.CAPTION, decoder),)
    elif model.variant == "vqa":
        inputs, pools = (image, words(TEXT), words(TARGET)), (first,)
        steps += (layers("text_layers", (TEXT,), IMAGE), layers("decoder_layers", (TARGET,), TEXT, causal=True))
        answer = ClassHead(given.answers, given.answer_hidden or 2 * width, pad=True)
        heads = ((names.ANSWER, decoder), (names.VQA, answer))
    else:
        inputs, pools = (image, words(TEXT)), (first,)
        steps += (
            Transform("text_copy", TEXT, ALONE),
            layers("text_layers", (TEXT, ALONE), IMAGE, tied=(SELF, MLP), alone=(ALONE,)),
        )
        vectors = tuple(
            (name, Pool(stream, "first", model.vector_width)) for name, stream in ((TEXT, ALONE), (IMAGE, IMAGE))
        )
        temperature = TEMPERATURE if model.temperature else None
        contrast = ContrastiveHead(vectors, scale=None, temperature=temperature)
        heads = ((names.CONTRASTIVE, contrast), (names.ITM, ClassHead(2)))
    return ModelSpec(inputs, steps, pools, heads, scan=model.scan_layers, remat=model.remat)

"""ALBEF (Li et al. 2021, "Align before Fuse: Vision and Language Representation Learning with Momentum Distillation").

BERT's first layers read the text alone, its last ones attend to the image too (section 3.1, figure 1). Text and image
are compared before they are fused, so the text's own stream stays as it is and the fusion layers write another. With
`decoder_layers` there is a causal decoder: one that reads the image writes captions, BLIP's (Li et al. 2022, section
3.1) beside the same image encoder; one that reads the fused question writes its answer (section 5, VQA).
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

FUSED = "fused_text"  # stream of the fusion layers

SIZES = {
    "base": {
        "width": 768,  # of the text
        "heads": 12,  # of the text
        "mlp_width": 3072,  # of the text
        "activation": "gelu",  # of the text
        "norm_epsilon": 1e-12,  # of the text
        "dropout": 0.1,  # of the text
        "attention_dropout": 0.1,  # of the text
        "text_layers": 6,
        "fusion_layers": 6,
        "decoder_layers": 0,  # of a causal decoder; 0 = there is none
        "decoder_reads": "image",  # image: it writes captions | question: fused with its image, it writes answers
        "text_positions": 512,  # rows of the text's position table
        "token_types": 2,
        "image_width": 768,
        "image_heads": 12,
        "image_mlp_width": 3072,
        "image_layers": 12,
        "image_norm_epsilon": 1e-6,
        "patch_size": 16,
        "contrastive_width": 256,  # of the vectors that are compared
        "temperature": 0.07,  # at the start: what the products of these vectors are divided by
        **pixels.CLIP,
    },
    "tiny": {
        "width": 32,
        "heads": 2,
        "mlp_width": 64,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "text_layers": 1,
        "fusion_layers": 2,
        "image_width": 32,
        "image_heads": 2,
        "image_mlp_width": 64,
        "image_layers": 2,
        "patch_size": 8,
        "contrastive_width": 16,
    },
}


def spec(model: Any, given: Given) -> ModelSpec:
    """The model of `config.model`."""
    epsilon, image_epsilon = model.norm_epsilon, model.image_norm_epsilon
    text = BlockSpec(
        model.heads, model.mlp_width, "post", epsilon, model.activation, model.dropout, model.attention_dropout
    )
    image = BlockSpec(model.image_heads, model.image_mlp_width, "pre", image_epsilon, "gelu")
    compared = tuple((stream, Pool(stream, "first", model.contrastive_width)) for stream in (TEXT, IMAGE))
    reading = (SELF, CROSS, MLP)
    writes, answers = model.decoder_layers > 0, model.decoder_reads == "question"
    context = (FUSED,) if answers else (IMAGE,)
    decoder = Stage("decoder_layers", (TARGET,), (text,), reading, model.decoder_layers, context=context, causal=True)
    written = names.ANSWER if answers else names.CAPTION

    def words(stream: str, types: int) -> TextInput:
        return TextInput(
            stream, given.vocab, model.width, model.text_positions, types, epsilon=epsilon, dropout=model.dropout
        )

    return ModelSpec(
        inputs=(
            words(TEXT, model.token_types),
            ImageInput(
                "patch", given.image_size, model.image_width, model.patch_size, cls=True,
                mean=model.pixel_mean, std=model.pixel_std,
            ),
            *((words(TARGET, 0),) if writes else ()),
        ),
        steps=(
            Stage("image_layers", (IMAGE,), (image,), (SELF, MLP), model.image_layers),
            Transform("image_norm", IMAGE, IMAGE, norm_out=image_epsilon),
            Stage("text_layers", (TEXT,), (text,), (SELF, MLP), model.text_layers),
            Transform("fusion_start", TEXT, FUSED),
            Stage("fusion", (FUSED,), (text,), reading, model.fusion_layers, context=(IMAGE,)),
            *((decoder,) if writes else ()),
        ),
        pools=(Pool(FUSED),),
        heads=(
            *(((written, WordHead(TARGET, model.activation, epsilon, everywhere=True)),) if writes else ()),
            (names.CONTRASTIVE, ContrastiveHead(compared, scale=None, temperature=model.temperature)),
            (names.ITM, ClassHead(2)),
            (names.MLM, WordHead(FUSED, model.activation, epsilon)),
            (names.VQA, ClassHead(given.answers, given.answer_hidden or 2 * model.width, pad=True)),
        ),
        text=FUSED,
        scan=model.scan_layers,
        remat=model.remat,
    )  # fmt: skip

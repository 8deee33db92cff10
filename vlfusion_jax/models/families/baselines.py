"""The fusion baselines of the field's textbooks, on any pair of towers.

With x_i the towers' features, text and image (Baltrušaitis et al. 2019, "Multimodal Machine Learning: A Survey and
Taxonomy", section 6, and where named):

`early_fusion`: z = f(x_1, …, x_N), f being Transformer layers on the tokens of both laid end to end;
`early_sum_fusion`: the same f on the sum: every text token plus the mean of the image's;
`late_fusion`: y = Σ w_i y_i, each tower having heads of its own, w learned or fixed;
`attention_fusion`: h = Σ α_i x_i, α a learned softmax over the towers' vectors;
`co_attention`: α_ij = f(x_i, x_j): layers in which the tokens of each attend to those of the other (Lu et al. 2016);
`hierarchical_fusion`: z^(l+1) = f^(l+1)(z^(l), x_1^(l), …, x_N^(l)): learned tokens z read both towers level by level;
`gated_fusion`: h = Σ z_i tanh(W_i x_i), a learned gate for each tower (GMU, Arevalo et al. 2017);
`bottleneck_fusion`: layers in which the towers exchange through a few learned tokens alone (MBT, Nagrani et al. 2021);
`bilinear_fusion`: products of two projections, summed in groups (MFB, Yu et al. 2017).
"""

from typing import Any

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.layers.block import CROSS, MLP, SELF, BlockSpec, Stage
from vlfusion_jax.layers.convnet import IMAGENET, TOWERS
from vlfusion_jax.layers.recurrent import GATES
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.spec import (
    IMAGE,
    JOINT,
    TEXT,
    Add,
    ClassHead,
    Combine,
    ImageInput,
    Join,
    LearnedInput,
    ModelSpec,
    Pool,
    Recurrent,
    Step,
    TextInput,
    Transform,
    WordHead,
)  # fmt: skip

LATE, ATTENTION, GATED, BILINEAR = "late_fusion", "attention_fusion", "gated_fusion", "bilinear_fusion"
EARLY, EARLY_SUM = "early_fusion", "early_sum_fusion"
CO_ATTENTION, HIERARCHICAL, BOTTLENECK = "co_attention", "hierarchical_fusion", "bottleneck_fusion"
NAMES = (EARLY, EARLY_SUM, LATE, ATTENTION, CO_ATTENTION, HIERARCHICAL, GATED, BOTTLENECK, BILINEAR)
# Those whose fusion is made of Transformer layers; the others combine one vector of each tower.
LAYERED = (EARLY, EARLY_SUM, CO_ATTENTION, HIERARCHICAL, BOTTLENECK)
TEXT_TOWERS = ("embeddings", "transformer", *GATES)
IMAGE_TOWERS = ("patch", "conv", "vit", *TOWERS)
LEARNED = "learned"  # stream of learned tokens

SIZES = {
    "base": {
        "text_tower": "transformer",  # embeddings alone | transformer | lstm | gru
        "bidirectional": True,  # lstm, gru: also from the last word, half of the width each
        "text_layers": 2,  # transformer, lstm, gru
        "image_tower": "vit",  # patch: linear patches | conv: a small stem | vit | resnet50, … : a grid
        "image_layers": 2,  # vit
        "fusion_layers": 2,  # of the families that fuse by layers
        "fusion_tokens": 4,  # learned tokens of hierarchical_fusion and bottleneck_fusion
        "factors": 5,  # bilinear_fusion: products summed for each result
        "late_weights": "learned",  # late_fusion: learned | fixed
        "text_share": 0.5,  # late_fusion, fixed: weight of the text's logits; the image's have the rest
        "width": 128,  # channels of the token streams
        "heads": 4,  # attention heads; divides width
        "mlp_width": 512,  # hidden channels of the MLP
        "norm": "pre",  # pre | post: layer norm before the sub-layer, or after its residual sum
        "norm_epsilon": 1e-6,  # added to the variance
        "activation": "gelu",  # key of ops.activations
        "dropout": 0.0,  # probability, on embeddings and sub-layer outputs
        "attention_dropout": 0.0,  # probability, on attention weights
        "patch_size": 15,  # patch, vit: pixels along each side; divides the image size
        "conv_channels": (32, 64, 96, 128),  # conv: one 3x3 convolution of stride 2 each
    },
    "tiny": {
        "text_layers": 1,
        "image_layers": 1,
        "fusion_layers": 1,
        "width": 32,
        "heads": 2,
        "mlp_width": 64,
        "patch_size": 8,
        "conv_channels": (8, 16, 32),
    },
}


def spec(model: Any, given: Given) -> ModelSpec:
    """The model of `config.model`.

    Raises:
      UserError: towers and fusion that do not go together.
    """
    _check(model)
    epsilon = model.norm_epsilon
    hidden = given.answer_hidden or 2 * model.width
    steps, combine = _steps(model), _combine(model)
    if model.norm == "pre":
        ends = {EARLY: (JOINT,), EARLY_SUM: (TEXT,), HIERARCHICAL: (TEXT, LEARNED)}.get(model.family, (TEXT, IMAGE))
        steps += tuple(Transform(f"{stream}_norm", stream, stream, norm_out=epsilon) for stream in ends)
    learned = (LearnedInput(LEARNED, model.fusion_tokens, model.width),)
    return ModelSpec(
        inputs=(
            TextInput(
                TEXT, given.vocab, model.width, given.text_length, epsilon=epsilon, modality=0, dropout=model.dropout
            ),
            _image(model, given),
            *(learned if model.family in (HIERARCHICAL, BOTTLENECK) else ()),
        ),
        steps=steps,
        pools=_pools(model),
        combine=combine,
        heads=(
            (names.ITM, ClassHead(2, hidden, activation=model.activation, epsilon=epsilon)),
            (names.MLM, WordHead(TEXT, model.activation, epsilon)),
            (names.VQA, ClassHead(given.answers, hidden, activation=model.activation, epsilon=epsilon, pad=True)),
        ),
        modalities=2,
        modality_width=model.width,
        scan=model.scan_layers,
        remat=model.remat,
    )  # fmt: skip


def _check(model: Any) -> None:
    if model.text_tower in GATES and model.bidirectional and model.width % 2:
        raise UserError(f"model.width {model.width} does not divide by 2, as model.bidirectional needs.")
    if model.family in LAYERED and not model.fusion_layers:
        raise UserError(f"model.fusion_layers is 0; {model.family} needs at least 1.")
    if model.text_share > 1:
        raise UserError(f"model.text_share is {model.text_share}; it must be at most 1.")
    if model.family == HIERARCHICAL:
        layered = {"text": model.text_tower != "embeddings", "image": model.image_tower == "vit"}
        for side, has_levels in layered.items():
            if has_levels and model[f"{side}_layers"] != model.fusion_layers:
                raise UserError(
                    f"model.{side}_layers is {model[f'{side}_layers']}, but hierarchical_fusion reads a layer of the "
                    f"{model[f'{side}_tower']!r} tower at each of its {model.fusion_layers} levels: make it equal to "
                    "model.fusion_layers."
                )


def _image(model: Any, given: Given) -> ImageInput:
    more = {"positions": "sincos", "epsilon": model.norm_epsilon, "modality": 1, "dropout": model.dropout}
    if model.image_tower in TOWERS:
        return ImageInput(size=given.image_size, width=model.width, **TOWERS[model.image_tower], **IMAGENET, **more)
    tokens = "conv" if model.image_tower == "conv" else "patch"
    return ImageInput(
        tokens, given.image_size, model.width, model.patch_size, channels=model.conv_channels, **more
    )  # fmt: skip


def _tower(model: Any, stream: str, layers: int, level: str = "") -> tuple[Step, ...]:
    """`layers` layers of the tower of `stream`; none where the tower has no layers behind its input."""
    name, tower = f"{stream}_layers{level}", model.text_tower if stream == TEXT else model.image_tower
    if not layers or tower not in ("transformer", "vit", *GATES):
        return ()
    if tower in GATES:
        width = model.width // 2 if model.bidirectional else model.width
        return (Recurrent(name, stream, tower, width, layers, model.bidirectional),)
    return (Stage(name, (stream,), (_block(model),), (SELF, MLP), layers),)


def _block(model: Any) -> BlockSpec:
    return BlockSpec(
        model.heads, model.mlp_width, model.norm, model.norm_epsilon, model.activation, model.dropout,
        model.attention_dropout,
    )  # fmt: skip


def _steps(model: Any) -> tuple[Step, ...]:
    family, blocks, layers = model.family, (_block(model),), model.fusion_layers
    if family == HIERARCHICAL:
        levels = []
        for i in range(layers):
            levels += [*_tower(model, TEXT, 1, f"_{i}"), *_tower(model, IMAGE, 1, f"_{i}")]
            levels.append(Stage(f"fusion_{i}", (LEARNED,), blocks, (CROSS, SELF, MLP), 1, context=(TEXT, IMAGE)))
        return tuple(levels)
    fusion: dict[str, tuple[Step, ...]] = {
        EARLY: (Join(), Stage("fusion", (JOINT,), blocks, (SELF, MLP), layers)),
        EARLY_SUM: (Add(IMAGE, TEXT), Stage("fusion", (TEXT,), blocks, (SELF, MLP), layers)),
        CO_ATTENTION: (Stage("fusion", (TEXT, IMAGE), blocks, (CROSS, MLP), layers),),
        BOTTLENECK: (Stage("fusion", (TEXT, IMAGE), blocks, (SELF, MLP), layers, bottleneck=LEARNED),),
    }
    towers = _tower(model, TEXT, model.text_layers) + _tower(model, IMAGE, model.image_layers)
    return towers + fusion.get(family, ())


def _pools(model: Any) -> tuple[Pool, ...]:
    if model.family == HIERARCHICAL:
        return (Pool(LEARNED, "mean"),)
    if model.family in (EARLY, EARLY_SUM):
        return (Pool(TEXT, "first"),)
    if model.family in LAYERED or model.text_tower == "transformer":
        how = "first"
    else:
        how = "last" if model.text_tower in GATES and not model.bidirectional else "mean"
    return (Pool(TEXT, how), Pool(IMAGE, "mean"))


def _combine(model: Any) -> Combine:
    if model.family == LATE:
        fixed = (model.text_share, 1 - model.text_share)
        return Combine("late", weights=fixed if model.late_weights == "fixed" else ())
    return {
        ATTENTION: Combine("attention"),
        GATED: Combine("gated", model.width),
        BILINEAR: Combine("bilinear", model.width, model.factors),
        CO_ATTENTION: Combine("concat"),
        BOTTLENECK: Combine("concat"),
    }.get(model.family, Combine())

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

The towers are those of `families.towers`.
"""

from dataclasses import replace
from typing import Any

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.layers.block import CROSS, MLP, SELF, Stage
from vlfusion_jax.layers.recurrent import GATES
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.regions import REGIONS
from vlfusion_jax.models.families.tower import Tower
from vlfusion_jax.models.families.towers import OF_FAMILIES, image_tower, is_foreign, own_block, text_tower
from vlfusion_jax.models.spec.heads import ClassHead, WordHead
from vlfusion_jax.models.spec.inputs import LearnedInput
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.pools import Combine, Pool
from vlfusion_jax.models.spec.steps import Add, Join, Step, Transform
from vlfusion_jax.models.spec.streams import IMAGE, JOINT, TEXT

LATE, ATTENTION, GATED, BILINEAR = "late_fusion", "attention_fusion", "gated_fusion", "bilinear_fusion"
EARLY, EARLY_SUM = "early_fusion", "early_sum_fusion"
CO_ATTENTION, HIERARCHICAL, BOTTLENECK = "co_attention", "hierarchical_fusion", "bottleneck_fusion"
NAMES = (EARLY, EARLY_SUM, LATE, ATTENTION, CO_ATTENTION, HIERARCHICAL, GATED, BOTTLENECK, BILINEAR)
# Those whose fusion is made of Transformer layers; the others combine one vector of each tower.
LAYERED = (EARLY, EARLY_SUM, CO_ATTENTION, HIERARCHICAL, BOTTLENECK)
LEARNED = "learned"  # stream of learned tokens
LEVEL = {TEXT: "text_level", IMAGE: "image_level"}  # hierarchical_fusion: streams of a tower's layer as it is read

SIZES = {
    "base": {
        "text_tower": "transformer",  # embeddings alone | transformer | lstm | gru | bert | roberta
        "bidirectional": True,  # lstm, gru: also from the last word, half of the width each
        "text_layers": 2,  # of any text tower but embeddings
        "text_width": 768,  # bert, roberta
        "text_heads": 12,  # bert, roberta
        "text_mlp_width": 3072,  # bert, roberta
        # patch: linear patches | conv: a small stem | transformer: layers over patches | vit | clip_vit | resnet50,
        # resnet101, resnet152, vgg16: a grid | regions_lxmert, regions_uniter, regions_vilbert: vectors and boxes
        "image_tower": "transformer",
        "image_layers": 2,  # transformer, vit, clip_vit
        "image_width": 768,  # vit, clip_vit
        "image_heads": 12,  # vit, clip_vit
        "image_mlp_width": 3072,  # vit, clip_vit
        "fusion_layers": 2,  # of the families that fuse by layers
        "fusion_tokens": 4,  # learned tokens of hierarchical_fusion and bottleneck_fusion
        "factors": 5,  # bilinear_fusion: products summed for each result
        "late_weights": "learned",  # late_fusion: learned | fixed
        "text_share": 0.5,  # late_fusion, fixed: weight of the text's logits; the image's have the rest
        "width": 128,  # channels of the token streams, of the towers of our own, and of the fusion
        "heads": 4,  # attention heads; divides width
        "mlp_width": 512,  # hidden channels of the MLP
        "norm": "pre",  # pre | post: layer norm before the sub-layer, or after its residual sum; towers have their own
        "norm_epsilon": 1e-6,  # added to the variance
        "activation": "gelu",  # key of ops.activations
        "dropout": 0.0,  # probability, on embeddings and sub-layer outputs
        "attention_dropout": 0.0,  # probability, on attention weights
        "patch_size": 15,  # patch, transformer, vit, clip_vit: pixels along each side; divides the image size
        "conv_channels": (32, 64, 96, 128),  # conv: one 3x3 convolution of stride 2 each
        **REGIONS,
    },
    "tiny": {
        "text_layers": 1,
        "text_width": 48,
        "text_heads": 4,
        "text_mlp_width": 64,
        "image_layers": 1,
        "image_width": 32,
        "image_heads": 2,
        "image_mlp_width": 64,
        "fusion_layers": 1,
        "width": 32,
        "heads": 2,
        "mlp_width": 64,
        "patch_size": 8,
        "conv_channels": (8, 16, 32),
        "region_patch": 8,
    },
}


def spec(model: Any, given: Given) -> ModelSpec:
    """The model of `config.model`.

    Raises:
      UserError: towers and fusion that do not go together.
    """
    _check(model)
    towers = text_tower(model, given), image_tower(model, given)
    _check_levels(model, towers)
    epsilon = model.norm_epsilon
    hidden = given.answer_hidden or 2 * model.width
    steps = _steps(model, towers)
    if model.norm == "pre":
        ends = {EARLY: (JOINT,), EARLY_SUM: (TEXT,), HIERARCHICAL: (TEXT, LEARNED)}.get(model.family, (TEXT, IMAGE))
        steps += tuple(Transform(f"{stream}_final_norm", stream, stream, norm_out=epsilon) for stream in ends)
    learned = (LearnedInput(LEARNED, model.fusion_tokens, model.width),)
    return ModelSpec(
        inputs=(
            *(tower.input for tower in towers),
            *(learned if model.family in (HIERARCHICAL, BOTTLENECK) else ()),
        ),
        steps=steps,
        pools=_pools(model),
        combine=_combine(model),
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


def _check_levels(model: Any, towers: tuple[Tower, Tower]) -> None:
    """Hold that `hierarchical_fusion` finds a layer of each tower that has layers at each of its levels."""
    for tower in towers:
        side = tower.input.stream
        if model.family == HIERARCHICAL and tower.layers and tower.layers.layers != model.fusion_layers:
            raise UserError(
                f"model.{side}_layers is {tower.layers.layers}, but hierarchical_fusion reads a layer of the "
                f"{model[f'{side}_tower']!r} tower at each of its {model.fusion_layers} levels: make it equal to "
                "model.fusion_layers."
            )


def _mapped(model: Any, tower: Tower, target: str) -> tuple[Step, ...]:
    """What stands behind the layers of a tower that is not our own, to stream `target`: its end, then width and
    modality of the fusion.
    """
    stream = tower.input.stream
    if not is_foreign(tower):
        return ()
    end = tuple(replace(step, target=target) for step in tower.end)
    width = 0 if tower.input.width == model.width else model.width
    source, row = target if end else stream, (TEXT, IMAGE).index(stream)
    return (*end, Transform(f"{stream}_transform", source, target, width, modality=row))


def _steps(model: Any, towers: tuple[Tower, Tower]) -> tuple[Step, ...]:
    family, blocks, layers = model.family, (own_block(model),), model.fusion_layers
    if family == HIERARCHICAL:
        return _levels(model, towers)
    fusion: dict[str, tuple[Step, ...]] = {
        EARLY: (Join(), Stage("fusion", (JOINT,), blocks, (SELF, MLP), layers)),
        EARLY_SUM: (Add(IMAGE, TEXT), Stage("fusion", (TEXT,), blocks, (SELF, MLP), layers)),
        CO_ATTENTION: (Stage("fusion", (TEXT, IMAGE), blocks, (CROSS, MLP), layers),),
        BOTTLENECK: (Stage("fusion", (TEXT, IMAGE), blocks, (SELF, MLP), layers, bottleneck=LEARNED),),
    }
    steps: tuple[Step, ...] = ()
    for tower in towers:
        steps += tower._replace(end=()).steps + _mapped(model, tower, tower.input.stream)
    return steps + fusion.get(family, ())


def _levels(model: Any, towers: tuple[Tower, Tower]) -> tuple[Step, ...]:
    """A layer of each tower, then one of the fusion that reads both, and again."""
    steps: list[Step] = []
    read = tuple(LEVEL[each.input.stream] if is_foreign(each) else each.input.stream for each in towers)
    for i in range(model.fusion_layers):
        for tower, stream in zip(towers, read, strict=True):
            if tower.layers:
                steps.append(replace(tower.layers, name=f"{tower.layers.name}_{i}", layers=1))
            steps += _mapped(model, tower, stream)
        steps.append(Stage(f"fusion_{i}", (LEARNED,), (own_block(model),), (CROSS, SELF, MLP), 1, context=read))
    return tuple(steps)


def _pools(model: Any) -> tuple[Pool, ...]:
    if model.family == HIERARCHICAL:
        return (Pool(LEARNED, "mean"),)
    if model.family in (EARLY, EARLY_SUM):
        return (Pool(TEXT, "first"),)
    if model.family in LAYERED or model.text_tower in ("transformer", *OF_FAMILIES):
        how = "first"
    else:
        how = "last" if model.text_tower in GATES and not model.bidirectional else "mean"
    has_class_token = model.image_tower in OF_FAMILIES
    return (Pool(TEXT, how), Pool(IMAGE, "first" if has_class_token else "mean"))


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

"""A model's specification as lines to read: inputs, steps, pools and heads, from top to bottom."""

from vlfusion_jax.layers.block import BlockSpec, Stage
from vlfusion_jax.models.spec.heads import ClassHead, ContrastiveHead, RegionHead, WordHead
from vlfusion_jax.models.spec.inputs import ImageInput, LearnedInput, RegionInput, TextInput
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.pools import Pool
from vlfusion_jax.models.spec.steps import Add, Bridge, Join, Transform


def picture(spec: ModelSpec) -> list[str]:
    """The layer picture, a line each."""
    lines = [_row(each.stream, _input(each)) for each in spec.inputs]
    lines += [_row(*_step(step)) for step in spec.steps]
    lines += [_row("pool", _pool(pool)) for pool in spec.pools]
    if spec.combine.how != "only":
        lines.append(_row("combine", spec.combine.how))
    return [*lines, *(_row(f"head {name}", _head(head)) for name, head in spec.heads)]


def _row(name: str, text: str) -> str:
    return f"{name:<24} {text}"


def _input(each) -> str:
    if isinstance(each, TextInput):
        types = " + type" if each.types else ""
        norm = "" if each.epsilon is None else ", norm"
        return f"{each.vocab} words x {each.width}, + position ({each.length}){types}{norm}"
    if isinstance(each, ImageInput):
        kind = f"patches of {each.patch}" if each.tokens == "patch" else each.tokens
        cls = "class token + " if each.cls else ""
        norm = "" if each.epsilon is None else ", norm"
        cells = f"{each.size[0]} x {each.size[1]} pixels"
        return f"{cells} -> {each.count} tokens x {each.width}: {cls}{kind}, {each.positions} positions{norm}"
    if isinstance(each, RegionInput):
        origin = f"patches of {each.patch}" if each.patch else "given"
        return f"{each.tokens} regions ({origin}) x {each.features} -> x {each.width}, boxes as in {each.form}"
    assert isinstance(each, LearnedInput)
    return f"{each.count} learned tokens x {each.width}"


def _step(step) -> tuple[str, str]:
    if isinstance(step, Stage):
        return step.name, _stage(step)
    if isinstance(step, Join):
        return "joint", "text | image"
    if isinstance(step, Add):
        return step.target, f"{step.target} + mean of {step.source}"
    if isinstance(step, Transform):
        parts = [
            "norm" if step.norm_in is not None else "",
            f"linear -> {step.width}" if step.width else "",
            "+ modality" if step.modality is not None else "",
            "norm" if step.norm_out is not None else "",
        ]
        return step.name, f"{step.target} = {step.source}: {', '.join(part for part in parts if part) or 'copied'}"
    if isinstance(step, Bridge):
        return step.name, f"{step.target} = norm({step.source} {step.how} {step.target})"
    direction = ", both directions" if step.bidirectional else ""
    return step.name, f"{step.layers} x {step.cell} {step.width}{direction} on {step.stream}"


def _stage(stage: Stage) -> str:
    streams = ", ".join(stage.streams)
    reads = f" reading {' | '.join(stage.context)}" if stage.context else ""
    notes = [
        f"{'+'.join(stage.tied)} shared by the streams" if stage.tied else "",
        "causal" if stage.causal else "",
        f"through {stage.bottleneck}" if stage.bottleneck else "",
    ]
    blocks = "; ".join(dict.fromkeys(map(_block, stage.blocks)))
    note = "".join(f", {each}" for each in notes if each)
    return f"{stage.layers} x [{' '.join(stage.sublayers)}] on {streams}{reads}: {blocks}{note}"


def _block(block: BlockSpec) -> str:
    return f"{block.heads} heads, MLP {block.mlp_width} {block.activation}, {block.norm}-norm"


def _pool(pool: Pool) -> str:
    projection = f" -> {pool.width}" if pool.width else ""
    return f"{pool.stream}, {pool.how}{projection} {pool.activation}".rstrip()


def _head(head) -> str:
    if isinstance(head, WordHead):
        return f"words of {head.stream}" + ("" if head.tied else ", a table of its own")
    if isinstance(head, ClassHead):
        hidden = f"{head.hidden} -> " if head.hidden else ""
        rows = f", {head.rows} rows together" if head.rows > 1 else ""
        return f"{hidden}{head.classes} classes of the {head.read.replace('_', ' ')}{rows}"
    if isinstance(head, RegionHead):
        return ", ".join(f"{name} {size}" for name, size in head.outputs) + " of every image token"
    assert isinstance(head, ContrastiveHead)
    return " · ".join(f"{name}: {_pool(pool)}" for name, pool in head.vectors)

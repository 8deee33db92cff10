"""vlfusion inspect --config=FILE.py[:ARG] [--devices=N] [--config.KEY=VALUE ...]
vlfusion inspect --family=NAME [--size=NAME] [--heads=NAME,…]

With a config: each parameter of the run: shape, logical axes, the mesh axes they are split over, bytes in all and per
device; with --devices=N on any mesh. With a family: its layers, parameters and FLOPs by part, and activations. Nothing
is allocated.
"""

from absl import flags

from vlfusion_jax.cli.arguments import define_config_flag, no_more_words, parse, parse_with_config
from vlfusion_jax.cli.devices import define_device_flags, start_devices
from vlfusion_jax.cli.training import vocabulary_of
from vlfusion_jax.config.keys import nearest
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.source import open_source
from vlfusion_jax.models.activations import count_activations
from vlfusion_jax.models.families.published import PUBLISHED, usual_sizes
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters
from vlfusion_jax.models.flops import part_flops
from vlfusion_jax.models.parameters import part_parameters
from vlfusion_jax.models.picture import picture
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.parallel.audit import format_audit
from vlfusion_jax.train.setup import build


def define_flags(values: flags.FlagValues) -> None:
    """Add the flags of this subcommand."""
    define_config_flag(values)
    flags.DEFINE_string("family", "", f"one of {', '.join(FAMILIES)}", flag_values=values)
    flags.DEFINE_string("size", "base", "size of the family", flag_values=values)
    flags.DEFINE_list("heads", [], "heads to count; default the answers, or what the family has", flag_values=values)
    define_device_flags(values)


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Print the table of the run's parameters, or what a family is made of."""
    if any(word.lstrip("-").partition("=")[0] == "family" for word in arguments):
        no_more_words(parse(values, arguments))
        print("\n".join(_describe(values.family, values.size, tuple(values.heads))))
        return
    config = parse_with_config(values, arguments)
    start_devices(values)
    job = build(config, vocabulary_of(config, open_source(config.data, config.data.train_split)))
    mesh = " × ".join(f"{axis}={size}" for axis, size in job.strategy.mesh.shape.items())
    print(f"sharding {config.sharding}: mesh {mesh}")
    print(format_audit(job.audit, job.strategy.mesh.size))


def _describe(family: str, size: str, heads: tuple[str, ...]) -> list[str]:
    model, given = hyperparameters(family, size), usual_sizes(family, size)
    spec = FAMILIES[family].spec(model, given)
    heads = heads or _usual_heads(spec)
    known = dict(spec.heads)
    for head in heads:
        if head not in known:
            raise UserError(
                f"family {family!r} has no head {head!r}; it has {', '.join(known) or 'none'}.{nearest(head, known)}"
            )
    parameters = part_parameters(spec, heads)
    flops = part_flops(spec, given.text_length, heads, _predictions(given.text_length), 1, given.text_length)
    activations = count_activations(spec, heads, given.text_length)
    height, width = given.image_size
    lines = [f"{family}, {size}: texts of {given.text_length} tokens, images of {height} x {width} pixels", ""]
    lines += [*picture(spec), "", f"{'part':<24}{'parameters':>14}{'GFLOPs':>10}"]
    for part in dict.fromkeys((*parameters, *flops)):
        lines.append(f"{part:<24}{parameters.get(part, 0):>14,}{flops.get(part, 0) / 1e9:>10.2f}")
    lines.append(f"{'all':<24}{sum(parameters.values()):>14,}{sum(flops.values()) / 1e9:>10.2f}")
    lines += [
        "",
        f"activations: {activations / 1e6:.1f} M numbers an example, {activations * 4 / 2**20:.0f} MiB in f32",
    ]
    published = PUBLISHED.get((family, size))
    if published:
        counted = sum(part_parameters(spec, published.heads).values())
        with_heads = f" with {', '.join(published.heads)}" if published.heads else " without heads"
        lines.append(
            f"parameters{with_heads}: {counted / 1e6:.2f} M; published {published.parameters / 1e6:.2f} M "
            f"({published.source})"
        )
    return lines


def _usual_heads(spec: ModelSpec) -> tuple[str, ...]:
    """The answers, or whatever else there is."""
    own = tuple(name for name, _ in spec.heads)
    return (names.VQA,) if names.VQA in own else own


def _predictions(tokens: int) -> int:
    """Masked words of a text, at the usual rate of 15 %."""
    return max(1, round(0.15 * tokens))

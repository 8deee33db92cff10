"""vlfusion calibrate [--topology=v5e:1x1]

How far the times of `vlfusion plan` can be trusted: compiles programs whose time on a machine's device follows from its
published rates, and prints that time beside the plan's. No such device has to be there.
"""

from absl import flags
from tqdm import tqdm

from vlfusion_jax.cli.arguments import no_more_words, parse
from vlfusion_jax.core.columns import aligned
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.plan.known import calibrate, programs
from vlfusion_jax.plan.topology import describe


def define_flags(values: flags.FlagValues) -> None:
    """Add the flags of this subcommand."""
    flags.DEFINE_string("topology", "v5e:1x1", "machine: v5e:1x1, v5p:2x2x1, h100:1, …", flag_values=values)


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Compile the programs and print the table."""
    no_more_words(parse(values, arguments))
    device = describe(values.topology)[0]
    cells = [("program", "known ms", "planned ms", "by", "error", "roofline ms", "error")]
    try:
        for each in tqdm(calibrate(device), total=len(programs()), desc="compiling", disable=None):
            times = (each.known, each.planned, each.roofline)
            known, planned, bound = (f"{1e3 * time:.3f}" for time in times)
            of_planned, of_bound = (f"{100 * (time / each.known - 1):+.0f} %" for time in times[1:])
            cells.append((each.name, known, planned, each.by, of_planned, bound, of_bound))
    except ValueError as error:
        raise UserError(str(error)) from error
    print(device.device_kind)
    print("\n".join(aligned(cells)))

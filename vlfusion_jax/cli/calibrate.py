"""vlfusion calibrate [--topology=v5e:1x1]

How far the times of `vlfusion plan` can be trusted: compiles programs whose time on a machine's device follows from its
published rates, and prints that time beside the compiler's own cycles, the plan's time and the bound which a plan
gives besides (of GPUs, whose compiler gives no cycles, the plan is the bound). No such device has to be there.
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
    cells = [("program", "known ms", "compiler's cycles", "error", "planned", "error", "roofline", "error")]
    try:
        for each in tqdm(calibrate(device), total=len(programs(1)), desc="compiling", disable=None):
            row = [each.name, f"{1e3 * each.known:.3f}"]
            for seconds in (each.cycles, each.planned, each.roofline):
                known = seconds is not None
                row += [
                    f"{1e3 * seconds:.3f}" if known else "",
                    f"{100 * (seconds / each.known - 1):+.0f} %" if known else "",
                ]
            cells.append(tuple(row))
    except ValueError as error:
        raise UserError(str(error)) from error
    print(device.device_kind)
    print("\n".join(aligned(cells)))

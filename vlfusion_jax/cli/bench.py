"""vlfusion bench --against=torch [--batch=8] [--image=384] [--layers=12] [--rounds=7] [--compiled]

Times ViLT-B/32 against the model of transformers, both in f32 on the CPU's cores with the same weights and inputs: a
forward pass and a training step (AdamW on the VQA loss), in turns in one process. The ratio is what counts; it prints
medians, quartiles and the rate of arithmetic beside it.
"""

from absl import flags

from vlfusion_jax.cli.arguments import no_more_words, parse
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.plan.against_torch import compare_vilt
from vlfusion_jax.plan.timing import Timing

REFERENCES = ("torch",)
# Of a training step, beside those of its forward pass.
_BACKWARD = 3


def define_flags(values: flags.FlagValues) -> None:
    """Add the flags of this subcommand."""
    flags.DEFINE_string("against", "", "what to measure against: torch", flag_values=values)
    flags.DEFINE_integer("batch", 8, "pairs of image and question", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("image", 384, "height and width of the images, in pixels", lower_bound=32, flag_values=values)
    flags.DEFINE_integer("layers", 12, "layers of the model", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("rounds", 7, "counted calls of each program", lower_bound=1, flag_values=values)
    flags.DEFINE_boolean("compiled", False, "also measure torch.compile", flag_values=values)


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Measure, and print a table of the forward pass and one of the training step."""
    no_more_words(parse(values, arguments))
    if values.against not in REFERENCES:
        raise UserError(f"--against is {values.against!r}; it must be one of {', '.join(REFERENCES)}.")
    found = compare_vilt(values.batch, values.image, values.layers, values.rounds, values.compiled)
    print(f"ViLT, patches of 32, {values.layers} layers, {values.batch} images of {values.image} pixels, f32")
    print("\n".join(_table("forward pass", found.forward, found.forward_flops)))
    print("\n".join(_table("training step", found.train, _BACKWARD * found.forward_flops)))


def _table(name: str, times: dict[str, Timing], flops: float) -> list[str]:
    lines = ["", f"{name:<16}{'median s':>10}{'quartiles':>18}{'GFLOP/s':>10}{'ours is faster by':>20}"]
    ours = times["ours"].median
    for program, time in times.items():
        quartiles = f"{time.low:.3f} - {time.high:.3f}"
        lines.append(
            f"{program:<16}{time.median:>10.3f}{quartiles:>18}{flops / time.median / 1e9:>10.0f}"
            f"{f'{time.median / ours:.2f} x':>20}"
        )
    return lines

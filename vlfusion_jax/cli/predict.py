"""vlfusion predict --workdir=DIR --image=FILE --question="TEXT" [--top=N] [--json]
vlfusion predict --workdir=DIR --image=FILE [--json]

Answers a question about an image with the newest checkpoint of a run, and prints the most probable answers; without a
question, writes a caption.
"""

import json

from absl import flags

from vlfusion_jax.cli.arguments import no_more_words, parse
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.serve.model import load

REQUIRED = ("workdir", "image")


def define_flags(values: flags.FlagValues) -> None:
    """Add the flags of this subcommand."""
    flags.DEFINE_string("workdir", "", "work directory of the run, or the folder of one checkpoint", flag_values=values)
    flags.DEFINE_string("image", "", "image file", flag_values=values)
    flags.DEFINE_string("question", "", "question about it; without one, a caption is written", flag_values=values)
    flags.DEFINE_integer("top", 5, "number of answers to print", lower_bound=1, flag_values=values)
    flags.DEFINE_boolean("json", False, "print one line of JSON instead", flag_values=values)


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Print the answers, best first, with their probabilities, or a caption."""
    no_more_words(parse(values, arguments))
    for name in REQUIRED:
        if not values[name].value:
            raise UserError(f"--{name} is missing; predict needs {', '.join(f'--{each}' for each in REQUIRED)}.")
    model = load(values.workdir)
    if not values.question:
        caption = model.caption(values.image)
        print(json.dumps({"caption": caption}) if values.json else caption)
        return
    answers = model.answer(values.image, values.question, values.top)
    if values.json:
        print(json.dumps([answer._asdict() for answer in answers]))
    else:
        for answer in answers:
            print(f"{answer.probability:6.1%}  {answer.text}")

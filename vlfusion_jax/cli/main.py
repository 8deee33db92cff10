"""vlfusion: train and use vision-language fusion Transformers.

  vlfusion train --config=configs/quickstart.py

vlfusion COMMAND --help explains a command.
"""

import importlib
import sys

from absl import flags, logging

from vlfusion_jax.cli.arguments import help_text
from vlfusion_jax.config.keys import nearest
from vlfusion_jax.core.errors import UserError

COMMANDS = {
    "bench": "measure a run on the devices that are here, beside the plan, or against another implementation",
    "train": "train a run and evaluate it; the same command again resumes it",
    "evaluate": "evaluate a trained run and print a table",
    "compare": "train several configs on the same data and budget; one table, one plot",
    "retrieve": "find images by text and texts by image; recall on a split",
    "score": "official numbers of result files: VQA accuracy, BLEU, ROUGE-L, CIDEr, consistency",
    "predict": "answer a question about an image with a trained run",
    "convert": "read a checkpoint of Hugging Face's transformers, or write one",
    "data": "build or check the data of a run",
    "plan": "say what a run needs on a machine that is not here: memory, time, network",
    "calibrate": "hold the times of plan against programs whose time is known",
    "inspect": "show parameters, shardings and bytes of a run as a table",
}


def main(arguments: list[str] | None = None) -> int:
    """Run `vlfusion ARGUMENTS`; one message on stderr and exit status 2 for bad input, 130 for Ctrl-C.

    Training that a signal stopped, and saved, leaves by `SystemExit` with 75.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        _dispatch(arguments)
    except (UserError, OSError) as error:  # such as a full disk
        print(f"vlfusion: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("vlfusion: interrupted", file=sys.stderr)
        return 130
    return 0


def _dispatch(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        listing = "\n".join(f"  {name.ljust(width)}  {summary}" for name, summary in COMMANDS.items())
        print(f"{__doc__.strip()}\n\nCommands:\n{listing}")
        return
    name, *rest = arguments
    if name not in COMMANDS:
        raise UserError(f"unknown command {name!r}.{nearest(name, COMMANDS)} Commands: {', '.join(COMMANDS)}.")
    logging.set_verbosity(logging.ERROR)  # what libraries note by absl is not for our user
    # Imported here so that help and mistakes are answered at once: jax takes seconds to import.
    command = importlib.import_module(f"vlfusion_jax.cli.{name}")
    values = flags.FlagValues()
    command.define_flags(values)
    if any(argument in ("-h", "--help") for argument in rest):
        print(help_text(command.__doc__, values))
        return
    command.run(values, rest)


if __name__ == "__main__":
    sys.exit(main())

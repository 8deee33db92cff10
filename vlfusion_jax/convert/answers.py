"""Names of the answers that a model picks among, be they the classes of a head or texts that it ranks."""

from collections.abc import Collection
from pathlib import Path

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError


def numbered_answers(count: int) -> tuple[str, ...]:
    """What `transformers` calls classes without names."""
    return tuple(f"LABEL_{i}" for i in range(count))


def read_answers(path: str) -> tuple[str, ...]:
    """The answers of a file, one a line, in the order of their classes.

    Raises:
      UserError: no such file, not UTF-8, an empty line, or the same answer twice.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"--answers={path} is not a file: give the path of a list of answers, one a line.")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"--answers={path} is not UTF-8 ({error}); save it as UTF-8.") from error
    # Not splitlines(): an answer may hold a character that Unicode counts among the ends of lines.
    answers = [line.strip() for line in text.removesuffix("\n").split("\n")]
    first: dict[str, int] = {}
    for number, answer in enumerate(answers, start=1):
        if not answer:
            raise UserError(f"--answers={path}: line {number} is empty; each line is one answer.")
        if answer in first:
            raise UserError(
                f"--answers={path}: line {number} repeats {answer!r} of line {first[answer]}; each answer is one class."
            )
        first[answer] = number
    return tuple(answers)


def write_answers(file: Path, answers: tuple[str, ...]) -> None:
    """`file` with what `read_answers` reads as `answers`.

    Raises:
      UserError: there are none, or some that it would not read, or read as others.
    """
    if not answers:
        raise UserError(f"there are no answers for {file.name}: leave head {names.VQA!r} out by --heads.")
    seen: set[str] = set()
    for number, answer in enumerate(answers, start=1):
        broken = "\n" in answer or "\r" in answer  # which is a new line to who reads a text
        if not answer or answer != answer.strip() or broken or answer in seen:
            raise UserError(
                f"answer {number}, {answer!r}, cannot stand in {file.name}, where each line is another answer, without "
                f"blanks at its ends: leave head {names.VQA!r} out by --heads."
            )
        seen.add(answer)
    file.write_text("\n".join(answers) + "\n", encoding="utf-8")


def choose_answers(
    found: tuple[str, ...], given: tuple[str, ...], wanted: Collection[str], stored: Collection[str], where: str
) -> tuple[str, ...]:
    """Names of the answers of a model; () where it has no head for them, or writes its own and none are given.

    Args:
      found: what the checkpoint calls them.
      given: by the user; () = nothing.
      wanted: heads of the model.
      stored: heads of the checkpoint; where that for answers is not among them it starts fresh, with any number.
      where: the checkpoint, for messages.

    Raises:
      UserError: another number of them, other names, none at all, or some for a model without the head.
    """
    head, named = names.VQA, found != numbered_answers(len(found))
    if head not in wanted:
        if given and names.ANSWER not in wanted:
            raise UserError(
                f"--answers names the classes of head {head!r}, which this is without: ask for it by --heads."
            )
        return given
    if head not in stored:
        if not given and not named:
            raise UserError(f"{where} has no head {head!r}: name the answers of the new one by --answers=FILE.")
        return given or found
    if given and len(given) != len(found):
        raise UserError(f"--answers has {len(given)} answers, the head of {where} {len(found)}: give one for each.")
    if given and named and given != found:
        raise UserError(f"{where} names its answers itself, and not as --answers does: leave that out.")
    return given or found

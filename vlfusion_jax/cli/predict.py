"""vlfusion predict --workdir=DIR --image=FILE --question="TEXT" [--top=N] [--explain=FILE.png] [--json]
vlfusion predict --workdir=DIR --image=FILE --text="TEXT" [--explain=FILE.png] [--json]
vlfusion predict --workdir=DIR --image=FILE [--json]
vlfusion predict --workdir=DIR --batch=ITEMS.jsonl --out=RESULTS.jsonl
vlfusion predict --workdir=DIR --split=NAME --format=evalai --out=RESULTS.json

Answers a question about an image with the newest checkpoint of a run, tells how likely a text belongs to it, or writes
a caption. --explain draws which parts of the image go with which word.
--batch reads lines {"image": FILE, "question": TEXT}, {"image": FILE, "texts": [TEXT, …]}, or {"image": FILE} for a
caption, files being relative to it. Every line is in --out with its number as "line", and "answer", "scores" or
"caption", or with "error", which says why it has none; exit status 2 where there are such.
--split writes a file for the official servers: the answer of every question or, of a model that answers none, the
caption of every image.
"""

import json
from pathlib import Path

from absl import flags

from vlfusion_jax.cli.arguments import no_more_words, parse
from vlfusion_jax.config.cells import reads_regions
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.files import written_whole
from vlfusion_jax.data.source import open_source
from vlfusion_jax.evals.official_files import write_answers, write_captions
from vlfusion_jax.serve.batches import answer_split, caption_images, predict_lines, read_lines
from vlfusion_jax.serve.explain import METHODS, ROLLOUT
from vlfusion_jax.serve.model import Model, load
from vlfusion_jax.serve.writing import check_ability

FORMATS = ("evalai",)
_SHOWN = 10  # faults in a message
# What is predicted, and the flags that go with each.
_WAYS = {
    "image": ("question", "text", "top", "explain", "method", "json"),
    "batch": ("out", "top", "batch_size"),
    "split": ("out", "format", "batch_size"),
}


def define_flags(values: flags.FlagValues) -> None:
    """Add the flags of this subcommand."""
    flags.DEFINE_string("workdir", "", "work directory of the run, or the folder of one checkpoint", flag_values=values)
    flags.DEFINE_string("image", "", "image file", flag_values=values)
    flags.DEFINE_string("question", "", "question about it", flag_values=values)
    flags.DEFINE_string("text", "", "text that may belong to it", flag_values=values)
    flags.DEFINE_integer("top", 5, "number of answers to give", lower_bound=1, flag_values=values)
    flags.DEFINE_string("explain", "", "PNG to draw of which parts go with which word", flag_values=values)
    flags.DEFINE_enum("method", ROLLOUT, METHODS, "how --explain finds them", flag_values=values)
    flags.DEFINE_string("batch", "", "file of many items, JSONL", flag_values=values)
    flags.DEFINE_string("split", "", "split of the run's data", flag_values=values)
    flags.DEFINE_enum("format", "", ("", *FORMATS), "what --out is written as, of --split", flag_values=values)
    flags.DEFINE_string("out", "", "file to write, of --batch and --split", flag_values=values)
    flags.DEFINE_integer("batch_size", 32, "items that are predicted at a time", lower_bound=1, flag_values=values)
    flags.DEFINE_boolean("json", False, "print one line of JSON instead", flag_values=values)


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Print the answers, best first, with their probabilities, or a caption, or write many."""
    no_more_words(parse(values, arguments))
    _check(values)
    if values.batch:
        file = Path(values.batch)
        lines = read_lines(file)
        results = predict_lines(load(values.workdir), lines, file.parent, values.top, values.batch_size)
        _write_lines(results, Path(values.out))
    elif values.split:
        _write_split(load(values.workdir), values)
    else:
        _show(load(values.workdir), values)


def _check(values: flags.FlagValues) -> None:
    ways = [way for way in _WAYS if values[way].value]
    if not values.workdir or len(ways) != 1:
        lacks = "--workdir is missing; " if not values.workdir else ""
        raise UserError(f"{lacks}predict needs --workdir and one of {', '.join(f'--{way}' for way in _WAYS)}.")
    [way] = ways
    for name in {name for own in _WAYS.values() for name in own} - set(_WAYS[way]):
        if values[name].present:
            raise UserError(f"--{name} does not go with --{way}; what does: {', '.join(f'--{n}' for n in _WAYS[way])}.")
    if way != "image" and not values.out:
        raise UserError(f"--out is missing: the file that --{way} writes.")
    if way == "split" and not values.format:
        raise UserError(f"--format is missing; there is {', '.join(FORMATS)}.")
    if values.question and values.text:
        raise UserError("give --question or --text, not both.")
    if values.explain and not (values.question or values.text):
        raise UserError("--explain needs --question or --text, whose words it shows.")
    if values.explain and Path(values.explain).suffix.lower() != ".png":
        raise UserError(f"--explain is {values.explain!r}; it writes a PNG: give a name that ends in .png.")
    for name in ("explain", "out"):
        if values[name].value and not Path(values[name].value).parent.is_dir():
            raise UserError(f"--{name} is {values[name].value!r}, whose folder does not exist: make it first.")


def _show(model: Model, values: flags.FlagValues) -> None:
    if values.question:
        answers = model.answer(values.image, values.question, values.top)
        lines = [f"{answer.probability:6.1%}  {answer.text}" for answer in answers]
        found = [answer._asdict() for answer in answers]
    elif values.text:
        check_ability(model.heads, names.ITM, "does not tell whether a text belongs to an image")
        [share] = model.score(values.image, [values.text])
        lines, found = [f"{share:6.1%}  match"], {"match": share}
    else:
        caption = model.caption(values.image)
        lines, found = [caption], {"caption": caption}
    if values.explain:
        head = names.ITM if values.text else ""
        model.explain(values.image, values.question or values.text, values.method, head).save(values.explain)
    print(json.dumps(found) if values.json else "\n".join(lines))


def _write_lines(results: list[dict], out: Path) -> None:
    with written_whole(out) as aside:
        aside.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in results), encoding="utf-8")
    faults = [f"line {row['line']}: {row['error']}" for row in results if "error" in row]
    print(f"{len(results) - len(faults):,} of {len(results):,} lines are predicted in {out}")
    if faults:
        more = [f"and {len(faults) - _SHOWN:,} more, as the file says"] if len(faults) > _SHOWN else []
        raise UserError("\n  ".join([f"{len(faults):,} lines are not predicted:", *faults[:_SHOWN], *more]))


def _write_split(model: Model, values: flags.FlagValues) -> None:
    if reads_regions(model.config.model):
        raise UserError(
            "--split shows pictures, but this model reads the regions of a detector: in Python, give `regions` and "
            "`boxes` to `encode` of vlfusion_jax.load(…)."
        )
    source, out = open_source(model.config.data, values.split), Path(values.out)
    if {names.VQA, names.ANSWER} & set(model.heads):
        ids, answers = answer_split(model, source, values.batch_size)
        write_answers(out, dict(zip(ids, answers, strict=True)), ids)
        print(f"{len(ids):,} answers are in {out}")
    else:
        captions = caption_images(model, source, values.batch_size)
        write_captions(out, captions)
        print(f"{len(captions):,} captions are in {out}")

"""vlfusion score vqa --results=FILE --annotations=FILE [--json]
vlfusion score captions --results=FILE --annotations=FILE [--items=FILE] [--json]
vlfusion score nlvr --results=FILE --annotations=FILE [--json]

The official numbers of result files, whoever made them. `vqa`: accuracy, overall and by type of answer and question, of
[{"question_id": …, "answer": …}] against VQA's annotations. `captions`: BLEU-1 to 4, ROUGE-L and CIDEr of
[{"image_id": …, "caption": …}] against COCO's annotations, from raw text, without Java. `nlvr`: accuracy and
consistency of lines `identifier,True` against NLVR2's annotations.
"""

import json
from pathlib import Path

from absl import flags

from vlfusion_jax.cli.arguments import no_more_words, parse
from vlfusion_jax.core.columns import aligned
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.evals.captions import CaptionScores
from vlfusion_jax.evals.nlvr_files import score_judgements
from vlfusion_jax.evals.official_files import score_answers, score_captions

WHAT = ("vqa", "captions", "nlvr")


def define_flags(values: flags.FlagValues) -> None:
    """Add the flags of this subcommand."""
    flags.DEFINE_string("results", "", "file of answers or captions, JSON, or of judgements, CSV", flag_values=values)
    flags.DEFINE_string("annotations", "", "official annotations of the same split, JSON", flag_values=values)
    flags.DEFINE_string("items", "", "of captions: file to write each image's scores to, JSONL", flag_values=values)
    flags.DEFINE_boolean("json", False, "print one line of JSON instead", flag_values=values)


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Print the scores."""
    rest = parse(values, arguments)
    if not rest or rest[0] not in WHAT:
        raise UserError(f"score what? vlfusion score {'|'.join(WHAT)} --results=FILE --annotations=FILE")
    what, *others = rest
    no_more_words(others)
    for name in ("results", "annotations"):
        if not values[name].value:
            raise UserError(f"--{name} is missing: the file of it.")
    if what != "captions" and values.items:
        raise UserError("--items is for captions.")
    files = Path(values.results), Path(values.annotations)
    if what == "vqa":
        scores = score_answers(*files)
    elif what == "nlvr":
        scores = score_judgements(*files)
    else:
        found, images, without = score_captions(*files)
        scores = found.corpus
        if values.items:
            _write_items(Path(values.items), found, images)
        if not values.json:
            print(f"{len(images):,} captions; {without:,} other images of {values.annotations} have none")
    if values.json:
        print(json.dumps(scores))
    else:
        shown = {name: f"{100 * value:.2f}" for name, value in scores.items()}
        print("\n".join(aligned([("", "× 100"), *shown.items()])))


def _write_items(file: Path, found: CaptionScores, images: list) -> None:
    lines = (
        json.dumps({"image_id": image} | {name: float(scores[i]) for name, scores in found.items.items()})
        for i, image in enumerate(images)
    )
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

"""vlfusion retrieve --workdir=DIR [--split=NAME] [--shortlist=32] [--exact] [--add_similarity] [--out=DIR] [--json]
vlfusion retrieve --workdir=DIR --text="TEXT" --images=FOLDER [--top=N] [--json]
vlfusion retrieve --workdir=DIR --image=FILE --texts=FILE [--top=N] [--json]

Finds images by text and texts by image. With a split: how often the right one is among the first 1, 5 and 10 (recall,
R@K), both ways, by the similarity of vectors alone, by a shortlist of the most similar that the matching head puts in
order, and with --exact by that head on every pair. Keys such as --config.data.path may be changed. With files of one's
own: the best of a folder's images for a text, or of a file's texts (one a line) for an image.
"""

import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from PIL import Image

from vlfusion_jax.cli.arguments import no_more_words, parse_but_overrides, resolve
from vlfusion_jax.core.columns import aligned
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.source import open_source
from vlfusion_jax.evals.retrieval import DEPTHS
from vlfusion_jax.models.families.table import load_stored
from vlfusion_jax.parallel.loading import load_strategy
from vlfusion_jax.serve.gallery import Gallery, read_gallery
from vlfusion_jax.serve.model import Model, load
from vlfusion_jax.serve.retrieval import Ranking, best, check_able, rank
from vlfusion_jax.serve.scorer import Scorer
from vlfusion_jax.train.checkpoint import load_meta
from vlfusion_jax.train.converted import read_parameters

OWN = {"text": "images", "image": "texts"}  # what is looked for, and where


def define_flags(values: flags.FlagValues) -> None:
    """Add the flags of this subcommand."""
    flags.DEFINE_string("workdir", "", "work directory of the run, or the folder of one checkpoint", flag_values=values)
    flags.DEFINE_string("split", "", "split to search; default the run's data.eval_split", flag_values=values)
    flags.DEFINE_integer(
        "shortlist", None, "how many of the most similar the matching head judges; default 32", flag_values=values
    )
    flags.DEFINE_boolean("exact", False, "also judge every image with every text", flag_values=values)
    flags.DEFINE_boolean(
        "add_similarity", False, "add the similarity to what the matching head says", flag_values=values
    )
    flags.DEFINE_string("out", "", "folder to write the best of every query to, JSONL", flag_values=values)
    flags.DEFINE_string("text", "", "text to find images for, among --images", flag_values=values)
    flags.DEFINE_string("images", "", "folder of images", flag_values=values)
    flags.DEFINE_string("image", "", "image file to find texts for, among --texts", flag_values=values)
    flags.DEFINE_string("texts", "", "file with a text on each line", flag_values=values)
    flags.DEFINE_integer("top", 10, "how many to show or write for each query", lower_bound=1, flag_values=values)
    flags.DEFINE_boolean("json", False, "print one line of JSON instead", flag_values=values)


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Print recall on a split, or the best of one's own files."""
    overrides = parse_but_overrides(values, arguments)
    if not values.workdir:
        raise UserError("--workdir is missing: give the work directory of a trained run.")
    if any(values[name].value for pair in OWN.items() for name in pair):
        _of_files(values, overrides)
    else:
        _of_split(values, overrides)


def _of_split(values: flags.FlagValues, overrides: list[str]) -> None:
    stored = load_stored(load_meta(values.workdir)["config"], values.workdir)
    config = resolve(stored, overrides)
    config.data.eval_split = values.split or config.data.eval_split
    source = open_source(config.data, config.data.eval_split)
    params, _, vocabulary = read_parameters(values.workdir)
    model = Model(config, vocabulary, params)
    scorer = _on_all_devices(model)
    check_able(scorer, values.shortlist)  # before images are read
    gallery = read_gallery(source, config, vocabulary)
    rankings = rank(scorer, gallery.images, gallery.texts, values.shortlist, values.exact, values.add_similarity)
    recalls = {ranking.name: ranking.recall(gallery.image_of_text) for ranking in rankings}
    if values.out:
        write_rankings(Path(values.out), gallery, rankings[-1], values.top)
    if values.json:
        print(json.dumps({
            "images": len(gallery.image_names),
            "texts": len(gallery.captions),
            **{r.name: recalls[r.name] | {"pairs": r.pairs, "seconds": r.seconds} for r in rankings},
        }))  # fmt: skip
        return
    print(f"{len(gallery.image_names):,} images, {len(gallery.captions):,} texts")
    ways = ("text_to_image", "image_to_text")
    rows = [["", "text to image", *[""] * (len(DEPTHS) - 1), "image to text", *[""] * (len(DEPTHS) + 1)]]
    rows.append(["", *(f"R@{k}" for _ in ways for k in DEPTHS), "pairs", "seconds"])
    for ranking in rankings:
        shares = (f"{100 * recalls[ranking.name][f'{way}_r{k}']:.1f} %" for way in ways for k in DEPTHS)
        rows.append([ranking.name, *shares, f"{ranking.pairs:,}", f"{ranking.seconds:.2f}"])
    print("\n".join(aligned(rows)))


def _on_all_devices(model: Model) -> Scorer:
    """The model's scorer, or one that splits rows over all devices, each with the whole model."""
    if jax.device_count() == 1:
        return model.scorer
    strategy = load_strategy("dp")
    batch_size = max(model.scorer.batch_size, strategy.batch_parts)
    params = jax.device_put(model.params, strategy.replicated)
    return Scorer(model.module, params, model.heads, batch_size, strategy)


def write_rankings(folder: Path, gallery: Gallery, ranking: Ranking, top: int) -> None:
    """`text_to_image.jsonl` and `image_to_text.jsonl`: a line for each query with what is right, and the `top` best."""

    def found(scores: np.ndarray, things: list[str], kind: str) -> list[dict[str, Any]]:
        chosen = [i for i in best(scores, top) if scores[i] > -np.inf]
        return [{kind: things[i], "score": float(scores[i])} for i in chosen]

    names, captions, owner = gallery.image_names, gallery.captions, gallery.image_of_text
    of_texts = (
        {"text": text, "image": names[owner[t]], "found": found(ranking.text_to_image[:, t], names, "image")}
        for t, text in enumerate(captions)
    )
    of_images = (
        {
            "image": name,
            "texts": [captions[t] for t in np.flatnonzero(owner == i)],
            "found": found(ranking.image_to_text[i], captions, "text"),
        }
        for i, name in enumerate(names)
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("text_to_image", of_texts), ("image_to_text", of_images)):
        aside = folder / f".{name}.{os.getpid()}"
        with aside.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        aside.replace(folder / f"{name}.jsonl")


def _of_files(values: flags.FlagValues, overrides: list[str]) -> None:
    no_more_words(overrides)
    given = [name for pair in OWN.items() for name in pair if values[name].value]
    if tuple(given) not in OWN.items():
        raise UserError(
            f"--{' and --'.join(given)}: give --text with --images to find images, --image with --texts to find texts."
        )
    for name in ("split", "exact", "add_similarity", "out"):
        if values[name].value:
            raise UserError(f"--{name} is for splits: leave it out with --{given[0]}.")
    if values.text:
        things = image_files(Path(values.images))
        found = load(values.workdir).retrieve(values.text, things, (), values.top, values.shortlist)
    else:
        things = text_lines(Path(values.texts))
        found = load(values.workdir).retrieve(values.image, (), things, values.top, values.shortlist)
    if values.json:
        kind = OWN[given[0]].removesuffix("s")
        print(json.dumps([{kind: str(things[each.number]), "score": each.score} for each in found]))
        return
    for each in found:
        print(f"{each.score:8.4f}  {things[each.number]}")


def image_files(folder: Path) -> list[Path]:
    """Image files below a folder, by their endings, sorted.

    Raises:
      UserError: it is no folder, or has none.
    """
    if not folder.is_dir():
        raise UserError(f"--images: {folder} is no folder.")
    endings = Image.registered_extensions()
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in endings and file.is_file())
    if not files:
        raise UserError(f"--images: no image is in {folder}.")
    return files


def text_lines(file: Path) -> list[str]:
    """Lines of a text file that are not empty.

    Raises:
      UserError: it cannot be read, is no UTF-8, or has none.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise UserError(f"--texts: {file} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--texts: {file} is no UTF-8 text: {error}.") from error
    if not any(lines):
        raise UserError(f"--texts: {file} has no text.")
    return [line for line in lines if line]

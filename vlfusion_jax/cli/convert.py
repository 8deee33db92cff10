"""vlfusion convert --from=hf SRC --out=DIR [--family=NAME [--size=NAME]] [--tokenizer=FILE]
                 [--heads=NAMES] [--answers=FILE]
                 [--image_size=H[,W]] [--text_length=N]
vlfusion convert --to=hf DIR --out=FOLDER [--architecture=CLASS]
vlfusion convert --to=original DIR --out=FOLDER [--heads=NAMES]

From a checkpoint of Hugging Face's transformers to ours and back, every key accounted for. SRC is a folder, a weights
file, or the name of a model in the Hugging Face cache, such as dandelin/vilt-b32-finetuned-vqa. What comes out is read
by --init_from, vlfusion predict and vlfusion_jax.load. Checkpoints of the papers' own repositories, which have no
config.json, need --family, and are written by --to=original, with answers.txt for --answers, which names answers.
--heads chooses heads: with --from=hf, those that SRC lacks start fresh; with --to=original, DIR must have them.
"""

import contextlib
import json
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from vlfusion_jax.cli.arguments import parse
from vlfusion_jax.convert.answers import read_answers, write_answers
from vlfusion_jax.convert.hugging_face import Imported, converter_of, export_model, import_model
from vlfusion_jax.convert.images import describe, processor_of, reads_pixels
from vlfusion_jax.convert.original import export_original, import_original, original_of, read_back
from vlfusion_jax.convert.resize import resized, with_images
from vlfusion_jax.convert.source import PROCESSOR, SAFETENSORS, open_checkpoint
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.layout import canvas_of
from vlfusion_jax.data.tokenizer import TOKENIZER, find_tokenizer, load_tokenizer, special_token, wordless_tokenizer
from vlfusion_jax.data.vocabulary import Vocabulary
from vlfusion_jax.models.families.table import load_stored, model_spec
from vlfusion_jax.serve.inputs import text_input
from vlfusion_jax.train.checkpoint import load_meta
from vlfusion_jax.train.converted import REPORT, heads_of, read_parameters, sizes_of, write_converted

HF, ORIGINAL = "hf", "original"
_ANSWERS = "answers.txt"


def define_flags(values: flags.FlagValues) -> None:
    """Add the flags of this subcommand."""
    flags.DEFINE_string("from", "", "format of SRC: hf", flag_values=values)
    flags.DEFINE_string("to", "", "format to write: hf, or original: the authors' own", flag_values=values)
    flags.DEFINE_string("out", "", "folder to write, which must not exist yet", flag_values=values)
    flags.DEFINE_string(
        "family", "", "family that SRC must be of; default what its config.json says", flag_values=values
    )
    flags.DEFINE_string("size", "base", "size of the family, where SRC has no config.json", flag_values=values)
    flags.DEFINE_string(
        "tokenizer", "", "tokenizer.json, vocab.txt or vocab.json, where SRC has none", flag_values=values
    )
    flags.DEFINE_string(
        "heads",
        "",
        "heads to have, such as vqa,mlm; with --from, new ones start fresh; default all there are",
        flag_values=values,
    )
    flags.DEFINE_string("answers", "", "file of the answers' names, one a line, where SRC has none", flag_values=values)
    flags.DEFINE_string(
        "image_size", "", "H or H,W in pixels: positions of the image's cells are interpolated", flag_values=values
    )
    flags.DEFINE_integer(
        "text_length", 0, "tokens to which the text's positions are cut; 0 = all", lower_bound=0, flag_values=values
    )
    flags.DEFINE_string(
        "architecture", "", "class of transformers to write for, such as ViltForMaskedLM", flag_values=values
    )


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Convert one way or the other, print the report, and leave nothing behind where it fails."""
    words = parse(values, arguments)
    source_format, target_format = values["from"].value, values.to
    way = ("to", target_format) if target_format else ("from", source_format)
    if (source_format and target_format) or way not in _WAYS:
        raise UserError("convert takes --from=hf or --to=hf or --to=original.")
    if len(words) != 1:
        raise UserError("convert takes one checkpoint: vlfusion convert --from=hf SRC --out=DIR")
    if not values.out:
        raise UserError("--out is missing: name the folder to write.")
    convert, read = _WAYS[way]
    unread = dict.fromkeys(option for _, options in _WAYS.values() for option in options if option not in read)
    if given := [f"--{name}" for name in unread if values[name].present]:
        why = "does not read it: leave it out" if len(given) == 1 else "reads none of these: leave them out"
        raise UserError(f"{', '.join(given)} cannot be given with --{'='.join(way)}, which {why}.")
    with _new_folder(Path(values.out)) as folder:
        report = convert(words[0], folder, values)
    print("\n".join(report))
    print(f"written to {values.out}")


def _from_hf(source: str, folder: Path, values: flags.FlagValues) -> list[str]:
    heads, answers = _heads(values), read_answers(values.answers) if values.answers else ()
    checkpoint = open_checkpoint(source)
    if checkpoint.config:
        if values["size"].present:
            raise UserError(f"--size cannot be given as the config.json of {source} says the size: leave it out.")
        imported = import_model(checkpoint, values.family, heads, answers)
    elif values.family:
        imported = import_original(checkpoint, values.family, values.size, heads=heads, answers=answers)
    else:
        raise UserError(f"{source} has no config.json: say what it is by --family, and --size where it is not base.")
    imported = resized(with_images(imported, checkpoint), _size(values.image_size), values.text_length)
    tokenizer = _tokenizer(imported, checkpoint.folder, values.tokenizer)
    vocabulary = Vocabulary(tokenizer.to_str(), imported.answers, (), rows=imported.sizes.vocab)
    write_converted(folder, imported, vocabulary, Path(values.out).name)
    if text_input(imported.spec) is not None:
        tokenizer.save(str(folder / TOKENIZER))
    return imported.lines()


def _heads(values: flags.FlagValues) -> tuple[str, ...] | None:
    return tuple(dict.fromkeys(values.heads.split(","))) if values.heads else None


def _size(text: str) -> tuple[int, int] | None:
    """(Height, width) of `H` or `H,W`; None of nothing."""
    sides = text.split(",")
    if not text:
        return None
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        raise UserError(f"--image_size={text}: give height and width in pixels, such as 384 or 384,512.")
    return int(sides[0]), int(sides[-1])


def _tokenizer(imported: Imported, folder: Path, given: str) -> Tokenizer:
    """The model's tokenizer: the file `given`, else what its folder has; one without words where it reads no text."""
    if text_input(imported.spec) is None:
        if given:
            raise UserError(f"a {imported.family} reads no text: leave --tokenizer out.")
        return wordless_tokenizer()
    tokenizer = load_tokenizer(given, key="--tokenizer") if given else find_tokenizer(folder)
    if tokenizer.get_vocab_size() > imported.sizes.vocab:
        raise UserError(
            f"the tokenizer has {tokenizer.get_vocab_size()} tokens, the model {imported.sizes.vocab}: they do not "
            "belong together; give the model's own by --tokenizer=FILE."
        )
    return tokenizer


def _to_hf(source: str, folder: Path, values: flags.FlagValues) -> list[str]:
    converter_of(_family(source))
    params, config, vocabulary = read_parameters(source)
    family, heads = config.model.family, heads_of(params)
    architecture = values.architecture or _class_for(family, heads, source)
    kept = converter_of(family).HEADS.get(architecture, ())
    left = _leave_out(params, kept)
    answers = vocabulary.answers if names.VQA in kept else ()
    shorter_side = config.data.shorter_side if config.data.resize == "shorter" else 0
    sizes = replace(sizes_of(config, vocabulary), shorter_side=shorter_side)
    tensors, theirs = export_model(family, config.model, sizes, architecture, params, answers)
    _write_json(folder / "config.json", theirs)
    return _write(folder, tensors, config, vocabulary, [f"{len(tensors)} tensors written for {architecture}", *left])


def _to_original(source: str, folder: Path, values: flags.FlagValues) -> list[str]:
    original_of(_family(source))
    params, config, vocabulary = read_parameters(source)
    model, heads = config.model, heads_of(params)
    kept = _heads(values) or heads
    missing = [head for head in kept if head not in heads]
    if missing:
        raise UserError(f"{source} has no head {missing[0]!r}; it has {', '.join(heads) or 'none'}.")
    left = _leave_out(params, kept)
    tensors = export_original(model.family, model, sizes_of(config, vocabulary), kept, params)
    report = [f"{len(tensors)} tensors written as the authors of {model.family} name them", *left, read_back(model)]
    if names.VQA in kept:
        write_answers(folder / _ANSWERS, vocabulary.answers)
        report.append(f"answers: written to {_ANSWERS}, for --answers")
    return _write(folder, tensors, config, vocabulary, report)


# What each direction and format does, and which options it reads beside --out.
_WAYS: dict[tuple[str, str], tuple[Callable[[str, Path, flags.FlagValues], list[str]], tuple[str, ...]]] = {
    ("from", HF): (_from_hf, ("family", "size", "tokenizer", "heads", "answers", "image_size", "text_length")),
    ("to", HF): (_to_hf, ("architecture",)),
    ("to", ORIGINAL): (_to_original, ("heads",)),
}


def _family(source: str) -> str:
    """Of a checkpoint of ours, before its parameters are read."""
    return load_stored(load_meta(source)["config"], source).model.family


def _leave_out(params: dict[str, Any], kept: Collection[str]) -> list[str]:
    """Take all heads but those `kept` out of {path: array}; lines of the report about them."""
    left = tuple(f"{names.HEAD}{head}/" for head in heads_of(params) if head not in kept)
    for path in [path for path in params if path.startswith(left)]:
        del params[path]
    return [f"left out {head}" for head in left]


def _write(
    folder: Path, tensors: dict[str, Any], config: ConfigDict, vocabulary: Vocabulary, report: list[str]
) -> list[str]:
    """The weights, what goes with them, and the report, which is returned whole."""
    save_file(tensors, folder / SAFETENSORS, metadata={"format": "pt"})
    spec = model_spec(config, vocabulary.size, len(vocabulary.answers))
    if text_input(spec) is not None:
        _write_tokenizer(folder, vocabulary)
    report += _write_processor(folder, config) if reads_pixels(spec) else []
    (folder / REPORT).write_text("\n".join(report) + "\n", encoding="utf-8")
    return report


def _write_processor(folder: Path, config: ConfigDict) -> list[str]:
    """What `AutoImageProcessor` reads, and what the report says of it."""
    canvas, model = canvas_of(config.data), config.model
    try:
        _write_json(folder / PROCESSOR, processor_of(canvas, model, model.family))
    except UserError as error:
        pixels = f"pixels have mean {model.pixel_mean}, deviation {model.pixel_std}"
        return [f"images: no {PROCESSOR} written, {pixels}: {error}"]
    return [f"images: {PROCESSOR} written: {describe(canvas)}"]


def _write_tokenizer(folder: Path, vocabulary: Vocabulary) -> None:
    (folder / TOKENIZER).write_text(vocabulary.tokenizer_json, encoding="utf-8")
    special = {role: special_token(vocabulary.tokenizer, role) for role in ("pad", "begin", "end", "mask")}
    theirs_by_role = {"pad": "pad_token", "begin": "cls_token", "end": "sep_token", "mask": "mask_token"}
    _write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast"}
        | {theirs_by_role[role]: token for role, token in special.items() if token},
    )


def _class_for(family: str, heads: tuple[str, ...], source: str) -> str:
    """The class that has just these heads."""
    classes = converter_of(family).HEADS
    fitting = [name for name, own in classes.items() if sorted(own) == sorted(heads)]
    if not fitting:
        raise UserError(
            f"{source} has the heads {', '.join(heads) or 'none'}, which no class of transformers has together: choose "
            f"one by --architecture: {', '.join(classes)}; other heads are left out."
        )
    return fitting[0]


@contextlib.contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes its name only when all is done."""
    if path.exists():
        raise UserError(f"--out={path} exists already; name a folder that does not.")
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.new")
    folder.mkdir()
    try:
        yield folder
        folder.rename(path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _write_json(file: Path, content: dict) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

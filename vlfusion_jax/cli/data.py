"""vlfusion data sort_of_clevr [--data_dir=DIR]      builds the data set of the quickstart
vlfusion data NAME --manual_dir=DIR [--data_dir=DIR]      builds an official data set from the files of its authors
vlfusion data check --config=FILE.py[:ARG] [--config.KEY=VALUE ...]      reads all of a run's data

NAME is vqav2, nlvr2, coco_karpathy, flickr30k, snli_ve, gqa or visual_genome_qa; --manual_dir holds its annotations and
image folders as they were unpacked. What is left out of it is counted, printed, and kept as dropped.json.

check opens every split the run uses, reads every image, and prints what there is: images, captions, questions, kinds,
answers, and the share of texts that the configured lengths cut. It ends with an error where a task finds nothing.
"""

from collections import Counter
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict
from tqdm import tqdm

from vlfusion_jax.cli.arguments import define_config_flag, no_more_words, parse, parse_with_config
from vlfusion_jax.cli.training import vocabulary_of
from vlfusion_jax.config.keys import nearest
from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core import names
from vlfusion_jax.core.columns import aligned
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.images import decode_image
from vlfusion_jax.data.pipeline import check_data, check_eval_data
from vlfusion_jax.data.records import Source
from vlfusion_jax.data.regions import region_layout, region_rows
from vlfusion_jax.data.source import data_folder, open_source
from vlfusion_jax.data.vectors import ReferenceVectors
from vlfusion_jax.data.vocabulary import Vocabulary, unanswerable

ACTIONS = (names.SORT_OF_CLEVR, *names.OFFICIAL_DATA, "check")
_SHOWN = 12


def define_flags(values: flags.FlagValues) -> None:
    """Add the flags of this subcommand."""
    define_config_flag(values)
    flags.DEFINE_string("manual_dir", "", "folder that an official data set was unpacked into", flag_values=values)
    flags.DEFINE_string(
        "data_dir", "", "where to build; default $VLFUSION_CACHE or ~/.cache/vlfusion_jax", flag_values=values
    )


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Build or check, as the first argument says."""
    if not arguments or arguments[0] not in ACTIONS:
        given = f"unknown action {arguments[0]!r}.{nearest(arguments[0], ACTIONS)}" if arguments else "no action given."
        raise UserError(f"data: {given} Actions: {', '.join(ACTIONS)}.")
    action, *rest = arguments
    if action == "check":
        _check(parse_with_config(values, rest))
        return
    no_more_words(parse(values, rest))
    if action == names.SORT_OF_CLEVR:
        _build(values.data_dir)
    elif not values.manual_dir:
        raise UserError(f"--manual_dir is missing: the folder that the files of {action} were unpacked into.")
    else:
        _build_official(action, Path(values.manual_dir).expanduser(), data_folder(values.data_dir))


def _build(data_dir: str) -> None:
    data = default_config().data
    data.path = data_dir
    for split in (data.train_split, data.eval_split):
        print(f"sort_of_clevr {split}: {len(open_source(data, split))} images")


def _build_official(name: str, manual_dir: Path, data_dir: Path) -> None:
    # TFDS takes a second or more to import.
    from vlfusion_jax.data.official.build import build
    from vlfusion_jax.data.official.kept import read_answer_counts, read_dropped, read_entries, splits_of
    from vlfusion_jax.data.official.table import DATA_SETS

    folder = build(name, manual_dir, data_dir)
    splits = {split: read_entries(folder, split) for split in splits_of(folder)}
    print(f"{name} is in {folder}")
    rows = [("split", "images", "captions", "questions")]
    for split, entries in splits.items():
        numbers = [sum(len(getattr(each, kind)) for each in entries) for kind in rows[0][1:]]
        rows.append((split, *(f"{number:,}" for number in numbers)))
    print("\n".join(aligned(rows)))
    if dropped := read_dropped(folder):
        cells = [(each["reason"], each["split"], each["first"], f"{each['count']:,}") for each in dropped]
        print("\n".join(["", *aligned([("left out", "of", "such as", "number"), *cells], left=3)]))
    least = DATA_SETS[name].answers_min_count
    counts = read_answer_counts(folder)
    answers = {answer for answer, count in counts.items() if count >= least}
    if counts and "train" in splits:
        print(f"\n{len(answers):,} answers were given {least} times or more (data.answers_min_count={least})")
        if left_out := unanswerable((each for entry in splits["train"] for each in entry.questions), answers):
            print(left_out)


def _check(config: ConfigDict) -> None:
    splits = dict.fromkeys((config.data.train_split, config.data.eval_split))
    sources = {split: open_source(config.data, split) for split in splits}
    vocabulary = vocabulary_of(config, sources[config.data.train_split])
    print(f"vocabulary: {vocabulary.size} tokens; {len(vocabulary.answers)} answers {_listed(vocabulary.answers)}")
    for split, source in sources.items():
        print(f"\n{split}")
        for name, value in _summary(source, vocabulary, config).items():
            print(f"  {name:<12}{value}")
        if config.tasks.context.weight:
            print(f"  {'vectors':<12}{_vectors(source, config.tasks.context.width)}")
    check_data(config, sources[config.data.train_split], vocabulary)
    check_eval_data(config, sources[config.data.eval_split], vocabulary)


def _summary(source: Source, vocabulary: Vocabulary, config: ConfigDict) -> dict[str, str]:
    """Rows of the table of one split. Raises UserError for an image, or a file of regions, that cannot be read."""
    data, regions = config.data, region_layout(config)
    sizes, kinds, captions, questions = Counter(), Counter(), [], []
    for index in tqdm(range(len(source)), desc="decoding images", unit=" images", leave=False, disable=None):
        record = source[index]
        for image in record.images:
            if regions:
                sizes[str(region_rows(image.data, image.name, regions)[names.REGION_MASK].sum())] += 1
            else:
                sizes["×".join(map(str, decode_image(image.data, image.name).shape[:2]))] += 1
        captions += record.captions
        questions += record.questions
        kinds.update(question.kind for question in record.questions if question.kind)
    known = sum(any(answer in vocabulary.answer_id for answer, _ in question.answers) for question in questions)
    records = f"{len(source):,} pairs" if source.images_per_record == 2 else f"{len(source):,}"
    measured = f"regions of at most {data.regions}:" if regions else "height×width"
    rows = {
        "images": f"{records}, {measured} {_listed([size for size, _ in sizes.most_common()])}",
        "captions": f"{len(captions):,}{_lengths(captions, vocabulary, data.caption_length)}",
        "questions": f"{len(questions):,}{_lengths([q.text for q in questions], vocabulary, data.question_length)}",
    }
    if config.tasks.answer.weight:
        answers = [answer for question in questions for answer, _ in question.answers]
        rows["answers"] = f"{len(answers):,}{_lengths(answers, vocabulary, data.answer_length)}"
    if questions:
        rows["answered"] = f"{known / len(questions):.1%} of the questions from the vocabulary"
    if kinds:
        rows["kinds"] = ", ".join(f"{kind} {count:,}" for kind, count in kinds.most_common())
    return rows


def _vectors(source: Source, width: int) -> str:
    """How many captions have one. Raises UserError for one that is damaged."""
    vectors = ReferenceVectors(source, width)
    captions = ((index, caption) for index in range(len(source)) for caption in source.text_of(index)[0])
    return f"of {sum(vectors.of(*each) is not None for each in captions):,} captions"


def _lengths(texts: list[str], vocabulary: Vocabulary, limit: int) -> str:
    if not texts:
        return ""
    lengths = [len(encoding.ids) for encoding in vocabulary.tokenizer.encode_batch(texts)]
    cut = sum(length > limit for length in lengths) / len(lengths)
    mean = sum(lengths) / len(lengths)
    return f", {min(lengths)} to {max(lengths)} tokens (mean {mean:.1f}), {cut:.1%} cut at {limit}"


def _listed(names) -> str:
    more = f" … and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

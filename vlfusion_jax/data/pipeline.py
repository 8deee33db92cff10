"""The way from a source to batches: a training batch is a pure function of (seed, step), an evaluation covers all once.

Row i of the endless stream of training rows, i = step * batch + place in the batch, gets its record from a grain
MapDataset that is shuffled anew every epoch, and its randomness from streams folded with i (with step, for what is
decided for a batch as a whole). A host computes the rows that its devices hold and nothing else, so the global batch is
the same, in the same order, for any number of hosts, and training resumes by starting at a step.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache, partial

import grain
import jax
import numpy as np
from ml_collections import ConfigDict

from vlfusion_jax.config.views import views_of
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.rng import numpy_rng
from vlfusion_jax.data import examples, matching
from vlfusion_jax.data.examples import Arrays
from vlfusion_jax.data.layout import Layout, layout_of, row_shapes
from vlfusion_jax.data.records import Question, Source
from vlfusion_jax.data.vectors import ReferenceVectors
from vlfusion_jax.data.vocabulary import Vocabulary, begin_and_end, most_answers

EVAL_SEED = 0  # evaluations of different runs hide the same tokens and show the same negatives
_ENDLESS = 1 << 48


def batch_shapes(config: ConfigDict, vocabulary: Vocabulary) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and dtype of every entry of the global training batch."""
    shapes = row_shapes(layout_of(config), vocabulary)
    return {
        key: jax.ShapeDtypeStruct((config.train.batch_size * rows, *rest), dtype)
        for key, ((rows, *rest), dtype) in shapes.items()
    }


def train_batches(
    config: ConfigDict,
    source: Source,
    vocabulary: Vocabulary,
    *,
    start_step: int = 0,
    rows: Iterable[int] | None = None,
) -> Iterator[Arrays]:
    """Endless iterator of rows of the training batches from number `start_step` on; has `.close()`.

    A batch of `train.batch_size` records, images or pairs of them, is laid out as `batch_shapes` says; exactly half of
    its captioned images, rounded down, get a foreign caption. `rows` are the records of it to compute, such as
    `global_array.local_rows`; all where it is None. Batches are prepared ahead by `data.threads` threads.

    Raises UserError where a task finds no data; while iterating, where an image or a vector is damaged.
    """
    layout = layout_of(config)
    check_data(config, source, vocabulary)
    size = config.train.batch_size
    places = range(size) if rows is None else tuple(rows)
    order_seed = int(numpy_rng(config.seed, names.ORDER).integers(1 << 31))
    order = grain.MapDataset.range(len(source)).seed(order_seed).shuffle().repeat()

    vectors = _vectors_of(layout, source)
    has_caption = [bool(source.text_of(index)[0]) for index in range(len(source))]

    @lru_cache(maxsize=64)
    def negatives(step: int) -> frozenset[int]:
        numbers = range(step * size, (step + 1) * size)
        captioned = [number for number in numbers if has_caption[order[number]]]
        return matching.choose_negatives(captioned, numpy_rng(config.seed, names.MATCHING, step))

    def row(step: int, place: int) -> Arrays:
        number = step * size + place
        negative = names.MATCH in layout.views and number in negatives(step)
        return _train_example(config, layout, source, vectors, vocabulary, order[number], number, negative)

    def batch(step: int) -> Arrays:
        return examples.concatenate([row(step, place) for place in places])

    return _iterate(grain.MapDataset.range(start_step, _ENDLESS).map(batch), config.data)


def _train_example(
    config: ConfigDict,
    layout: Layout,
    source: Source,
    vectors: ReferenceVectors | None,
    vocabulary: Vocabulary,
    index: int,
    number: int,
    negative: bool,
) -> Arrays:
    record = source[index]
    choice = numpy_rng(config.seed, names.CHOICE, number)
    texts: list[str] = []
    caption = None
    example: Arrays = {}
    # Drawn whether or not a task reads them: the caption that follows does not depend on which tasks are on.
    known = [question for question in record.questions if examples.is_answerable(question, vocabulary)]
    questions, weights = examples.sample_questions(known, layout.questions, choice)
    if names.QUESTION in layout.views:
        example |= examples.question_view(questions, weights, layout, vocabulary)
        texts += _texts_of(questions)
    if names.ANSWERED in layout.views:
        answering = numpy_rng(config.seed, names.ANSWERING, number)
        answered = [question for question in record.questions if question.answers]
        asked, weights = examples.sample_questions(answered, layout.questions, answering)
        example |= examples.answered_view(asked, weights, layout, vocabulary, answering)
        texts += _texts_of(asked)
    if names.STATEMENT in layout.views:
        [statement], _ = examples.sample_questions(record.questions, 1, choice)
        example |= examples.statement_view(statement, layout, vocabulary)
        texts.append(statement.text)
    if layout.captioned:
        captions = record.captions
        caption = captions[choice.integers(len(captions))] if captions else None
        example |= _caption_views(
            caption, captions, index, negative, layout, source, vocabulary, choice,
            numpy_rng(config.seed, names.MASKING, number),
        )  # fmt: skip
        example |= _reference_view(caption, index, vectors, layout, vocabulary)
        texts += [caption or ""]
    augment = numpy_rng(config.seed, names.AUGMENT, number)
    image = examples.augmented_image_view(record, layout, config.data, texts, augment)
    hiding = numpy_rng(config.seed, names.HIDING, number)
    return image | example | _masked_image_view(caption, image, layout, vocabulary, hiding)


def _texts_of(questions: Iterable[Question]) -> list[str]:
    """Questions and all their answers."""
    return [text for q in questions for text in (q.text, *(answer for answer, _ in q.answers))]


def _caption_views(
    caption: str | None,
    captions: tuple[str, ...],
    index: int,
    negative: bool,
    layout: Layout,
    source: Source,
    vocabulary: Vocabulary,
    choice: np.random.Generator,
    masking: np.random.Generator,
) -> Arrays:
    views: Arrays = {}
    if names.MASKED in layout.views:
        views |= examples.masked_view(caption, layout, vocabulary, masking)
    if names.MATCH in layout.views:
        replaced = negative and caption is not None
        tokens = partial(examples.caption_tokens, layout=layout, vocabulary=vocabulary)
        shown = matching.foreign_caption(source, captions, tokens, choice) if replaced else caption
        views |= examples.match_view(shown, not replaced, layout, vocabulary)
    if names.PLAIN in layout.views:
        views |= examples.plain_view(caption, index, layout, vocabulary)
    if names.WRITTEN in layout.views:
        views |= examples.written_view(caption, layout, vocabulary)
    return views


def _masked_image_view(
    caption: str | None, image: Arrays, layout: Layout, vocabulary: Vocabulary, hiding: np.random.Generator
) -> Arrays:
    if names.MASKED_IMAGE not in layout.views:
        return {}
    return examples.masked_image_view(caption, image, layout, vocabulary, hiding)


def _vectors_of(layout: Layout, source: Source) -> ReferenceVectors | None:
    return ReferenceVectors(source, layout.vector_width) if names.REFERENCE in layout.views else None


def _reference_view(
    caption: str | None, index: int, vectors: ReferenceVectors | None, layout: Layout, vocabulary: Vocabulary
) -> Arrays:
    if vectors is None:
        return {}
    return examples.reference_view(caption, vectors.of(index, caption), layout, vocabulary)


def eval_batches(
    config: ConfigDict, source: Source, vocabulary: Vocabulary, *, rows: Iterable[int] | None = None
) -> Iterator[Arrays]:
    """Iterator of `rows` (all where it is None) of the evaluation batches of `eval.batch_size` records; has `.close()`.

    Every question of every image (of the first `data.eval_limit`, where that is not 0) counts exactly once, and so does
    the first caption of every image: an image with more than Q questions takes several rows, its caption counts in the
    first. A question whose answers are all unknown has weight 1 and scores 0: it counts as wrong. Every statement on a
    pair takes a row with both images. Exactly half of the captioned images, rounded down, get a foreign caption. The
    last batch is filled up with rows of weight 0, so that every host yields the same number of batches. Questions have
    room for as many answers as those of `source` need.

    Raises UserError as `train_batches` does.
    """
    layout = layout_of(config)
    check_eval_data(config, source, vocabulary)
    if (most := most_answers(source)) > vocabulary.answers_per_question:  # else keep the object and its cache
        vocabulary = replace(vocabulary, answers_per_question=most)
    size = config.eval.batch_size
    places = range(size) if rows is None else tuple(rows)
    images = _eval_images(config, source)
    plan = _plan(layout, source, images)
    captioned = [number for number in range(images) if source.text_of(number)[0]]
    negatives = matching.choose_negatives(captioned, numpy_rng(EVAL_SEED, names.MATCHING, 0))
    row = partial(_eval_example, layout, source, _vectors_of(layout, source), vocabulary, negatives)

    def batch(step: int) -> Arrays:
        planned = [step * size + place for place in places]
        real = [row(*plan[number]) for number in planned if number < len(plan)]
        missing = len(places) - len(real)
        filling = [examples.without_weight(row(*plan[0]))] * missing if missing else []
        return examples.concatenate(real + filling)

    return _iterate(grain.MapDataset.range(-(-len(plan) // size)).map(batch), config.data)


def _plan(layout: Layout, source: Source, images: int) -> list[tuple[int, int]]:
    """Rows of an evaluation: (record number, number of its first question), in order."""
    plan = []
    for number in range(images):
        captions, questions = source.text_of(number)
        asked = len(questions) if layout.asks else 0
        shown = 1 if captions and layout.captioned else 0
        plan += [(number, first) for first in range(0, max(asked, shown), layout.questions)]
    return plan


def eval_questions(config: ConfigDict, source: Source) -> list[Question | None]:
    """What the rows of question or statement of `eval_batches` show, all batches end to end; None = no weight."""
    layout, size = layout_of(config), config.eval.batch_size
    plan = _plan(layout, source, _eval_images(config, source))
    shown: list[Question | None] = []
    for number, first in plan:
        questions = source.text_of(number)[1][first : first + layout.questions]
        shown += [*questions, *[None] * (layout.questions - len(questions))]
    return shown + [None] * (-len(plan) % size * layout.questions)


def _eval_images(config: ConfigDict, source: Source) -> int:
    return min(len(source), config.data.eval_limit or len(source))


def _eval_example(
    layout: Layout,
    source: Source,
    vectors: ReferenceVectors | None,
    vocabulary: Vocabulary,
    negatives: frozenset[int],
    number: int,
    first: int,
) -> Arrays:
    record = source[number]
    example = examples.image_view(record, layout)
    questions = record.questions[first : first + layout.questions]
    # A question that the data set answers nowhere, as of a test split, is none to be right or wrong about.
    weights = np.zeros(layout.questions, np.float32)
    weights[: len(questions)] = [bool(question.answers) for question in questions]
    if names.QUESTION in layout.views:
        example |= examples.question_view(questions, weights, layout, vocabulary)
    if names.ANSWERED in layout.views:
        answering = numpy_rng(EVAL_SEED, names.ANSWERING, number, first)
        example |= examples.answered_view(questions, weights, layout, vocabulary, answering)
    if names.STATEMENT in layout.views:
        example |= examples.statement_view(record.questions[first], layout, vocabulary)
    if layout.captioned:
        caption = record.captions[0] if record.captions and first == 0 else None
        example |= _caption_views(
            caption, record.captions, number, number in negatives, layout, source, vocabulary,
            numpy_rng(EVAL_SEED, names.CHOICE, number), numpy_rng(EVAL_SEED, names.MASKING, number),
        )  # fmt: skip
        example |= _reference_view(caption, number, vectors, layout, vocabulary)
        hiding = numpy_rng(EVAL_SEED, names.HIDING, number)
        example |= _masked_image_view(caption, example, layout, vocabulary, hiding)
    return example


def check_data(config: ConfigDict, source: Source, vocabulary: Vocabulary) -> None:
    """Raise UserError where a view that the tasks read would be empty for all of `source`, the training split."""
    layout, split = layout_of(config), config.data.train_split
    if not layout.views:
        raise UserError("no task is on: set the weight of one in config.tasks above 0.")
    _check_images(layout, source, split)
    if names.MASKED in layout.views:
        _ = vocabulary.mask_id  # or its complaint
    numbers = range(len(source))
    asked = [question for number in numbers for question in source.text_of(number)[1]]
    for task, view in views_of(config.tasks).items():
        if view in names.ASKING and not asked:
            raise UserError(
                f"task {task} finds no question in split '{split}': set tasks.{task}.weight=0 or data.fields.question."
            )
    if names.QUESTION in layout.views and not any(examples.is_answerable(q, vocabulary) for q in asked):
        raise UserError(f"task vqa is on, but no answer of split '{split}' is in the vocabulary of the run.")
    if names.ANSWERED in layout.views and not any(question.answers for question in asked):
        raise UserError(f"task answer is on, but no question of split '{split}' has an answer.")
    if layout.captioned and not any(source.text_of(number)[0] for number in numbers):
        reading = [task for task, view in views_of(config.tasks).items() if view not in names.ASKING]
        weights = ", ".join(f"tasks.{task}.weight=0" for task in reading)
        raise UserError(
            f"captions are needed by {' and '.join(reading)}, but split '{split}' has none: set {weights}, or name the "
            "caption field in data.fields.caption."
        )
    if names.MATCH in layout.views:
        matching.check_captions_differ(source, partial(examples.caption_tokens, layout=layout, vocabulary=vocabulary))
    if layout.views & {names.WRITTEN, names.ANSWERED}:
        _check_writing(config, layout, vocabulary)
    if vectors := _vectors_of(layout, source):
        vectors.check((number, caption) for number in numbers for caption in source.text_of(number)[0])


def _check_writing(config: ConfigDict, layout: Layout, vocabulary: Vocabulary) -> None:
    """Hold that texts are written with tokens that there are, and that the prompt of captions leaves room for them."""
    begin, end = begin_and_end(config.model, vocabulary)
    if begin >= vocabulary.size or end != vocabulary.end_id:
        raise UserError(
            f"model.begin_id is {begin} and model.end_id {end}, but the tokenizer has {vocabulary.size} tokens and "
            f"ends texts by {vocabulary.end_id}: set model.begin_id={vocabulary.begin_id} and "
            f"model.end_id={vocabulary.end_id}, or data.tokenizer to the one that they are of."
        )
    if names.WRITTEN in layout.views and vocabulary.length_of(layout.prompt) >= layout.caption_length:
        raise UserError(
            f"tasks.caption.prompt takes all {layout.caption_length} tokens of a caption: shorten it, or raise "
            "data.caption_length."
        )


def check_eval_data(config: ConfigDict, source: Source, vocabulary: Vocabulary) -> None:
    """Raise UserError where every view that the tasks read would be empty for `source`, the evaluation split."""
    layout, images = layout_of(config), _eval_images(config, source)
    _check_images(layout, source, config.data.eval_split)
    if not _plan(layout, source, images):
        raise UserError(
            f"split '{config.data.eval_split}' has no text to evaluate the tasks of the run on, in its first {images}"
            " images: name another split in data.eval_split, raise data.eval_limit, or set data.fields."
        )
    captioned = sum(bool(source.text_of(number)[0]) for number in range(images))
    scored = [task for task in (names.ITC, names.CAPTION, names.CONTEXT) if config.tasks[task].weight]
    if scored and not captioned:
        raise UserError(
            f"split '{config.data.eval_split}' has no caption to evaluate {' and '.join(scored)} on, in its first "
            f"{images} images: name another split in data.eval_split, raise data.eval_limit, or set "
            "data.fields.caption."
        )
    if vectors := _vectors_of(layout, source):
        vectors.check((number, caption) for number in range(images) for caption in source.text_of(number)[0][:1])
    if names.MATCH in layout.views and captioned > 1:  # half of them get a foreign caption
        matching.check_captions_differ(source, partial(examples.caption_tokens, layout=layout, vocabulary=vocabulary))


def _check_images(layout: Layout, source: Source, split: str) -> None:
    """Hold that records have as many images as the tasks read, and that the regions of the first are as they should."""
    if source.images_per_record == layout.images:
        if layout.regions and len(source):
            examples.image_view(source[0], layout)
        return
    if layout.images == 1:
        raise UserError(
            f"split '{split}' has pairs of images, which only tasks.nlvr reads: set tasks.nlvr.weight above 0 and the"
            " weights of the other tasks to 0."
        )
    raise UserError(
        f"task nlvr reads pairs of images, but split '{split}' has single ones: give each line a list of two images,"
        " with a statement and its label."
    )


def _iterate(batches: grain.MapDataset, data: ConfigDict) -> Iterator[Arrays]:
    options = grain.ReadOptions(num_threads=data.threads, prefetch_buffer_size=data.prefetch)
    return iter(batches.to_iter_dataset(options))

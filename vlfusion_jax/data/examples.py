"""One example: what a row of a batch shows, decided here or given, and turned into arrays."""

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from vlfusion_jax.core import names
from vlfusion_jax.data import images
from vlfusion_jax.data.hiding import hide_cells, shown_patches
from vlfusion_jax.data.layout import Layout
from vlfusion_jax.data.masking import mask_tokens
from vlfusion_jax.data.randaugment import RECIPES, rand_augment
from vlfusion_jax.data.records import EncodedImage, Question, Record
from vlfusion_jax.data.regions import region_rows
from vlfusion_jax.data.vocabulary import Vocabulary

Arrays = dict[str, np.ndarray]


def is_answerable(question: Question, vocabulary: Vocabulary) -> bool:
    """Whether an answer of the question is a class of the vocabulary."""
    return any(answer in vocabulary.answer_id for answer, _ in question.answers)


def draw_answer(question: Question, rng: np.random.Generator) -> str:
    """One of the question's answers, which it must have, in proportion to their scores; any of them, class or not."""
    scores = np.array([score for _, score in question.answers])
    return question.answers[rng.choice(len(scores), p=scores / scores.sum())][0]


def sample_questions(
    questions: Sequence[Question], count: int, rng: np.random.Generator
) -> tuple[list[Question], np.ndarray]:
    """Draw `count` questions without replacement, and their weights [count] float32.

    Where there are fewer they come round again with weight 0; where there is none the list is empty.
    """
    order = rng.permutation(len(questions))
    chosen = [questions[order[slot % len(order)]] for slot in range(count)] if len(order) else []
    return chosen, (np.arange(count) < len(order)).astype(np.float32)


def image_view(record: Record, layout: Layout) -> Arrays:
    """The record's images, [n, H, W, 3] uint8, and their masks, [n, H, W] uint8; or their regions."""
    if layout.regions:
        return concatenate([region_rows(image.data, image.name, layout.regions) for image in record.images])
    return concatenate([_as_row(*images.place(_decoded(image), layout.canvas)) for image in record.images])


def augmented_image_view(
    record: Record, layout: Layout, data: ConfigDict, texts: Sequence[str], rng: np.random.Generator
) -> Arrays:
    """`image_view` after what `data.randaugment`, `data.flip` and `data.shift` say; no flip if `texts` name a side.

    All happen within the scaled image, so that the shift is one of pixels of the canvas. Images of a pair change each
    in its own way and keep their order: `left` and `right` may mean the images. Regions stay as they are.
    """
    if layout.regions:
        return image_view(record, layout)
    flip = data.flip and not images.names_sides(texts)
    rows = []
    for image in record.images:
        pixels = images.scale(_decoded(image), layout.canvas)
        if data.randaugment:
            pixels = rand_augment(pixels, RECIPES[data.randaugment], rng)
        pixels = images.augment(pixels, rng, flip=flip, shift=data.shift)
        rows.append(_as_row(*images.pad(pixels, layout.canvas.size)))
    return concatenate(rows)


def _decoded(image: EncodedImage) -> np.ndarray:
    return images.decode_image(image.data, image.name)


def _as_row(pixels: np.ndarray, mask: np.ndarray) -> Arrays:
    return {names.IMAGE: pixels[None], names.IMAGE_MASK: mask[None]}


def question_view(questions: Sequence[Question], weights: np.ndarray, layout: Layout, vocabulary: Vocabulary) -> Arrays:
    """At most Q questions with `weights` [Q] float32 as arrays of Q rows; rows without a question hold [CLS] [SEP].

    A question with more known answers than there is room for keeps those of the highest scores.
    """
    ids = np.zeros((layout.questions, vocabulary.answers_per_question), np.int32)
    scores = np.zeros(ids.shape, np.float32)
    kinds = np.full(layout.questions, -1, np.int32)
    for row, question in enumerate(questions):
        known = [(vocabulary.answer_id[a], score) for a, score in question.answers if a in vocabulary.answer_id]
        for slot, (answer, score) in enumerate(known[: ids.shape[1]]):
            ids[row, slot], scores[row, slot] = answer, score
        kinds[row] = vocabulary.kind_id.get(question.kind, -1)
    return _keyed(
        names.QUESTION,
        {
            **_question_texts(questions, layout, vocabulary),
            names.ANSWER_IDS: ids,
            names.ANSWER_SCORES: scores,
            names.ANSWER_WEIGHT: weights,
            names.KIND: kinds,
        },
    )


def answered_view(
    questions: Sequence[Question],
    weights: np.ndarray,
    layout: Layout,
    vocabulary: Vocabulary,
    rng: np.random.Generator,
) -> Arrays:
    """At most Q questions as Q rows, each with an answer to be written, as a caption is in `written_view`.

    The answer is drawn, see `draw_answer`; rows of weight 0 in `weights` [Q] have none.
    """
    answers: list[str | None] = [None] * layout.questions
    for row, question in enumerate(questions):
        answers[row] = draw_answer(question, rng) if weights[row] else None
    written = [_to_be_written(answer, 0, layout.answer_length, layout.begin_id, vocabulary) for answer in answers]
    targets = {name: np.stack([row[name] for row in written]) for name in written[0]}
    return _keyed(names.ANSWERED, _question_texts(questions, layout, vocabulary) | targets)


def _question_texts(questions: Sequence[Question], layout: Layout, vocabulary: Vocabulary) -> Arrays:
    texts = [question.text for question in questions] + [""] * (layout.questions - len(questions))
    encoded = [vocabulary.encode(text, layout.question_length, layout.fill_texts) for text in texts]
    return {
        names.TEXT: np.stack([tokens for tokens, _ in encoded]),
        names.TEXT_MASK: np.stack([mask for _, mask in encoded]),
    }


def masked_view(caption: str | None, layout: Layout, vocabulary: Vocabulary, rng: np.random.Generator) -> Arrays:
    """The caption with tokens hidden, one row; without a caption nothing is hidden and every weight is 0."""
    text, length = caption or "", layout.caption_length
    ids, mask = vocabulary.encode(text, length, layout.fill_texts)
    masked = mask_tokens(
        ids,
        vocabulary.word_ids(text, length),
        rng,
        rate=layout.mask_rate,
        whole_word=layout.whole_word,
        mask_id=vocabulary.mask_id,
        ordinary_ids=vocabulary.ordinary_ids,
    )
    row = {
        names.TEXT: masked.ids,
        names.TEXT_MASK: mask,
        names.MLM_POSITIONS: masked.positions,
        names.MLM_LABELS: masked.labels,
        names.MLM_WEIGHTS: masked.weights,
    }
    return _keyed(names.MASKED, {name: array[None] for name, array in row.items()})


def caption_tokens(caption: str, layout: Layout, vocabulary: Vocabulary) -> bytes:
    """What a model reads of the caption: the same for captions that differ only in case, spaces, or beyond the cut."""
    return vocabulary.encode(caption, layout.caption_length, layout.fill_texts)[0].tobytes()


def match_view(caption: str | None, matches: bool, layout: Layout, vocabulary: Vocabulary) -> Arrays:
    """The caption to be judged, one row, and whether it belongs to the image; without a caption the weight is 0."""
    ids, mask = vocabulary.encode(caption or "", layout.caption_length, layout.fill_texts)
    return _keyed(
        names.MATCH,
        {
            names.TEXT: ids[None],
            names.TEXT_MASK: mask[None],
            names.ITM_LABEL: np.array([matches], np.int32),
            names.ITM_WEIGHT: np.array([caption is not None], np.float32),
        },
    )


def statement_view(statement: Question, layout: Layout, vocabulary: Vocabulary) -> Arrays:
    """The statement on a pair, one row, whether it is true, and which of the pair each image is: 1 or 2."""
    ids, mask = vocabulary.encode(statement.text, layout.question_length, layout.fill_texts)
    [(verdict, _)] = statement.answers
    return _keyed(
        names.STATEMENT,
        {
            names.TEXT: ids[None],
            names.TEXT_MASK: mask[None],
            names.IMAGE_MODALITY: np.arange(1, layout.images + 1, dtype=np.int32),
            names.NLVR_LABEL: np.array([names.VERDICTS.index(verdict)], np.int32),
            names.NLVR_WEIGHT: np.ones(1, np.float32),
        },
    )


def plain_view(caption: str | None, number: int, layout: Layout, vocabulary: Vocabulary) -> Arrays:
    """The caption as it is, one row, and the number of its record; without a caption the weight is 0."""
    ids, mask = vocabulary.encode(caption or "", layout.caption_length, layout.fill_texts)
    return _keyed(
        names.PLAIN,
        {
            names.TEXT: ids[None],
            names.TEXT_MASK: mask[None],
            names.CAPTION_WEIGHT: np.array([caption is not None], np.float32),
            names.RECORD: np.array([number], np.int32),
        },
    )


def written_view(caption: str | None, layout: Layout, vocabulary: Vocabulary) -> Arrays:
    """The caption behind its prompt, to be written, one row: a weight for each token whose next one is predicted.

    The first token is the one that begins a text of the model's. Without a caption nothing is predicted.
    """
    text = None if caption is None else f"{layout.prompt} {caption}".strip()
    given = len(vocabulary.tokenizer.encode(layout.prompt, add_special_tokens=False).ids) if layout.prompt else 0
    row = _to_be_written(text, given, layout.caption_length, layout.begin_id, vocabulary)
    return _keyed(names.WRITTEN, {name: array[None] for name, array in row.items()})


def _to_be_written(text: str | None, given: int, length: int, begin_id: int | None, vocabulary: Vocabulary) -> Arrays:
    """A text, its mask, and weights: 1 where the next token is predicted, which is behind `given` words of a text."""
    ids, mask = vocabulary.encode(text or "", length)
    if begin_id is not None:
        ids = ids.copy()
        ids[0] = begin_id
    weights = np.zeros(length, np.float32)
    weights[:-1] = mask[1:] * (np.arange(length - 1) >= given) * (text is not None)
    if vocabulary.length_of(text or "") > length:
        weights[-2] = 0  # a text that is cut does not end there
    return {names.TARGET: ids, names.mask_of(names.TARGET): mask, names.WORD_WEIGHTS: weights}


def masked_image_view(
    caption: str | None, image: Arrays, layout: Layout, vocabulary: Vocabulary, rng: np.random.Generator
) -> Arrays:
    """The caption, one row, and which cells of its image are hidden; without a caption none are.

    `image` is the image as it is shown, see `image_view`.
    """
    if layout.regions:
        shown = image[names.REGION_MASK][0] > 0
    else:
        shown = shown_patches(image[names.IMAGE_MASK][0], layout.patch)
    ids, mask = vocabulary.encode(caption or "", layout.caption_length, layout.fill_texts)
    hidden = hide_cells(shown if caption is not None else np.zeros_like(shown), layout.hide_rate, rng)
    return _keyed(names.MASKED_IMAGE, {names.TEXT: ids[None], names.TEXT_MASK: mask[None], names.HIDDEN: hidden[None]})


def reference_view(caption: str | None, vector: np.ndarray | None, layout: Layout, vocabulary: Vocabulary) -> Arrays:
    """The caption as it is, one row, and its vector [width] float32; where there is none that and the weight are 0."""
    ids, mask = vocabulary.encode(caption or "", layout.caption_length, layout.fill_texts)
    return _keyed(
        names.REFERENCE,
        {
            names.TEXT: ids[None],
            names.TEXT_MASK: mask[None],
            names.VECTOR: np.zeros((1, layout.vector_width), np.float32) if vector is None else vector[None],
            names.VECTOR_WEIGHT: np.array([vector is not None], np.float32),
        },
    )


def _keyed(view: str, arrays: Arrays) -> Arrays:
    return {names.key(view, name): array for name, array in arrays.items()}


def without_weight(example: Arrays) -> Arrays:
    """The same example, counting for no task."""
    nothing = {
        names.key(names.QUESTION, names.ANSWER_WEIGHT): 0,
        names.key(names.MASKED, names.MLM_WEIGHTS): 0,
        names.key(names.MATCH, names.ITM_WEIGHT): 0,
        names.key(names.STATEMENT, names.NLVR_WEIGHT): 0,
        names.key(names.PLAIN, names.CAPTION_WEIGHT): 0,
        names.key(names.WRITTEN, names.WORD_WEIGHTS): 0,
        names.key(names.ANSWERED, names.WORD_WEIGHTS): 0,
        names.key(names.MASKED_IMAGE, names.HIDDEN): -1,
        names.key(names.REFERENCE, names.VECTOR_WEIGHT): 0,
    }
    return {key: np.full_like(array, nothing[key]) if key in nothing else array for key, array in example.items()}


def concatenate(examples: Sequence[Arrays]) -> Arrays:
    """Examples as one batch, in order."""
    return {key: np.concatenate([example[key] for example in examples]) for key in examples[0]}

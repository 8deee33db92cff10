"""The static part of a batch: which views a run's batches have, and the shapes of their entries."""

from dataclasses import dataclass

import numpy as np
from ml_collections import ConfigDict

from vlfusion_jax.config.cells import patch_side
from vlfusion_jax.config.views import views_in_batch
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data import images
from vlfusion_jax.data.hiding import max_hidden
from vlfusion_jax.data.masking import max_predictions
from vlfusion_jax.data.regions import RegionLayout, region_layout, region_shapes
from vlfusion_jax.data.vocabulary import Vocabulary


@dataclass(frozen=True)
class Layout:
    """The static part of a batch: which views it has, and how large they are."""

    views: frozenset[str]
    canvas: images.Canvas
    questions: int
    question_length: int
    caption_length: int
    answer_length: int
    fill_texts: bool
    mask_rate: float
    whole_word: bool
    prompt: str
    begin_id: int | None
    regions: RegionLayout | None
    patch: int
    hide_rate: float
    vector_width: int

    @property
    def captioned(self) -> bool:
        """Whether any view shows a caption."""
        return not self.views.isdisjoint(names.CAPTIONED)

    @property
    def hidden_room(self) -> int:
        """Room for hidden cells of an image, which are its regions or, `patch` not being 0, its patches."""
        height, width = self.canvas.size
        cells = self.regions.count if self.regions else (height // self.patch) * (width // self.patch)
        return max_hidden(self.hide_rate, cells)

    @property
    def asks(self) -> bool:
        """Whether a view shows a question, or a statement."""
        return not self.views.isdisjoint((*names.ASKING, names.STATEMENT))

    @property
    def images(self) -> int:
        """Images of each record."""
        return 2 if names.STATEMENT in self.views else 1


def canvas_of(data: ConfigDict) -> images.Canvas:
    """The canvas that `config.data` asks for."""
    return images.Canvas(tuple(data.image_size), data.resize, data.shorter_side, data.side_multiple, data.resample)


def fills_texts(config: ConfigDict) -> bool:
    """Whether the model of a run reads texts that fill their length, padding counting as words."""
    return config.model.get("fill_texts", False)


def layout_of(config: ConfigDict) -> Layout:
    """The layout a run's configuration asks for: the views of the tasks whose weight is not 0.

    Raises UserError where cells of the image are to be hidden and there is no telling which those are.
    """
    data = config.data
    views = views_in_batch(config.tasks)
    regions, patch = region_layout(config), patch_side(config.model)
    if names.MASKED_IMAGE in views and not patch and not regions:
        raise UserError(
            f"task mrm hides patches of the image, but the model of family {config.model.family!r} reads none: set "
            "model.region_patch, model.image_tokens or model.image_tower, whichever it has, or tasks.mrm.weight=0."
        )
    return Layout(
        views=views,
        canvas=canvas_of(data),
        questions=data.questions_per_image,
        question_length=data.question_length,
        caption_length=data.caption_length,
        answer_length=data.answer_length,
        fill_texts=fills_texts(config),
        mask_rate=config.tasks.mlm.rate,
        whole_word=config.tasks.mlm.whole_word,
        prompt=config.tasks.caption.prompt,
        begin_id=config.model.get("begin_id"),
        regions=regions,
        patch=patch,
        hide_rate=config.tasks.mrm.rate,
        vector_width=config.tasks.context.width,
    )


def row_shapes(layout: Layout, vocabulary: Vocabulary) -> dict[str, tuple[tuple[int, ...], type]]:
    """Shape and dtype of every entry of a batch of one record, by batch key; the leading axis counts rows."""
    count, (height, width) = layout.images, layout.canvas.size
    pixels = {names.IMAGE: ((count, height, width, 3), np.uint8), names.IMAGE_MASK: ((count, height, width), np.uint8)}
    shapes = region_shapes(layout.regions, count) if layout.regions else pixels
    rows, tokens, answers = layout.questions, layout.question_length, vocabulary.answers_per_question
    views = {
        names.QUESTION: {
            names.TEXT: ((rows, tokens), np.int32),
            names.TEXT_MASK: ((rows, tokens), np.int32),
            names.ANSWER_IDS: ((rows, answers), np.int32),
            names.ANSWER_SCORES: ((rows, answers), np.float32),
            names.ANSWER_WEIGHT: ((rows,), np.float32),
            names.KIND: ((rows,), np.int32),
        },
        names.MASKED: {
            names.TEXT: ((1, layout.caption_length), np.int32),
            names.TEXT_MASK: ((1, layout.caption_length), np.int32),
            names.MLM_POSITIONS: ((1, room := max_predictions(layout.mask_rate, layout.caption_length)), np.int32),
            names.MLM_LABELS: ((1, room), np.int32),
            names.MLM_WEIGHTS: ((1, room), np.float32),
        },
        names.MATCH: {
            names.TEXT: ((1, layout.caption_length), np.int32),
            names.TEXT_MASK: ((1, layout.caption_length), np.int32),
            names.ITM_LABEL: ((1,), np.int32),
            names.ITM_WEIGHT: ((1,), np.float32),
        },
        names.STATEMENT: {
            names.TEXT: ((1, tokens), np.int32),
            names.TEXT_MASK: ((1, tokens), np.int32),
            names.IMAGE_MODALITY: ((count,), np.int32),
            names.NLVR_LABEL: ((1,), np.int32),
            names.NLVR_WEIGHT: ((1,), np.float32),
        },
        names.PLAIN: {
            names.TEXT: ((1, layout.caption_length), np.int32),
            names.TEXT_MASK: ((1, layout.caption_length), np.int32),
            names.CAPTION_WEIGHT: ((1,), np.float32),
            names.RECORD: ((1,), np.int32),
        },
        names.WRITTEN: {
            names.TARGET: ((1, layout.caption_length), np.int32),
            names.mask_of(names.TARGET): ((1, layout.caption_length), np.int32),
            names.WORD_WEIGHTS: ((1, layout.caption_length), np.float32),
        },
        names.ANSWERED: {
            names.TEXT: ((rows, tokens), np.int32),
            names.TEXT_MASK: ((rows, tokens), np.int32),
            names.TARGET: ((rows, layout.answer_length), np.int32),
            names.mask_of(names.TARGET): ((rows, layout.answer_length), np.int32),
            names.WORD_WEIGHTS: ((rows, layout.answer_length), np.float32),
        },
        names.REFERENCE: {
            names.TEXT: ((1, layout.caption_length), np.int32),
            names.TEXT_MASK: ((1, layout.caption_length), np.int32),
            names.VECTOR: ((1, layout.vector_width), np.float32),
            names.VECTOR_WEIGHT: ((1,), np.float32),
        },
    }
    if names.MASKED_IMAGE in layout.views:
        views[names.MASKED_IMAGE] = {
            names.TEXT: ((1, layout.caption_length), np.int32),
            names.TEXT_MASK: ((1, layout.caption_length), np.int32),
            names.HIDDEN: ((1, layout.hidden_room), np.int32),
        }
    for view in sorted(layout.views):
        shapes |= {names.key(view, name): shape for name, shape in views[view].items()}
    return shapes

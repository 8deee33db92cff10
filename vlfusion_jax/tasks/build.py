"""The tasks that a configuration asks for."""

from typing import Any

from vlfusion_jax.config.keys import nearest
from vlfusion_jax.config.views import views_of
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.spec.heads import ContrastiveHead
from vlfusion_jax.models.spec.inputs import ImageInput
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.streams import IMAGE
from vlfusion_jax.models.steps import stream_widths
from vlfusion_jax.tasks.answer import AnswerWriting
from vlfusion_jax.tasks.caption import Captioning
from vlfusion_jax.tasks.context import ContextAlignment
from vlfusion_jax.tasks.itc import ImageTextContrast
from vlfusion_jax.tasks.itm import ImageTextMatching
from vlfusion_jax.tasks.mlm import MaskedLanguageModelling
from vlfusion_jax.tasks.mrm import MaskedRegionModelling
from vlfusion_jax.tasks.nlvr import VisualReasoning
from vlfusion_jax.tasks.task import Task
from vlfusion_jax.tasks.vqa import VisualQuestionAnswering
from vlfusion_jax.tasks.wpa import WordPatchAlignment

# Of models that write, how they come to the head.
_WRITERS = {
    names.CAPTION: " (albef's with model.decoder_layers and model.decoder_reads=image, vilt's with model.prefix_lm)",
    names.ANSWER: " (blip's of model.variant vqa, albef's with model.decoder_layers and model.decoder_reads=question)",
}


def build_tasks(
    config: Any, spec: ModelSpec, num_tokens: int, num_answers: int, kinds: tuple[str, ...]
) -> tuple[Task, ...]:
    """Tasks of positive weight in `config.tasks`, in the order of `names.TASKS`.

    Args:
      config: `config.tasks`.
      spec: of the model, held to have what the tasks read.
      num_tokens: words that it knows.
      num_answers: answers that it knows.
      kinds: of questions.

    Raises:
      UserError: the model lacks a head that a task reads, or tokens that it can align.
    """
    views = views_of(config)
    image = next((each for each in spec.inputs if each.stream == IMAGE), None)
    has_class_token = isinstance(image, ImageInput) and image.cls
    every = {
        names.MLM: lambda view: MaskedLanguageModelling(),
        names.ITM: ImageTextMatching,
        names.ITC: lambda view: ImageTextContrast(config.itc.loss),
        names.WPA: lambda view: WordPatchAlignment(view, has_class_token),
        names.CAPTION: lambda view: Captioning(num_tokens, config.caption.smoothing),
        names.VQA: lambda view: VisualQuestionAnswering(num_answers, kinds, config.vqa.loss),
        names.ANSWER: lambda view: AnswerWriting(num_tokens, config.answer.smoothing),
        names.NLVR: lambda view: VisualReasoning(),
        names.MRM: lambda view: MaskedRegionModelling(image, config.mrm.target, config.mrm.target, config.mrm.loss),
        names.CONTEXT: lambda view: ContextAlignment(config.context.loss),
    }
    tasks = tuple(every[task](view) for task, view in views.items())
    for task in tasks:
        _check_heads(task, spec)
    return tasks


def _check_heads(task: Task, spec: ModelSpec) -> None:
    has = dict(spec.heads)
    for head in (*task.heads, *((names.CONTRASTIVE,) if task.view == names.HARD else ())):
        if head not in has:
            writers = _WRITERS.get(head, "")
            raise UserError(
                f"tasks.{task.name} reads head {head!r}{writers}, which this model does not have; it has "
                f"{', '.join(has)}: set tasks.{task.name}.weight=0, or choose another model.family.{nearest(head, has)}"
            )
    if isinstance(task, WordPatchAlignment):
        widths = stream_widths(spec)
        text, image = (widths.get(stream, "none") for stream in (spec.text, spec.image))
        if text != image or text == "none":
            raise UserError(
                f"tasks.wpa compares words with patches, tokens of one width; this model's text has {text}, its image "
                f"{image}: set tasks.wpa.weight=0, or choose another model."
            )
    if isinstance(task, ImageTextContrast) and task.criterion == "sigmoid":
        head = has[names.CONTRASTIVE]
        assert isinstance(head, ContrastiveHead)
        if head.bias is None:
            raise UserError(
                "tasks.itc.loss is 'sigmoid', which needs a learned bias that this model's contrastive head does not "
                "have: choose family siglip, or tasks.itc.loss=softmax."
            )

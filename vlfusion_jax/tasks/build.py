"""The tasks that a configuration asks for."""

from typing import Any

from vlfusion_jax.core import names
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.streams import IMAGE
from vlfusion_jax.tasks.itm import ImageTextMatching
from vlfusion_jax.tasks.mlm import MaskedLanguageModelling
from vlfusion_jax.tasks.mrm import MaskedRegionModelling
from vlfusion_jax.tasks.task import Task
from vlfusion_jax.tasks.vqa import VisualQuestionAnswering


def build_tasks(config: Any, spec: ModelSpec, num_answers: int, kinds: tuple[str, ...]) -> tuple[Task, ...]:
    """Tasks of positive weight in `config`, a run's `config.tasks`, for a model; in a fixed order."""
    every = {
        names.MLM: MaskedLanguageModelling(),
        names.ITM: ImageTextMatching(),
        names.VQA: VisualQuestionAnswering(num_answers, kinds, config.vqa.loss),
    }
    if config.mrm.weight > 0:
        every[names.MRM] = MaskedRegionModelling(
            spec.input(IMAGE), config.mrm.target, predicted=config.mrm.target, criterion=config.mrm.loss
        )
    return tuple(task for name, task in every.items() if config[name].weight > 0)

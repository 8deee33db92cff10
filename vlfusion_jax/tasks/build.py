"""The tasks that a configuration asks for."""

from typing import Any

from vlfusion_jax.core import names
from vlfusion_jax.tasks.itm import ImageTextMatching
from vlfusion_jax.tasks.mlm import MaskedLanguageModelling
from vlfusion_jax.tasks.nlvr import VisualReasoning
from vlfusion_jax.tasks.task import Task
from vlfusion_jax.tasks.vqa import VisualQuestionAnswering


def build_tasks(config: Any, num_answers: int, kinds: tuple[str, ...]) -> tuple[Task, ...]:
    """Tasks of positive weight in `config.tasks`, in a fixed order."""
    every = {
        names.MLM: MaskedLanguageModelling(),
        names.ITM: ImageTextMatching(),
        names.VQA: VisualQuestionAnswering(num_answers, kinds, config.vqa.loss),
        names.NLVR: VisualReasoning(),
    }
    return tuple(task for name, task in every.items() if config[name].weight > 0)

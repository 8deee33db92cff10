"""Which texts of a batch the tasks of a run read."""

from typing import Any

from vlfusion_jax.core import names


def views_of(tasks: Any) -> dict[str, str]:
    """{task: the view it reads} of the tasks of `config.tasks` that are on, in the order of `names.TASKS`."""
    pairs = names.HARD if tasks.itm.negatives == "hard" else names.MATCH
    views = {
        names.MLM: names.MASKED,
        names.ITM: pairs,
        names.ITC: names.PLAIN,
        names.WPA: pairs,
        names.CAPTION: names.WRITTEN,
        names.VQA: names.QUESTION,
        names.ANSWER: names.ANSWERED,
        names.NLVR: names.STATEMENT,
        names.MRM: names.MASKED_IMAGE,
        names.CONTEXT: names.REFERENCE,
    }
    return {task: views[task] for task in names.TASKS if tasks[task].weight > 0}


def views_in_batch(tasks: Any) -> frozenset[str]:
    """Views that a batch of the run carries: hard pairs are made of the plain captions."""
    return frozenset(names.PLAIN if view == names.HARD else view for view in views_of(tasks).values())

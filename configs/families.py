"""Any family that answers questions, at its tiny size, on easy-VQA's images as `configs/easy_vqa.py` reads them.

The shortest run that shows a family learn, not a measure of how well one does.

Command: vlfusion train --config=configs/families.py:lxmert --config.data.path=FOLDER
"""

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.families.table import FAMILIES, answers_questions, hyperparameters

SIDE = 64  # of an image, in pixels


def get_config(arg: str = ""):
    """The run; `arg` is the family, '' standing for vilt."""
    config = default_config()
    config.name = arg or "vilt"
    config.model = tiny_model(config.name)
    if not answers_questions(config.model):
        able = ", ".join(family for family in FAMILIES if answers_questions(tiny_model(family)))
        raise UserError(f"family {arg!r} does not answer questions about images; these do: {able}.")

    config.data.source = "jsonl"
    config.data.train_split = "train"
    config.data.eval_split = "test"
    config.data.image_size = (SIDE, SIDE)
    config.data.question_length = 12
    config.data.questions_per_image = 8

    config.tasks.vqa.weight = 1.0
    config.tasks.vqa.loss = "ce"

    config.optim.lr = 3e-3
    config.optim.warmup_steps = 5
    config.train.steps = 60
    config.train.batch_size = 16
    config.train.log_every = 10
    config.eval.batch_size = 40
    return config


def tiny_model(family: str):
    """Hyperparameters of the tiny size, for answers and for patches that divide the image."""
    model = hyperparameters(family, "tiny")
    if "variant" in model:
        model.variant = "vqa"
    if SIDE % model.get("patch_size", SIDE):
        model.patch_size = 8
    return model

"""Every part of a run at its smallest, for a first look and for smoke tests; it learns next to nothing.

Command: vlfusion train --config=configs/tiny.py               (single stream)
         vlfusion train --config=configs/tiny.py:two_stream
         vlfusion train --config=configs/tiny.py:cross_attention
"""

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.models.families.table import hyperparameters


def get_config(arg: str = ""):
    """The run; `arg` is the kind of model, '' standing for single_stream."""
    config = default_config()
    config.name = "tiny"
    config.model = hyperparameters(
        arg or "single_stream",
        width=32,
        heads=2,
        mlp_width=64,
        layers=2,
        text_layers=1,
        image_layers=1,
        cross_layers=1,
        image_tokens="patch",
        patch_size=15,
    )

    config.data.source = "sort_of_clevr:64,8"
    config.data.questions_per_image = 2

    config.tasks.vqa.weight = 1.0
    config.tasks.mlm.weight = 0.5
    config.tasks.itm.weight = 0.5

    config.optim.lr = 3e-3
    config.optim.warmup_steps = 5
    config.train.steps = 20
    config.train.batch_size = 8
    config.train.log_every = 1
    config.eval.batch_size = 8
    config.checkpoint.every = 10
    return config

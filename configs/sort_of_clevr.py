"""The full run on Sort-of-CLEVR: 9,800 training scenes, 20 questions each, tested on 200.

Command: vlfusion train --config=configs/sort_of_clevr.py
"""

from vlfusion_jax.config.schema import default_config


def get_config(arg: str = ""):
    """The run; `arg` is not used."""
    del arg
    config = default_config()
    config.name = "sort_of_clevr"
    config.model.kind = "single_stream"
    config.model.width = 192
    config.model.heads = 6
    config.model.mlp_width = 384
    config.model.layers = 4
    config.model.image_tokens = "conv"
    config.model.conv_channels = (32, 64, 128, 192)
    config.model.dropout = 0.05

    config.data.source = "sort_of_clevr"
    config.data.questions_per_image = 20
    config.data.shift = 4

    config.tasks.vqa.weight = 1.0
    config.tasks.vqa.loss = "ce"
    config.tasks.mlm.weight = 0.2
    config.tasks.itm.weight = 0.1

    config.optim.lr = 7e-4
    config.optim.warmup_steps = 300
    config.optim.weight_decay = 0.05
    config.train.steps = 8000
    config.train.batch_size = 32
    config.train.log_every = 50
    config.train.eval_every = 2000
    config.eval.batch_size = 50
    config.checkpoint.every = 1000
    config.checkpoint.best_metric = "accuracy"

    # Santoro et al. 2017, "A simple neural network module for relational reasoning", section 5.2.
    source = "Santoro et al. 2017"
    config.published.cnn_mlp = {"accuracy_relational": 0.63, "source": source}
    config.published.relation_network = {
        "accuracy_relational": 0.94,
        "accuracy_non_relational": 0.94,
        "source": f"{source}, both more than 94 %",
    }
    return config

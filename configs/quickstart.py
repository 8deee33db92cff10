"""Masked words, image-text matching and visual questions on Sort-of-CLEVR, within minutes on a laptop.

Command: vlfusion train --config=configs/quickstart.py
Measured on two cores of a Xeon at 2.5 GHz (jax 0.10.2), shared with some tests, in 8 min 0 s: non-relational 96.8 %,
relational 63.6 % (from the question alone 47.3 % and 44.5 %), matching 98.5 %, masked words 98.4 %. With seed 0 it is
64.0 % and 68.0 % after as many steps, and of masked words 81.6 %: the loss had not begun to fall fast.
"""

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.models.families.table import hyperparameters


def get_config(arg: str = ""):
    """The run; `arg` is not used."""
    del arg
    config = default_config()
    config.name = "quickstart"
    config.seed = 1  # of the first three, the loss of seed 0 falls late; see above
    # Text reads the image: an image is encoded once for its caption and all its questions.
    config.model = hyperparameters(
        "cross_attention",
        width=128,
        heads=4,
        mlp_width=256,
        text_layers=0,
        image_layers=2,
        cross_layers=2,
        image_tokens="conv",
        scan_layers=False,
    )

    config.data.source = "sort_of_clevr"
    config.data.questions_per_image = 10
    config.data.question_length = 13
    config.data.caption_length = 31

    config.tasks.vqa.weight = 1.0
    config.tasks.vqa.loss = "ce"
    config.tasks.mlm.weight = 1.0
    config.tasks.mlm.rate = 0.5  # a caption says a lot about its image; hide half of it (Wettig et al. 2023)
    config.tasks.itm.weight = 0.1

    config.optim.lr = 1e-3
    config.optim.final_lr = 4e-4  # so short a run learns most at a high rate
    config.optim.warmup_steps = 150
    config.train.steps = 1150
    config.train.batch_size = 32
    config.train.log_every = 20
    config.eval.batch_size = 40
    config.checkpoint.every = 500

    # Santoro et al. 2017, "A simple neural network module for relational reasoning", section 5.2.
    source = "Santoro et al. 2017"
    config.published.cnn_mlp = {"accuracy_relational": 0.63, "source": source}
    config.published.relation_network = {
        "accuracy_relational": 0.94,
        "accuracy_non_relational": 0.94,
        "source": f"{source}, both more than 94 %",
    }
    return config

"""Pretraining with masked words and image-text matching on captioned emoji, read as JSONL: 3,320 images, no questions.

The folder holds train.jsonl, val.jsonl and images.tar or images/, as the README's "Your own images and text" says.

Command: vlfusion train --config=configs/noto_emoji.py --config.data.path=FOLDER
Measured on two cores of a Xeon at 2.5 GHz (jax 0.10.2, GLIBC_TUNABLES=glibc.malloc.hugetlb=1), shared with other runs,
in 25 min 51 s: matching 96.2 % and masked words 96.9 % on the 106 unseen images.
"""

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.models.families.table import hyperparameters


def get_config(arg: str = ""):
    """The run; `arg` is not used."""
    del arg
    config = default_config()
    config.name = "noto_emoji"
    config.model = hyperparameters(
        "cross_attention",
        width=128,
        heads=4,
        mlp_width=256,
        text_layers=0,
        image_layers=1,
        cross_layers=2,
        scan_layers=False,
        image_tokens="conv",
        conv_channels=(32, 64, 96, 128),
    )

    config.data.source = "jsonl"
    config.data.train_split = "train"
    config.data.eval_split = "val"
    config.data.image_size = (72, 72)
    config.data.caption_length = 24
    config.data.vocab_size = 2048
    config.data.shift = 3

    config.tasks.vqa.weight = 0.0
    config.tasks.mlm.weight = 1.0
    config.tasks.itm.weight = 1.0

    config.optim.lr = 1e-3
    config.optim.warmup_steps = 200
    config.optim.weight_decay = 0.05
    config.train.steps = 2000
    config.train.batch_size = 64
    config.train.log_every = 20
    config.eval.batch_size = 56
    config.checkpoint.every = 1000
    return config

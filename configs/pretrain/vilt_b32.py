"""Pretraining of ViLT-B/32 on your own images and captions, by masked words and matching (Kim et al. 2021, sec. 4.1).

Commands: vlfusion plan --config=configs/pretrain/vilt_b32.py --topology=v5e:4x4 --strategies=dp,fsdp
          vlfusion train --config=configs/pretrain/vilt_b32.py --config.data.path=FOLDER --config.sharding=fsdp

FOLDER holds train.jsonl, test.jsonl and images, as the README's "Your own images and text" says; data.tokenizer is best
BERT's vocab.txt. The recipe is the paper's but for the images, here 384 x 384 pixels; not measured here.
"""

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.models.families.table import hyperparameters


def get_config(arg: str = ""):
    """The run; `arg` is not used."""
    del arg
    config = default_config()
    config.name = "vilt_b32"
    config.precision.compute = "bfloat16"
    config.model = hyperparameters("vilt", max_image_tokens=144, remat="dots_redrawn")
    config.data.source = "jsonl"
    config.data.image_size = (384, 384)
    config.data.caption_length = 40
    config.data.vocab_size = 30522
    config.data.flip = True

    config.tasks.mlm.weight = 1.0
    config.tasks.mlm.whole_word = True
    config.tasks.itm.weight = 1.0
    config.tasks.vqa.weight = 0.0

    config.optim.lr = 1e-4
    config.optim.schedule = "linear"
    config.optim.warmup_steps = 2500
    config.train.steps = 100_000
    config.train.batch_size = 4096
    config.train.log_every = 100
    config.eval.batch_size = 1024
    config.checkpoint.every = 1000
    return config

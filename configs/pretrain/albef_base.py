"""Pretraining of ALBEF on your own images and captions (Li et al. 2021, sections 3.2 and 4), or with more objectives.

Commands: vlfusion plan --config=configs/pretrain/albef_base.py --topology=v5p:4x4x4 --strategies=fsdp
          vlfusion train --config=configs/pretrain/albef_base.py --config.data.path=FOLDER --config.sharding=fsdp
          vlfusion train --config=configs/pretrain/albef_base.py:five --config.data.path=FOLDER

Without an argument: masked words, contrast with a momentum encoder and its queue, matching of hard pairs, all of one
weight; `five` adds word-patch alignment (UNITER's weight) and a decoder that writes captions (BLIP's smoothing).

FOLDER holds train.jsonl, test.jsonl and images, as the README's "Your own images and text" says; data.tokenizer is best
BERT's vocab.txt. The recipe is that of the paper and its code (30 epochs of 5.1 million pairs, batches of 512, AdamW of
1e-4 to 1e-5, decay 0.02), but for the momentum distillation of masked words; not measured here.
"""

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.families.table import hyperparameters

EPOCH = 5_100_000 // 512


def get_config(arg: str = ""):
    """The run; `arg` is empty or `five`."""
    if arg not in ("", "five"):
        raise UserError(f"configs/pretrain/albef_base.py takes no argument, or 'five', not {arg!r}.")
    config = default_config()
    config.name = f"albef_base_{arg}".rstrip("_")
    config.precision.compute = "bfloat16"
    config.model = hyperparameters("albef", decoder_layers=6 if arg else 0)
    config.data.source = "jsonl"
    config.data.image_size = (256, 256)
    config.data.resize = "stretch"
    config.data.caption_length = 25
    config.data.vocab_size = 30522
    config.data.flip = True
    config.data.randaugment = "albef"

    config.tasks.vqa.weight = 0.0
    config.tasks.mlm.weight = 1.0
    config.tasks.itc.weight = 1.0
    config.tasks.itc.momentum = 0.995
    config.tasks.itc.queue = 65536
    config.tasks.itc.soft_share = 0.4
    config.tasks.itc.soft_steps = EPOCH
    config.tasks.itm.weight = 1.0
    config.tasks.itm.negatives = "hard"
    config.tasks.wpa.weight = 0.1 if arg else 0.0
    config.tasks.caption.weight = 1.0 if arg else 0.0

    config.optim.lr = 1e-4
    config.optim.final_lr = 1e-5
    config.optim.warmup_steps = 1000
    config.optim.weight_decay = 0.02
    config.optim.b2 = 0.999
    config.optim.clip_norm = 0.0
    config.train.steps = 30 * EPOCH
    config.train.batch_size = 512
    config.train.log_every = 100
    config.eval.batch_size = 512
    config.checkpoint.every = 1000
    return config

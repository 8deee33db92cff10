r"""Retrieval of images and captions, COCO or Flickr30k in Karpathy's splits, from ALBEF, by the recipe of its authors.

Commands: vlfusion data coco_karpathy --manual_dir=DOWNLOADED
          vlfusion convert --from=hf ALBEF.pth --out=albef --family=albef --tokenizer=vocab.txt \
            --image_size=384,384
          vlfusion train --config=configs/finetune_tasks/retrieval.py:coco_karpathy --init_from=albef
          vlfusion retrieve --workdir=runs/retrieval_coco_karpathy --split=test --shortlist=256

`flickr30k` in place of `coco_karpathy` is the other data set; its published shortlist is 128. For 8 accelerators of
40 GB or more (--config.sharding=fsdp), in bf16; not measured here.

Rate, decay, batch, queue and epochs (5 and 10) as the authors' code has them (github.com/salesforce/ALBEF,
configs/Retrieval_coco.yaml and Retrieval_flickr.yaml, Retrieval.py): contrast with the momentum encoder, captions of
one image being each other's positives, and matching of hard pairs. Images are scaled whole, not cropped at random. An
epoch is the captions of the training split:
566,747 and 145,000.
"""

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.families.table import hyperparameters

_BATCH = 256
# Captions of an epoch, epochs, and the published recall (Li et al. 2021, 14 million images).
_OF = {
    "coco_karpathy": (566_747, 5, {"image_to_text_r1": 0.776, "text_to_image_r1": 0.607}),
    "flickr30k": (145_000, 10, {"image_to_text_r1": 0.959, "text_to_image_r1": 0.856}),
}


def get_config(arg: str = "coco_karpathy"):
    """The run; `arg` is the data set."""
    arg = arg or "coco_karpathy"
    if arg not in _OF:
        raise UserError(f"configs/finetune_tasks/retrieval.py takes {' or '.join(_OF)}, not {arg!r}.")
    captions, epochs, published = _OF[arg]
    config = default_config()
    config.name = f"retrieval_{arg}"
    config.precision.compute = "bfloat16"
    config.model = hyperparameters("albef")
    config.data.source = arg
    config.data.eval_split = "val"
    config.data.image_size = (384, 384)
    config.data.resize = "stretch"
    config.data.caption_length = 30
    config.data.vocab_size = 30522
    config.data.flip = True
    config.data.randaugment = "albef"

    config.tasks.vqa.weight = 0.0
    config.tasks.itc.weight = 1.0
    config.tasks.itc.momentum = 0.995
    config.tasks.itc.queue = 65536
    config.tasks.itc.soft_steps = captions // _BATCH
    config.tasks.itm.weight = 1.0
    config.tasks.itm.negatives = "hard"

    config.optim.lr = 1e-5
    config.optim.final_lr = 1e-6
    config.optim.warmup_steps = 0
    config.optim.weight_decay = 0.02
    config.optim.b2 = 0.999
    config.optim.clip_norm = 0.0
    config.train.steps = epochs * (captions // _BATCH)
    config.train.batch_size = _BATCH
    config.train.log_every = 100
    config.train.eval_every = captions // _BATCH
    config.checkpoint.every = captions // _BATCH
    config.checkpoint.best_metric = "text_to_image_r1"
    config.published = {"albef_14m": {**published, "source": "Li et al. 2021, test"}}
    return config

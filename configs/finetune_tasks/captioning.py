"""Captions of COCO in Karpathy's splits, from BLIP, by the recipe of its authors.

Commands: vlfusion data coco_karpathy --manual_dir=DOWNLOADED
          vlfusion convert --from=hf Salesforce/blip-image-captioning-base --out=blip
          vlfusion train --config=configs/finetune_tasks/captioning.py:blip
          vlfusion evaluate --workdir=runs/captioning --split=test

The argument is the converted folder, which is also what the run starts from. For 8 accelerators of 40 GB or more
(--config.sharding=fsdp), in bf16; not measured here.

Rate, decay, smoothing, prompt, beams, batch and 5 epochs as the authors' code has them (github.com/salesforce/BLIP,
configs/caption_coco.yaml, train_caption.py); an epoch is the 566,747 captions of the training split. Otherwise than
there, the rate falls with every step, not every epoch, a caption may be of any length up to 20 tokens, in training too,
and images are scaled whole, without RandAugment.
"""

from vlfusion_jax.config.load import load_config
from vlfusion_jax.models.families.table import hyperparameters

_CAPTIONS, _EPOCHS, _BATCH = 566_747, 5, 256


def get_config(arg: str = ""):
    """The run; `arg` is the folder of the converted BLIP to start from."""
    config = load_config(f"configs/finetune.py:{arg}")
    if not arg:
        config.model = hyperparameters("blip", variant="captioning")
        config.data.image_size = (384, 384)
        config.data.resize = "stretch"
    config.name = "captioning"
    config.precision.compute = "bfloat16"
    config.data.source = "coco_karpathy"
    config.data.eval_split = "val"
    config.data.caption_length = 20
    config.data.flip = True
    for task in ("vqa", "mlm", "itm", "itc"):
        config.tasks[task].weight = 0.0
    config.tasks.caption.weight = 1.0
    config.tasks.caption.smoothing = 0.1
    config.tasks.caption.prompt = "a picture of"
    config.eval.beams = 3

    config.optim.lr = 1e-5
    config.optim.schedule = "cosine"
    config.optim.head_lr_multiplier = 1.0
    config.optim.warmup_steps = 0
    config.optim.weight_decay = 0.05
    config.optim.b2 = 0.999
    config.optim.clip_norm = 0.0
    config.train.steps = _EPOCHS * (_CAPTIONS // _BATCH)
    config.train.batch_size = _BATCH
    config.train.micro_batches = 1
    config.train.log_every = 100
    config.train.eval_every = _CAPTIONS // _BATCH
    config.checkpoint.every = _CAPTIONS // _BATCH
    config.checkpoint.best_metric = "caption_cider"
    of_blip = {"caption_cider": 1.297, "caption_bleu4": 0.386, "source": "Li et al. 2022, table 7, 14 million images"}
    config.published = {"blip_14m": of_blip}
    return config

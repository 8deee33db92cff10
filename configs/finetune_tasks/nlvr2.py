"""Statements about pairs of photographs, NLVR2 (Suhr et al. 2019), from ViLT, by the recipe of its authors.

Commands: vlfusion data nlvr2 --manual_dir=DOWNLOADED
          vlfusion convert --from=hf dandelin/vilt-b32-mlm --out=vilt
          vlfusion train --config=configs/finetune_tasks/nlvr2.py:vilt
          vlfusion evaluate --workdir=runs/nlvr2 --split=test1

For one accelerator of 40 GB or more, in bf16; not measured here.

Rates, batch of 128 pairs, warm-up, augmentation and 10 epochs as the authors' code has them (github.com/dandelin/ViLT,
vilt/config.py, task_finetune_nlvr2_randaug), where the head learns as fast as all else; an epoch is the 86,373 pairs of
the training split (Suhr et al. 2019, table 2). The second image's type begins as the first's. Otherwise than there,
gradients are clipped.
"""

from vlfusion_jax.config.load import load_config

_PAIRS, _EPOCHS, _BATCH = 86_373, 10, 128


def get_config(arg: str = ""):
    """The run; `arg` is the folder of the checkpoint to start from, '' = from nothing."""
    config = load_config(f"configs/finetune.py:{arg}")
    config.name = "nlvr2"
    config.precision.compute = "bfloat16"
    if "modalities" in config.model:
        config.model.modalities = 3
    config.data.source = "nlvr2"
    config.data.eval_split = "dev"
    config.data.question_length = 40
    config.data.flip = False
    config.data.randaugment = "vilt"
    config.tasks.vqa.weight = 0.0
    config.tasks.nlvr.weight = 1.0

    config.optim.head_lr_multiplier = 1.0
    config.train.batch_size = _BATCH
    config.train.steps = _PAIRS * _EPOCHS // _BATCH
    config.train.log_every = 50
    config.optim.warmup_steps = config.train.steps // 10
    config.train.eval_every = 500
    config.checkpoint.every = 500
    config.checkpoint.best_metric = "accuracy"
    config.published = {"vilt_b32": {"accuracy": 0.7570, "source": "Kim et al. 2021, table 2, dev"}}
    return config

r"""Visual entailment, SNLI-VE (Xie et al. 2019), from ALBEF: does an image entail a hypothesis, or contradict it?

Commands: vlfusion data snli_ve --manual_dir=DOWNLOADED
          vlfusion convert --from=hf ALBEF.pth --out=albef --family=albef --tokenizer=vocab.txt \
            --image_size=384,384
          vlfusion train --config=configs/finetune_tasks/snli_ve.py:albef
          vlfusion evaluate --workdir=runs/snli_ve --split=test

Own data is JSONL whose lines have "image", "statement" and "label" (--config.data.source=jsonl).
For one accelerator of 40 GB or more, in bf16; not measured here.

Rate, decay, schedule, batch of 8 x 32 and 5 epochs, the first of them warm-up, as the authors' code has them
(github.com/salesforce/ALBEF, configs/VE.yaml); an epoch is the 529,527 lines of the training split (Xie et al. 2019).
Otherwise than there, the rate starts from 0, no momentum model teaches, images are not cropped at random, the head has
GELU behind a norm, and gradients are clipped.
"""

from vlfusion_jax.config.load import load_config
from vlfusion_jax.models.families.table import hyperparameters

_LINES, _EPOCHS, _BATCH = 529_527, 5, 256


def get_config(arg: str = ""):
    """The run; `arg` is the folder of the checkpoint to start from, '' = from nothing."""
    config = load_config(f"configs/finetune.py:{arg}")
    config.name = "snli_ve"
    config.precision.compute = "bfloat16"
    if not arg:
        config.model = hyperparameters("albef")
        config.data.image_size = (384, 384)
        config.data.resize = "stretch"
    config.data.source = "snli_ve"
    config.data.eval_split = "dev"
    config.data.question_length = 40
    config.data.randaugment = "albef"
    config.tasks.vqa.loss = "ce"
    config.tasks.vqa.hidden = 768

    config.optim.lr = 2e-5
    config.optim.final_lr = 1e-6
    config.optim.schedule = "cosine"
    config.optim.weight_decay = 0.02
    config.optim.b2 = 0.999
    config.optim.head_lr_multiplier = 1.0
    config.train.batch_size = _BATCH
    config.train.steps = _LINES * _EPOCHS // _BATCH
    config.train.log_every = 50
    config.optim.warmup_steps = config.train.steps // _EPOCHS
    config.train.eval_every = 1000
    config.checkpoint.every = 500
    config.checkpoint.best_metric = "accuracy"
    config.published = {"albef_14m": {"accuracy": 0.8080, "source": "Li et al. 2021, table 4, val"}}
    return config

"""Fine-tuning on your own images and questions, from a converted checkpoint or a run of ours.

Commands: vlfusion convert --from=hf dandelin/vilt-b32-mlm --out=vilt
          vlfusion train --config=configs/finetune.py:vilt --config.data.path=FOLDER

FOLDER holds train.jsonl, test.jsonl and images, as the README's "Your own images and text" says. Without an argument it
is the base size of ViLT, to be started from --init_from=DIR. Recipe: ViLT's for VQA (Kim et al. 2021, section 4.2), its
batch of 256 as eight micro-batches; not measured here.
"""

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.models.families.table import hyperparameters
from vlfusion_jax.train.converted import start_from


def get_config(arg: str = ""):
    """The run; `arg` is the folder of the checkpoint to start from."""
    config = default_config()
    config.name = "finetune"
    if arg:
        start_from(config, arg)
    else:
        config.model = hyperparameters("vilt")
        config.data.image_size = (608, 608)
        config.data.resize = "shorter"
    config.data.source = "jsonl"
    config.data.flip = not config.data.regions

    config.optim.lr = 1e-4
    config.optim.schedule = "linear"
    config.optim.head_lr_multiplier = 10.0
    config.optim.warmup_steps = 500
    config.train.steps = 5000
    config.train.batch_size = 256
    config.train.micro_batches = 8
    config.train.eval_every = 1000
    config.checkpoint.every = 500
    return config

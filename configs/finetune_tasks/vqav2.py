"""Visual question answering on VQA v2 (Goyal et al. 2017) from ViLT, by the recipe of its authors.

Commands: vlfusion convert --from=hf dandelin/vilt-b32-mlm --out=vilt
          vlfusion train --config=configs/finetune_tasks/vqav2.py:vilt --config.data.path=FOLDER

FOLDER holds train.jsonl, test.jsonl and images, as the README's "Your own images and text" says, the ten answers of a
question as a list. For one accelerator of 40 GB or more, in bf16; not measured here.

Rates, batch, warm-up, augmentation and 10 epochs as the authors' code has them (github.com/dandelin/ViLT,
vilt/config.py, task_finetune_vqa_randaug); an epoch is the 658,111 questions of train and val (Goyal et al. 2017).
Otherwise than there, an answer is a class where nine questions have it from any annotator, which makes more classes
than the usual 3,129, an image comes with one of its questions at a time, and gradients are clipped.
"""

from vlfusion_jax.config.load import load_config

_QUESTIONS, _EPOCHS, _BATCH = 658_111, 10, 256


def get_config(arg: str = ""):
    """The run; `arg` is the folder of the checkpoint to start from, '' = from nothing."""
    config = load_config(f"configs/finetune.py:{arg}")
    config.name = "vqav2"
    config.precision.compute = "bfloat16"
    config.data.question_length = 40
    config.data.flip = False
    config.data.randaugment = "vilt"
    config.data.answers_min_count = 9

    config.train.batch_size = _BATCH
    config.train.steps = _QUESTIONS * _EPOCHS // _BATCH
    config.train.log_every = 100
    config.optim.warmup_steps = config.train.steps // 10
    config.train.eval_every = 2500
    config.checkpoint.every = 500
    config.checkpoint.best_metric = "accuracy"
    config.published = {"vilt_b32": {"accuracy": 0.7126, "source": "Kim et al. 2021, table 2, test-dev"}}
    return config

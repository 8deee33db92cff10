"""Answers of VQA v2 (Goyal et al. 2017) that are written, by BLIP, by the recipe of its authors.

Commands: vlfusion data vqav2 --manual_dir=DOWNLOADED
          vlfusion convert --from=hf Salesforce/blip-vqa-base --out=blip --image_size=480,480
          vlfusion train --config=configs/finetune_tasks/vqav2_written.py:blip
          vlfusion predict --workdir=runs/vqav2_written --split=test2015 --format=evalai --out=answers.json

The argument is the converted folder, which is also what the run starts from; the one above was fine-tuned on these
questions before. For 8 accelerators of 40 GB or more (--config.sharding=fsdp), in bf16; not measured here.

Rate, decay, smoothing, image size, questions of 35 tokens, shortlist, batch (16 on each of 16 devices) and 10 epochs as
the authors' code has them (github.com/salesforce/BLIP, configs/vqa.yaml, models/blip_vqa.py, train_vqa.py). An epoch is
the 443,757 questions of train (Goyal et al. 2017), and val is kept to evaluate on; they trained on both and on Visual
Genome's questions. Otherwise than there, one answer of each question is drawn, the rate falls with every step, an image
comes with one of its questions at a time, and images are scaled whole, without RandAugment.
"""

from vlfusion_jax.config.load import load_config
from vlfusion_jax.models.families.table import hyperparameters

_QUESTIONS, _EPOCHS, _BATCH = 443_757, 10, 256


def get_config(arg: str = ""):
    """The run; `arg` is the folder of the converted BLIP to start from."""
    config = load_config(f"configs/finetune.py:{arg}")
    if not arg:
        config.model = hyperparameters("blip", variant="vqa")
        config.data.image_size = (480, 480)
        config.data.resize = "stretch"
    config.name = "vqav2_written"
    config.precision.compute = "bfloat16"
    config.data.source = "vqav2"
    config.data.eval_split = "val"
    config.data.question_length = 35
    config.data.answers_min_count = 9
    config.tasks.vqa.weight = 0.0
    config.tasks.answer.weight = 1.0
    config.tasks.answer.smoothing = 0.1

    config.optim.lr = 2e-5
    config.optim.schedule = "cosine"
    config.optim.head_lr_multiplier = 1.0
    config.optim.warmup_steps = 0
    config.optim.weight_decay = 0.05
    config.optim.b2 = 0.999
    config.optim.clip_norm = 0.0
    config.train.steps = _EPOCHS * (_QUESTIONS // _BATCH)
    config.train.batch_size = _BATCH
    config.train.micro_batches = 1
    config.train.log_every = 100
    config.train.eval_every = _QUESTIONS // _BATCH
    config.eval.batch_size = 32  # each with 128 answers at once
    config.checkpoint.every = _QUESTIONS // _BATCH
    config.checkpoint.best_metric = "answer_accuracy"
    of_blip = {"answer_accuracy": 0.7825, "source": "Li et al. 2022, test-dev, 129 million images"}
    config.published = {"blip_capfilt_l": of_blip}
    return config

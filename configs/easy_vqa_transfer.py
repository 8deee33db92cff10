r"""easy-VQA from weights that know nothing of questions, and from nothing: how many steps the pretraining saves.

Commands: vlfusion train --config=configs/noto_retrieval.py --config.data.path=EMOJI
          vlfusion compare --data=FOLDER --out=runs/transfer \
            --configs=configs/easy_vqa_transfer.py,configs/easy_vqa_transfer.py:runs/noto_retrieval

Both folders are laid out as the README's "Your own images and text" says. Without an argument the run begins at random,
with a folder at the weights and the words of the run there.
"""

from vlfusion_jax.config.load import load_config


def get_config(arg: str = ""):
    """The run; `arg` is the work directory whose weights it starts from."""
    config = load_config("configs/noto_retrieval.py")
    config.name = "pretrained" if arg else "from_scratch"
    config.init_from = arg
    config.data.eval_split = "test"
    config.data.question_length = 12
    config.data.questions_per_image = 8
    config.data.eval_limit = 250
    config.data.shift = 4
    config.tasks.mlm.weight = 0.0
    config.tasks.itc.weight = 0.0
    config.tasks.itm.weight = 0.0
    config.tasks.vqa.weight = 1.0
    config.tasks.vqa.loss = "ce"
    config.optim.lr = 5e-4
    config.optim.warmup_steps = 50
    config.train.steps = 600
    config.train.batch_size = 32
    config.train.eval_every = 50
    config.eval.batch_size = 50
    config.checkpoint.every = 300
    return config

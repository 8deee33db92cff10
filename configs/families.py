"""Any family that answers questions, small, on easy-VQA's images as `configs/easy_vqa.py` reads them.

The fusion baselines and the kinds of Transformer of our own have one size, for `vlfusion compare` to set them side by
side: the same width, convolutional stem and words, and as many layers as make about 48 width² of weights in each
(a layer has 12, cross-attention 4 more); those whose fusion has few weights have more layers in the text tower. All
other families are tiny: the shortest run that shows one learn, not a measure of how well it does.

Command: vlfusion train --config=configs/families.py:lxmert --config.data.path=FOLDER
         vlfusion compare --data=FOLDER
"""

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.families.table import FAMILIES, answers_questions, hyperparameters

SIDE = 64  # of an image, in pixels

COMPARED = {"width": 64, "heads": 4, "mlp_width": 256, "conv_channels": (16, 32, 64, 64)}
BASELINE, KIND = COMPARED | {"image_tower": "conv"}, COMPARED | {"image_tokens": "conv", "image_layers": 0}
SIZES = {
    "early_fusion": BASELINE | {"text_layers": 2, "fusion_layers": 2},
    "early_sum_fusion": BASELINE | {"text_layers": 2, "fusion_layers": 2},
    "late_fusion": BASELINE | {"text_layers": 4},
    "attention_fusion": BASELINE | {"text_layers": 4},
    "co_attention": BASELINE | {"text_layers": 2, "fusion_layers": 1},
    "hierarchical_fusion": BASELINE | {"text_layers": 2, "fusion_layers": 2},
    "gated_fusion": BASELINE | {"text_layers": 4},
    "bottleneck_fusion": BASELINE | {"text_layers": 0, "fusion_layers": 2},
    "bilinear_fusion": BASELINE | {"text_layers": 3},
    "single_stream": KIND | {"layers": 4},
    "two_stream": KIND | {"text_layers": 1, "cross_layers": 1},
    "cross_attention": KIND | {"text_layers": 1, "cross_layers": 2},
}


def get_config(arg: str = ""):
    """The run; `arg` is the family, '' standing for vilt."""
    config = default_config()
    config.name = arg or "vilt"
    config.model = small_model(config.name)
    if not answers_questions(config.model):
        able = ", ".join(family for family in FAMILIES if answers_questions(small_model(family)))
        raise UserError(f"family {arg!r} does not answer questions about images; these do: {able}.")

    config.data.source = "jsonl"
    config.data.train_split = "train"
    config.data.eval_split = "test"
    config.data.image_size = (SIDE, SIDE)
    config.data.question_length = 12
    config.data.questions_per_image = 8

    config.tasks.vqa.weight = 1.0
    config.tasks.vqa.loss = "ce"

    config.optim.lr = 2e-3
    config.optim.warmup_steps = 20
    config.train.steps = 400
    config.train.batch_size = 16
    config.train.log_every = 5
    config.eval.batch_size = 40
    return config


def small_model(family: str):
    """Hyperparameters in the size that is compared, or of the tiny size with patches that divide the image."""
    model = hyperparameters(family, "tiny", **SIZES.get(family, {}))
    if "variant" in model:
        model.variant = "vqa"
    if SIDE % model.get("patch_size", SIDE):
        model.patch_size = 8
    return model

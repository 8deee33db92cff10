"""What a config must satisfy before any device is touched; each message names the key."""

import pytest

from tests.config.write_golden import WITH_ARGUMENT
from vlfusion_jax.config.load import load_config, shipped_configs
from vlfusion_jax.config.validate import validate
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.families.table import hyperparameters


def changed(**values):
    config = load_config("configs/tiny.py")
    for key, value in values.items():
        with config.ignore_type():
            config.update_from_flattened_dict({key.replace("__", "."): value})
    return config


@pytest.mark.parametrize("name", [*shipped_configs(), *WITH_ARGUMENT])
def test_shipped_configs_are_valid(name):
    config = load_config(name)
    if config.data.source == "jsonl":
        config.data.path = "somewhere"
    validate(config)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data__source": "sort_of_clever"}, "data.source is .*Did you mean 'sort_of_clevr'"),
        ({"precision__compute": "bf16"}, "precision.compute.*float32, bfloat16"),
        ({"optim__schedule": "cosin"}, "optim.schedule.*Did you mean 'cosine'"),
        ({"data__image_size": (75,)}, "data.image_size.*tuple of 2 whole numbers"),
        ({"data__question_length": 2}, "data.question_length is 2; it must be at least 3"),
        ({"data__vocab_size": 3}, "data.vocab_size is 3"),
        ({"data__source": "jsonl"}, "data.path is empty; set --config.data.path"),
        ({"data__shift": 75}, "data.shift 75 moves the whole image out"),
        ({"data__eval_split": ""}, "data.eval_split"),
        ({"data__fields__image": ""}, "data.fields.image"),
        ({"train__batch_size": 0}, "train.batch_size is 0; it must be greater than 0"),
        ({"train__micro_batches": 3}, "train.batch_size 8 does not divide by train.micro_batches 3"),
        ({"train__steps": -1}, "train.steps is -1"),
        ({"seed": -1}, "seed is -1; it must not be negative"),
        ({"optim__warmup_steps": 21}, "optim.warmup_steps 21 is more than train.steps 20"),
        ({"optim__final_lr": 1.0}, "optim.final_lr 1.0 is above optim.lr"),
        ({"optim__lr": float("nan")}, "optim.lr is nan"),
        ({"optim__b2": 1.0}, "optim.b2 is 1.0"),
        ({"optim__freeze": ("(",)}, r"optim.freeze holds '\('"),
        ({"tasks__mlm__rate": 0.0}, "tasks.mlm.rate is 0.0"),
        ({"tasks__mrm__rate": 1.0}, "tasks.mrm.rate is 1.0; it must be above 0 and below 1"),
        ({"tasks__mrm__target": "kld"}, "tasks.mrm.target is 'kld'; it must be one of feature, class, kl"),
        ({"tasks__mrm__target": "kl", "tasks__mrm__weight": 1.0}, "target is 'kl', .* but the model reads pixels"),
        ({"data__regions": -1}, "data.regions is -1; it must not be negative"),
        (
            {"data__regions": 9},
            r"data.regions is 9, but the model .*'single_stream' reads pixels: set model.region_patch=0",
        ),
        ({"tasks__mrm__loss": "l1"}, "tasks.mrm.loss is 'l1'; it must be one of mse, smooth_l1"),
        ({"tasks__mrm__weight": -1.0}, "tasks.mrm.weight is -1.0; it must not be negative"),
        ({"tasks__mrm__schedule": (5, 1.0)}, "tasks.mrm.schedule.*tuple of points"),
        ({"tasks__context__loss": "l2"}, "tasks.context.loss is 'l2'; it must be one of mse, cosine"),
        ({"tasks__context__weight": 1.0}, "tasks.context.width is 0: set it to how many numbers"),
        ({"tasks__context__width": -3}, "tasks.context.width is -3; it must not be negative"),
        ({"tasks__vqa__weight": -1.0}, "tasks.vqa.weight is -1.0"),
        (
            {"tasks__vqa__weight": 0.0, "tasks__mlm__weight": 0.0, "tasks__itm__weight": 0.0},
            "no task is on: set one of tasks.mlm.weight, tasks.itm.weight, tasks.itc.weight",
        ),
        ({"tasks__combine": "mean"}, "tasks.combine is 'mean'; it must be one of sum, uncertainty, sample"),
        ({"tasks__itm__negatives": "harder"}, "tasks.itm.negatives is 'harder'.*Did you mean 'hard'"),
        ({"tasks__itc__loss": "sigmoidal"}, "tasks.itc.loss is 'sigmoidal'.*Did you mean 'sigmoid'"),
        ({"tasks__itc__momentum": 1.0}, "tasks.itc.momentum is 1.0; it must be at least 0 and below 1"),
        ({"tasks__itc__soft_share": -0.1}, "tasks.itc.soft_share is -0.1"),
        ({"tasks__itc__soft_steps": -1}, "tasks.itc.soft_steps is -1; it must not be negative"),
        ({"tasks__itc__queue": -8}, "tasks.itc.queue is -8; it must not be negative"),
        ({"tasks__caption__smoothing": 1.0}, "tasks.caption.smoothing is 1.0"),
        ({"tasks__wpa__weight": -1.0}, "tasks.wpa.weight is -1.0"),
        (
            {"tasks__itc__weight": 1.0, "tasks__itc__momentum": 0.9, "tasks__itc__loss": "sigmoid"},
            "tasks.itc.momentum goes with tasks.itc.loss=softmax",
        ),
        (
            {"tasks__itc__weight": 1.0, "tasks__itc__queue": 16},
            "tasks.itc.queue is 16, but vectors of earlier batches need tasks.itc.momentum above 0",
        ),
        ({"tasks__itc__momentum": 0.9}, "tasks.itc.momentum is set, but tasks.itc.weight is 0"),
        (
            {"tasks__itc__weight": 1.0, "tasks__itc__momentum": 0.9, "tasks__itc__queue": 12},
            "tasks.itc.queue 12 does not divide by train.batch_size 8",
        ),
        (
            {"tasks__itm__negatives": "hard", "tasks__wpa__weight": 0.1, "train__micro_batches": 2},
            "train.micro_batches is 2, but with tasks.itm.negatives=hard itm and wpa pair .*: set train.micro_ba",
        ),
        (
            {"tasks__combine": "sample", "tasks__mlm__weight": 0.0, "tasks__itm__weight": 0.0},
            "tasks.combine is 'sample', but one task alone is on: set tasks.combine=sum",
        ),
        ({"tasks__itc__schedule": ((0, "1"),)}, "tasks.itc.schedule.*tuple of points"),
        ({"tasks__itm__schedule": ((5, 1.0), (5, 0.0))}, "tasks.itm.schedule.*increase"),
        ({"tasks__itm__schedule": (5, 1.0)}, "tasks.itm.schedule.*tuple of points"),
        ({"tasks__itm__schedule": ((0, -1.0),)}, "tasks.itm.schedule.*no negative"),
        ({"name": "a/b"}, "name is 'a/b'"),
        ({"name": ".."}, r"name is '\.\.'"),
        ({"seed": 2**32}, r"seed is 4294967296; it must be below"),
        (
            {"checkpoint__best_metric": "accuracy", "train__eval_every": 15},
            "make train.eval_every 15 a multiple of checkpoint.every 10",
        ),
        ({"published": {"cnn": 0.63}}, "published.cnn is 0.63; it must map metrics to numbers"),
        ({"published": {"cnn": {"accuracy": "63 %"}}}, "published.cnn.accuracy is '63 %'; it must be a number"),
        ({"published": {"cnn": {"source": 2017}}}, "published.cnn.source is 2017; it must be a text"),
    ],
)
def test_refused(values, message):
    with pytest.raises(UserError, match=message) as raised:
        validate(changed(**values))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data__regions": 0}, "reads regions of a detector, but data.regions is 0: set it .* or model.region_patch"),
        ({"model__region_patch": 8}, "data.regions is 9, but the model of family 'lxmert' reads pixels"),
        ({"data__source": "vqav2"}, "data.source is 'vqav2'; it must be jsonl with data.regions"),
        ({"data__flip": True}, "data.flip is True; it changes pixels, and with data.regions there are none"),
        ({"data__shift": 2}, "data.shift is 2; it changes pixels"),
        ({"data__randaugment": "vilt"}, "data.randaugment is 'vilt'; it changes pixels"),
        ({"tasks__mrm__target": "class"}, "tasks.mrm.classes is 0; it must be the detector's number of classes"),
        ({"tasks__mrm__target": "kl"}, "tasks.mrm.classes is 0; .* with tasks.mrm.target=kl"),
        ({"tasks__mrm__classes": -4}, "tasks.mrm.classes is -4; it must not be negative"),
    ],
)
def test_regions_are_refused(values, message):
    config = load_config("configs/tiny.py")
    config.model = hyperparameters("lxmert", "tiny", region_patch=0)
    right = {"data.source": "jsonl", "data.path": "somewhere", "data.regions": 9, "tasks.mrm.weight": 1.0}
    config.update_from_flattened_dict(right)
    validate(config)
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in values.items()})
    with pytest.raises(UserError, match=message):
        validate(config)


def test_what_does_not_apply_is_not_checked():
    validate(changed(tasks__itm__schedule=((0, 0.0), (10, 1.0))))
    # Random negatives are made on the host: their batches may be cut.
    validate(changed(tasks__wpa__weight=1.0, tasks__caption__weight=1.0, train__micro_batches=2))
    momentum = {"tasks__itc__weight": 1.0, "tasks__itc__momentum": 0.995, "tasks__itc__queue": 16}
    validate(changed(**momentum))
    validate(changed(tasks__combine="sample", **momentum))

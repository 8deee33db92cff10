"""Every family and every baseline learns, sharded over eight devices."""

from contextlib import closing
from itertools import islice
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from vlfusion_jax.config.load import load_config
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.global_array import to_global
from vlfusion_jax.data.pipeline import train_batches
from vlfusion_jax.data.source import open_source
from vlfusion_jax.data.vocabulary import build_vocabulary
from vlfusion_jax.models.families.table import FAMILIES
from vlfusion_jax.parallel.audit import format_audit
from vlfusion_jax.train.setup import build

CONFIG = "configs/families.py"
STEPS, REPLICATED_KIB = 16, 8
WITHOUT_ANSWERS = {"bert", "roberta", "vit", "resnet"}
SAMPLE = ("vilt", "lxmert", "bottleneck_fusion")


def config_of(family: str):
    config = load_config(f"{CONFIG}:{family}")
    with config.unlocked():
        config.sharding = "fsdp_tp"
        config.train.steps = STEPS
        config.optim.warmup_steps = 5
        config.audit.max_replicated_kib = REPLICATED_KIB
    return config


@pytest.fixture(scope="module")
def data(data_folder) -> SimpleNamespace:
    """Vocabulary and batches, which are the same for all."""
    config = config_of("vilt")
    config.data.path = str(data_folder("easy_vqa"))
    source = open_source(config.data, config.data.train_split)
    vocabulary = build_vocabulary([source], config.data)
    with closing(train_batches(config, source, vocabulary)) as batches:
        return SimpleNamespace(vocabulary=vocabulary, batches=list(islice(batches, STEPS)))


@pytest.mark.parametrize(
    "family",
    [
        name if name in SAMPLE else pytest.param(name, marks=pytest.mark.slow)
        for name in FAMILIES
        if name not in WITHOUT_ANSWERS
    ],
)
def test_loss_falls_on_eight_devices(data, family):
    run = build(config_of(family), data.vocabulary, jax.devices()[:8])
    assert run.strategy.mesh.size == 8
    print(format_audit(run.audit, run.strategy.mesh.size))
    state, losses = run.init_state(), []
    for batch in data.batches:
        state, metrics = run.train_step(state, to_global(batch, run.batch_sharding))
        losses.append(float(metrics["loss"]))
    assert np.isfinite(losses).all()
    assert np.mean(losses[-4:]) < 0.9 * losses[0], losses


@pytest.mark.parametrize("family", sorted(WITHOUT_ANSWERS))
def test_the_others_say_that_they_do_not_answer(family):
    with pytest.raises(UserError, match=f"family '{family}' does not answer questions about images; these do: "):
        load_config(f"{CONFIG}:{family}")

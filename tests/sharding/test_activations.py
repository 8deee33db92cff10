"""The rules reach the activations of the compiled program."""

import jax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from vlfusion_jax.core import names
from vlfusion_jax.data.pipeline import batch_shapes
from vlfusion_jax.parallel.loading import load_strategy
from vlfusion_jax.parallel.strategy import constrain
from vlfusion_jax.train.setup import build
from vlfusion_jax.train.views import view_inputs


def test_constrain_decides_the_layout():
    strategy = load_strategy("fsdp_tp")
    x = jax.ShapeDtypeStruct((8, 3, 6), "float32", sharding=strategy.replicated)

    def doubled(x):
        with strategy.activate():
            return constrain(2 * x, names.BATCH, names.SEQUENCE, names.MLP)

    compiled = jax.jit(doubled).lower(x).compile()
    expected = NamedSharding(strategy.mesh, P("fsdp", None, "tensor"))
    assert compiled.output_shardings.is_equivalent_to(expected, 3)
    assert not jax.jit(lambda x: 2 * x).lower(x).compile().output_shardings.is_equivalent_to(expected, 3)


def test_constrain_does_nothing_without_a_strategy_or_on_one_device():
    x = jax.numpy.ones((2, 3))
    assert constrain(x, names.BATCH, names.MLP) is x
    with load_strategy("fsdp_tp:1", jax.devices()[:1]).activate():
        assert constrain(x, names.BATCH, names.MLP) is x


@pytest.fixture(scope="module")
def programs(small_config, small_vocabulary):
    """The model's hidden states and attention under fsdp_tp, lowered with the rules in force and without."""
    config = small_config(
        model__width=32, model__heads=4, model__mlp_width=48, model__layers=1, sharding="fsdp_tp",
        data__questions_per_image=1, tasks__mlm__weight=0.0, tasks__itm__weight=0.0,
    )  # fmt: skip
    run = build(config, small_vocabulary)
    shapes = batch_shapes(config, small_vocabulary)
    batch = {k: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=run.batch_sharding) for k, s in shapes.items()}

    def forward(params, batch):
        inputs = view_inputs(batch, names.QUESTION)
        output = run.model.apply({"params": params}, inputs, (names.VQA,), capture=True)
        return output.hidden["fusion"]["joint"], output.attention["fusion"]["joint_self_0"]

    def ruled(params, batch):
        with run.strategy.activate():
            return forward(params, batch)

    return run.strategy.mesh, *(jax.jit(f).lower(run.abstract_state.params, batch) for f in (ruled, forward))


def test_activations_of_the_model_are_laid_out_by_the_rules(programs):
    mesh, ruled, free = programs
    assert ruled.as_text().count("sharding_constraint") >= 7
    assert "sharding_constraint" not in free.as_text()
    ruled, free = ruled.compile(), free.compile()
    layouts = [NamedSharding(mesh, P(None, "fsdp")), NamedSharding(mesh, P(None, "fsdp", "tensor"))]
    for output, layout in zip(ruled.output_shardings, layouts, strict=True):
        assert output.is_equivalent_to(layout, 4 if layout is layouts[0] else 5)
    assert not free.output_shardings[0].is_equivalent_to(layouts[0], 4)
    # Each device computes the activation of its quarter of the rows (16) and half of the hidden units (48).
    tokens = 6 + 2 * 3
    assert f"f32[4,{tokens},24]" in ruled.as_text()

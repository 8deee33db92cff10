"""What a strategy refuses: every message names what is wrong."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.partitioned import with_axes
from vlfusion_jax.core.tree import flatten
from vlfusion_jax.parallel.loading import load_strategy
from vlfusion_jax.parallel.mesh import axis_sizes
from vlfusion_jax.parallel.placement import param_shardings
from vlfusion_jax.parallel.strategy import Strategy, constrain, within
from vlfusion_jax.train.setup import build


class Layer(nn.Module):
    """One kernel, its dims named as asked."""

    shape: tuple[int, ...]
    axes: tuple[str, ...]

    @nn.compact
    def __call__(self):
        return self.param("kernel", with_axes(nn.initializers.ones_init(), *self.axes), self.shape, jnp.float32)


class Model(nn.Module):
    shape: tuple[int, ...]
    axes: tuple[str, ...]

    @nn.compact
    def __call__(self):
        return Layer(self.shape, self.axes, name="encoder")()


def place(strategy, shape, axes):
    boxed = jax.eval_shape(lambda: Model(shape, axes).init(jax.random.key(0))["params"])
    return param_shardings(boxed, strategy)["encoder"]["kernel"]


def changed(strategy, **rules):
    return Strategy("mine", strategy.mesh, strategy.rules | rules)


@pytest.fixture(scope="module")
def fsdp_tp():
    return load_strategy("fsdp_tp")


def test_dims_go_where_the_rules_say(fsdp_tp):
    assert dict(fsdp_tp.mesh.shape) == {"data": 1, "fsdp": 4, "tensor": 2}
    sharding = place(fsdp_tp, (8, 6), ("embed", "mlp"))
    assert sharding.shard_shape((8, 6)) == (2, 3)
    assert sharding.is_equivalent_to(NamedSharding(fsdp_tp.mesh, P("fsdp", "tensor")), 2)
    both = place(fsdp_tp, (16,), ("mlp_bias",))
    assert both.shard_shape((16,)) == (2,)
    assert place(fsdp_tp, (3, 5), ("window", "pixels")).is_fully_replicated


def test_misspelt_logical_axis(fsdp_tp):
    with pytest.raises(UserError, match=r"parameter encoder/kernel: unknown logical axis 'embde'"):
        place(fsdp_tp, (8, 6), ("embde", "mlp"))


def test_axis_used_twice(fsdp_tp):
    with pytest.raises(UserError, match=r"parameter encoder/kernel: mesh axis 'tensor' is used twice.*'mlp'.*'heads'"):
        place(fsdp_tp, (8, 6), ("mlp", "heads"))
    with pytest.raises(UserError, match=r"parameter encoder/kernel: mesh axis 'fsdp' is used twice"):
        place(changed(fsdp_tp, embed=("fsdp", "fsdp")), (16, 6), ("embed", "mlp"))


def test_an_axis_of_one_device_may_be_used_twice():
    strategy = load_strategy("fsdp_tp:1")
    assert place(strategy, (8, 6), ("mlp", "heads")).is_fully_replicated


@pytest.mark.parametrize(("shape", "dim", "size", "parts"), [((6, 4), "embed", 6, 4), ((8, 3), "mlp", 3, 2)])
def test_indivisible_dim(fsdp_tp, shape, dim, size, parts):
    message = rf"parameter encoder/kernel: dim '{dim}' of size {size} does not divide by {parts}"
    with pytest.raises(UserError, match=message):
        place(fsdp_tp, shape, ("embed", "mlp"))


def test_a_whole_model_that_does_not_divide(small_config, small_vocabulary):
    with pytest.raises(UserError, match=r"parameter fusion/layers/joint_self/\w+/\w+: dim 'heads' of size 3 .* by 2"):
        build(small_config(model__width=24, model__heads=3, sharding="fsdp_tp"), small_vocabulary)


def test_missing_and_unknown_rules(fsdp_tp):
    fewer = {axis: rule for axis, rule in fsdp_tp.rules.items() if axis != names.EMBED}
    with pytest.raises(UserError, match=r"missing logical axes \['embed'\]"):
        Strategy("mine", fsdp_tp.mesh, fewer)
    with pytest.raises(UserError, match=r"unknown logical axes \['embde'\], missing logical axes \['embed'\]"):
        Strategy("mine", fsdp_tp.mesh, fewer | {"embde": "fsdp"})
    with pytest.raises(UserError, match=r"'mlp' goes to unknown mesh axis 'tensr'"):
        changed(fsdp_tp, mlp="tensr")


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        ({"data": 3}, r"does not fit 8 device"),
        ({"data": -1, "fsdp": 3}, r"does not fit 8 device"),
        ({"data": -1, "fsdp": -1}, r"at most one -1"),
        ({"data": 0, "fsdp": 8}, r"must be positive"),
        ({"data": -1, "fsdp": 16}, r"does not fit 8 device"),
        ({"data": 8, "model": 1}, r"unknown mesh axis \['model'\]"),
    ],
)
def test_wrong_mesh_sizes(requested, message):
    with pytest.raises(UserError, match=rf"sharding 'mine'.*{message}"):
        axis_sizes(requested, 8, "mine")


def test_mesh_sizes_are_filled_in():
    assert axis_sizes({"data": -1, "tensor": 2}, 8, "mine") == {"data": 4, "fsdp": 1, "tensor": 2}


def test_a_strategy_file_of_ones_own(tmp_path, fsdp_tp):
    table = {"mesh": {"data": 2, "fsdp": -1}, "rules": fsdp_tp.rules}
    file = tmp_path / "mine.py"
    file.write_text(f"def get_strategy(arg=''):\n    return {table!r}\n")
    assert dict(load_strategy(str(file)).mesh.shape) == {"data": 2, "fsdp": 4, "tensor": 1}
    file.write_text(f"def get_strategy(arg=''):\n    return {table | {'mesh': {'dta': -1}}!r}\n")
    with pytest.raises(UserError, match=r"unknown mesh axis \['dta'\]"):
        load_strategy(str(file))
    for wrong in ({"mesh": {"data": -1}}, {"rules": fsdp_tp.rules}, None):
        file.write_text(f"def get_strategy(arg=''):\n    return {wrong!r}\n")
        with pytest.raises(UserError, match=r"mine\.py: get_strategy must return \{'mesh'.*'rules'"):
            load_strategy(str(file))
    known = r"\['dp', 'fsdp', 'fsdp_tp', 'hybrid', 'tp_sp', 'zero1'\]"
    with pytest.raises(UserError, match=rf"no such strategy; use one of {known}"):
        load_strategy("fsdq")


def test_rules_of_the_optimizer_and_of_parts(fsdp_tp):
    parts = {"encoder": {"embed": None, "mlp": ("fsdp", "tensor")}}
    strategy = Strategy("mine", fsdp_tp.mesh, fsdp_tp.rules, {"embed": None, "heads": None}, parts)
    axes, shape = ("embed", "mlp"), (8, 16)
    assert place(fsdp_tp, shape, axes).shard_shape(shape) == (2, 8)
    assert place(strategy, shape, axes).shard_shape(shape) == (8, 2)  # the module is called encoder
    assert place(strategy, (8, 4), ("embed", "heads")).shard_shape((8, 4)) == (8, 2)
    assert place(strategy.of_optimizer(), (8, 4), ("embed", "heads")).is_fully_replicated
    assert strategy.of_part("encoder/layers").rules["mlp"] == ("fsdp", "tensor")
    assert strategy.of_part("encoder_2").rules == fsdp_tp.rules
    for table, where in (({"embde": None}, "optimizer"), ({"embed": "tensr"}, "optimizer")):
        with pytest.raises(UserError, match=f"'mine', {where}: .*emb"):
            Strategy("mine", fsdp_tp.mesh, fsdp_tp.rules, table)
    with pytest.raises(UserError, match=r"'mine', parts/encoder: unknown logical axes \['embde'\]"):
        Strategy("mine", fsdp_tp.mesh, fsdp_tp.rules, {}, {"encoder": {"embde": None}})


def test_activations_within_a_part(fsdp_tp):
    strategy = Strategy(
        "mine", fsdp_tp.mesh, fsdp_tp.rules, {}, {"image_layers": {"batch": ("data", "fsdp", "tensor")}}
    )
    x = jax.ShapeDtypeStruct((8, 3), "float32", sharding=fsdp_tp.replicated)

    def laid_out(x):
        with strategy.activate(), within("image_layers"):
            inside = constrain(2 * x, names.BATCH, names.SEQUENCE)
        with strategy.activate(), within("text_layers"):
            return inside, constrain(3 * x, names.BATCH, names.SEQUENCE)

    inside, outside = jax.jit(laid_out).lower(x).compile().output_shardings
    assert (inside.shard_shape((8, 3)), outside.shard_shape((8, 3))) == ((1, 3), (2, 3))


def test_optimizer_state_alone_is_split(small_config, small_vocabulary):
    run = build(small_config(sharding="zero1"), small_vocabulary)
    for path, leaf in flatten(run.abstract_state.params).items():
        assert leaf.sharding.is_fully_replicated, path
    moments = [leaf for path, leaf in flatten(run.abstract_state.opt_state).items() if path.endswith("kernel")]
    assert moments
    assert not any(leaf.sharding.is_fully_replicated for leaf in moments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__batch_size": 12}, r"train.batch_size=12 does not divide by 8"),
        ({"eval__batch_size": 20}, r"eval.batch_size=20 does not divide by 8"),
        ({"train__micro_batches": 4}, r"train.batch_size=16 does not divide by 32 .*4 micro-batches"),
    ],
)
def test_batches_must_divide(small_config, small_vocabulary, changes, message):
    with pytest.raises(UserError, match=message):
        build(small_config(**changes), small_vocabulary)


def test_activations_are_held_to_the_same_rules(fsdp_tp):
    def constrained(*logical):
        with fsdp_tp.activate():
            return jax.eval_shape(lambda x: constrain(x, *logical), jax.ShapeDtypeStruct((8, 6), "float32"))

    assert constrained("batch", "mlp").shape == (8, 6)
    with pytest.raises(UserError, match=r"unknown logical axis 'btach'"):
        constrained("btach", "mlp")

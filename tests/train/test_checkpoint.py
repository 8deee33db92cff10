import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.tree import flatten
from vlfusion_jax.train.checkpoint import Checkpointer, load_meta, load_params
from vlfusion_jax.train.checkpoint_folders import FOLDER, CheckpointWarning, has_checkpoint
from vlfusion_jax.train.meta import describe

# When one part of a damaged checkpoint fails, threads of the storage layer still finish the others, for nobody.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def save(run, workdir, steps, metrics=()):
    """Saves states whose parameters are offset by the step; returns the states by step, on the host."""
    saved = {}
    checkpoints = Checkpointer(workdir, run.config.checkpoint)
    for i, step in enumerate(steps):
        state = run.init_state()
        state = state.replace(step=jnp.int32(step), params=jax.tree.map(lambda x, s=step: x + s, state.params))
        saved[step] = jax.device_get(state)
        checkpoints.save(step, state, describe(run, float(step)), metrics[i] if metrics else None)
    checkpoints.close()
    return saved


def restore(run, workdir):
    checkpoints = Checkpointer(workdir, run.config.checkpoint)
    restored = checkpoints.restore(run.abstract_state)
    checkpoints.close()
    return restored


def kept(workdir):
    return sorted(int(path.name) for path in (workdir / FOLDER).iterdir() if path.name.isdigit())


def assert_same(found, expected):
    found, expected = flatten(found), flatten(expected)
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_array_equal(np.asarray(found[name]), expected[name], err_msg=name)


def test_restore_gives_back_state_data_and_meta(tiny_run, tmp_path):
    run = tiny_run(seed=7)
    saved = save(run, tmp_path, [10, 20])
    restored = restore(run, tmp_path)
    assert restored.step == 20
    assert restored.data == {"next_batch": 20, "seed": 7}
    assert restored.meta["step"] == 20
    assert restored.meta["clock"] == 20.0
    assert restored.meta["config"]["seed"] == 7
    assert_same(restored.state, saved[20])
    assert load_meta(tmp_path) == restored.meta
    assert load_meta(tmp_path / FOLDER / "10")["step"] == 10


def test_an_empty_folder_restores_nothing(tiny_run, tmp_path):
    assert restore(tiny_run(), tmp_path) is None
    with pytest.raises(UserError, match="no checkpoint here"):
        load_meta(tmp_path)


@pytest.mark.parametrize("devices", [4, 2, 1])
def test_restore_on_fewer_devices(tiny_run, tmp_path, devices):
    saved = save(tiny_run(8), tmp_path, [3])
    run = tiny_run(devices)
    state = restore(run, tmp_path).state
    assert_same(state, saved[3])
    for leaf, shape in zip(jax.tree.leaves(state), jax.tree.leaves(run.abstract_state), strict=True):
        assert leaf.sharding.is_equivalent_to(shape.sharding, leaf.ndim)
        assert len(leaf.devices()) == devices


def test_the_newest_and_the_best_are_kept(tiny_run, tmp_path):
    run = tiny_run(checkpoint__keep=2, checkpoint__best_metric="accuracy")
    metrics = [{"accuracy": a, "loss": 0.0} if a else None for a in (0.5, None, 0.9, None, 0.7, None, None)]
    save(run, tmp_path, [1, 2, 3, 4, 5, 6, 7], metrics)
    assert kept(tmp_path) == [3, 6, 7]
    # A checkpointer that starts over in the same folder knows the best of before.
    save(run, tmp_path, [8, 9], [{"accuracy": 0.8}, None])
    assert kept(tmp_path) == [3, 8, 9]


def test_the_best_may_be_the_smallest(tiny_run, tmp_path):
    run = tiny_run(checkpoint__keep=1, checkpoint__best_metric="loss", checkpoint__best_mode="min")
    save(run, tmp_path, [1, 2, 3], [{"loss": 2.0}, {"loss": 1.0}, {"loss": 3.0}])
    assert kept(tmp_path) == [2, 3]


def test_a_best_metric_that_was_not_found_is_told_after_saving(tiny_run, tmp_path):
    with pytest.raises(UserError, match=r"best_metric.*'accuracy_x'.*\['accuracy'\].*Step 1 is saved"):
        save(tiny_run(checkpoint__best_metric="accuracy_x"), tmp_path, [1], [{"accuracy": 0.5}])
    assert load_meta(tmp_path)["step"] == 1


def delete_data(folder):
    for path in (folder / "state").glob("**/d/*"):
        path.unlink()


def truncate_data(folder):
    for path in (folder / "state").glob("**/d/*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def delete_state(folder):
    (folder / "state").rename(folder.parent.parent / "gone")


def delete_meta(folder):
    (folder / "meta" / "data.json").unlink()


def empty(folder):
    folder.rename(folder.parent.parent / "gone")
    folder.mkdir()


@pytest.mark.parametrize("damage", [delete_data, truncate_data, delete_state, delete_meta, empty])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tiny_run, tmp_path, damage):
    run = tiny_run()
    saved = save(run, tmp_path, [10, 20])
    damage(tmp_path / FOLDER / "20")
    with pytest.warns(CheckpointWarning, match=r"10 used in its place.*checkpoints/20: \w+: \S"):
        restored = restore(run, tmp_path)
    assert restored.step == 10
    assert_same(restored.state, saved[10])
    assert (tmp_path / FOLDER / "20.unreadable").is_dir()
    # The run goes on: it can write step 20 again, and reads it without a warning.
    saved = save(run, tmp_path, [20])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(restore(run, tmp_path).state, saved[20])


def test_changed_bytes_are_noticed(tiny_run, tmp_path):
    run = tiny_run()
    save(run, tmp_path, [10, 20])
    # What storage would return after a byte of one array changed: the sums on record are no longer its own.
    file = tmp_path / FOLDER / "20" / "meta" / "data.json"
    meta = json.loads(file.read_text())
    meta["checksums"]["params/encoder/kernel"] ^= 1
    file.write_text(json.dumps(meta))
    with pytest.warns(CheckpointWarning, match="checksum mismatch.*params/encoder/kernel"):
        assert restore(run, tmp_path).step == 10


def test_no_readable_checkpoint_is_an_error_that_names_them(tiny_run, tmp_path):
    run = tiny_run()
    save(run, tmp_path, [10, 20])
    for step in ("10", "20"):
        delete_data(tmp_path / FOLDER / step)
    with pytest.raises(UserError, match=r"(?s)no checkpoint reads.*checkpoints/20: .*checkpoints/10: "):
        restore(run, tmp_path)
    assert kept(tmp_path) == [10, 20]  # nothing was moved


def test_a_checkpoint_being_written_is_not_seen(tiny_run, tmp_path):
    run = tiny_run()
    save(run, tmp_path, [10])
    (tmp_path / FOLDER / "20.orbax-checkpoint-tmp").mkdir()
    assert load_meta(tmp_path)["step"] == 10
    assert (tmp_path / FOLDER / "20.orbax-checkpoint-tmp").is_dir()  # readers leave it alone
    assert restore(run, tmp_path).step == 10


def abstract_params(run, **shapes):
    sharding = run.batch_sharding
    return {
        top: {name: jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding) for name, shape in leaves.items()}
        for top, leaves in shapes.items()
    }


def test_params_load_from_workdir_and_step(tiny_run, tmp_path):
    run = tiny_run()
    saved = save(run, tmp_path, [1, 2])
    for path, step in ((tmp_path, 2), (tmp_path / FOLDER, 2), (tmp_path / FOLDER / "1", 1)):
        assert_same(load_params(path, run.abstract_state.params), saved[step].params)


def test_params_that_do_not_fit_are_all_named(tiny_run, tmp_path):
    run = tiny_run()
    save(run, tmp_path, [1])
    wanted = abstract_params(run, encoder={"kernel": (16, 5)}, head_itm={"bias": (2,)})
    with pytest.raises(UserError) as error:
        load_params(tmp_path, wanted)
    message = str(error.value)
    assert "encoder/kernel: (16, 4) in the checkpoint, (16, 5) in the model" in message
    assert "head_itm/bias: missing in the checkpoint" in message
    assert "head_vqa/bias: in the checkpoint, not in the model" in message


def test_new_leaves_come_from_the_fresh_parameters(tiny_run, tmp_path):
    run = tiny_run()
    saved = save(run, tmp_path, [1])
    wanted = abstract_params(run, encoder={"kernel": (16, 4)}, head_itm={"bias": (2,)}, head_vqa={"bias": (6,)})
    fresh = jax.tree.map(lambda shape: jnp.full(shape.shape, 5.0), wanted)
    params = load_params(tmp_path, wanted, fresh, allow_new=("^head_",))
    assert_same(params["encoder"], saved[1].params["encoder"])
    assert_same(
        {"i": params["head_itm"]["bias"], "v": params["head_vqa"]["bias"]}, {"i": np.full(2, 5.0), "v": np.full(6, 5.0)}
    )


def test_the_first_rows_of_a_longer_table(tiny_run, tmp_path):
    run = tiny_run(devices=4)
    saved = save(run, tmp_path, [1])
    wanted = abstract_params(run, encoder={"kernel": (12, 4)}, head_vqa={"bias": (4,)})
    params = load_params(tmp_path, wanted, allow_longer=("^encoder/kernel$",))
    np.testing.assert_array_equal(params["encoder"]["kernel"], saved[1].params["encoder"]["kernel"][:12])
    assert params["encoder"]["kernel"].sharding == wanted["encoder"]["kernel"].sharding
    wanted = abstract_params(run, encoder={"kernel": (20, 4)}, head_vqa={"bias": (4,)})
    with pytest.raises(UserError, match=r"\(16, 4\) in the checkpoint, \(20, 4\) in the model"):
        load_params(tmp_path, wanted, allow_longer=("^encoder/kernel$",))


def test_the_last_row_again_for_a_shorter_table(tiny_run, tmp_path):
    run = tiny_run(devices=4)
    saved = save(run, tmp_path, [1])
    wanted = abstract_params(run, encoder={"kernel": (20, 4)}, head_vqa={"bias": (4,)})
    params = load_params(tmp_path, wanted, allow_shorter=("^encoder/kernel$",))
    before = np.asarray(saved[1].params["encoder"]["kernel"])
    np.testing.assert_array_equal(params["encoder"]["kernel"], np.concatenate([before, before[-1:].repeat(4, axis=0)]))
    assert params["encoder"]["kernel"].sharding == wanted["encoder"]["kernel"].sharding
    wanted = abstract_params(run, encoder={"kernel": (12, 4)}, head_vqa={"bias": (4,)})
    with pytest.raises(UserError, match=r"\(16, 4\) in the checkpoint, \(12, 4\) in the model"):
        load_params(tmp_path, wanted, allow_shorter=("^encoder/kernel$",))


def test_the_same_step_may_be_damaged_again(tiny_run, tmp_path):
    run = tiny_run()
    for asides in (["20.unreadable"], ["20.unreadable", "20.unreadable-1"]):
        save(run, tmp_path, [10, 20])
        delete_data(tmp_path / FOLDER / "20")
        with pytest.warns(CheckpointWarning):
            assert restore(run, tmp_path).step == 10
        assert sorted(path.name for path in (tmp_path / FOLDER).glob("20.*")) == asides


def test_only_a_finished_checkpoint_counts(tiny_run, tmp_path):
    assert not has_checkpoint(tmp_path)
    (tmp_path / FOLDER / "20.orbax-checkpoint-tmp").mkdir(parents=True)
    assert not has_checkpoint(tmp_path)
    save(tiny_run(), tmp_path, [10])
    assert has_checkpoint(tmp_path)

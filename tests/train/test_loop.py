import json
import os
import signal

import jax
import numpy as np
import pytest

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.tree import flatten
from vlfusion_jax.train.checkpoint import Checkpointer, load_meta
from vlfusion_jax.train.loop import train
from vlfusion_jax.train.metrics import FILE, TIME, read_metrics

SETTINGS = {"train__steps": 12, "train__log_every": 3, "train__eval_every": 4, "checkpoint__every": 5}


def lines(workdir):
    return [{k: v for k, v in line.items() if not k.startswith(TIME)} for line in read_metrics(workdir)]


def evaluate(params):
    return {"norm": float(np.linalg.norm(params["encoder"]["kernel"]))}


def assert_same(found, expected):
    found, expected = flatten(jax.device_get(found)), flatten(jax.device_get(expected))
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def reference(run, batches, steps):
    """The same training, spelled out."""
    state, losses = run.init_state(), []
    for _, batch in zip(range(steps), batches(0), strict=False):
        state, metrics = run.train_step(state, batch)
        losses.append(float(metrics["loss"]))
    return state, losses


def test_trains_as_the_steps_spelled_out(tiny_run, tiny_batches, tmp_path, capsys):
    run = tiny_run(**SETTINGS)
    state, losses = reference(run, tiny_batches, 12)
    outcome = train(run, tiny_batches, tmp_path, evaluate)
    assert (outcome.step, outcome.finished) == (12, True)
    assert_same(outcome.state, state)
    assert outcome.evaluation == evaluate(state.params)
    written = lines(tmp_path)
    assert [(line["step"], "loss" in line) for line in written] == [
        (1, True), (3, True), (4, False), (6, True), (8, False), (9, True), (12, True), (12, False),
    ]  # fmt: skip
    for line in written:
        if "loss" in line:
            assert line["loss"] == losses[line["step"] - 1]
    assert written[-1] == {"step": 12, "eval/norm": evaluate(state.params)["norm"]}
    assert load_meta(tmp_path)["step"] == 12
    assert "step 12/12  loss" in capsys.readouterr().err


def test_a_finished_run_says_so_and_changes_nothing(tiny_run, tiny_batches, tmp_path, capsys):
    run = tiny_run(**SETTINGS)
    first = train(run, tiny_batches, tmp_path)
    before = (tmp_path / FILE).read_bytes()
    again = train(run, tiny_batches, tmp_path)
    assert "already trained to step 12" in capsys.readouterr().err
    assert (again.step, again.finished, again.evaluation) == (12, True, None)
    assert_same(again.state, first.state)
    assert (tmp_path / FILE).read_bytes() == before


def stopping_batches(batches, stop_at, number):
    def batches_from(start):
        for step, batch in enumerate(batches(start), start):
            if step == stop_at:
                os.kill(os.getpid(), number)
            yield batch

    return batches_from


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("stop_at", [0, 3, 6, 11])
def test_a_signal_saves_and_the_same_call_goes_on_exactly(tiny_run, tiny_batches, tmp_path, number, stop_at, capsys):
    run = tiny_run(**SETTINGS)
    whole = train(run, tiny_batches, tmp_path / "whole", evaluate)
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    stopped = train(run, stopping_batches(tiny_batches, stop_at, number), tmp_path / "cut", evaluate)
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert stopped.step == stop_at + 1
    assert stopped.finished == (stop_at == 11)
    assert load_meta(tmp_path / "cut")["step"] == stop_at + 1
    resumed = train(run, tiny_batches, tmp_path / "cut", evaluate)
    assert_same(resumed.state, whole.state)
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
    if not stopped.finished:
        assert "stopped by a signal" in capsys.readouterr().err


class Killed(BaseException):
    pass


def test_lines_after_the_restored_step_are_cut(tiny_run, tiny_batches, tmp_path):
    run = tiny_run(**SETTINGS)
    whole = train(run, tiny_batches, tmp_path / "whole", evaluate)

    def dying(start):
        for step, batch in enumerate(tiny_batches(start), start):
            if step == 9:
                raise Killed
            yield batch

    with pytest.raises(Killed):
        train(run, dying, tmp_path / "cut", evaluate)
    assert [line["step"] for line in lines(tmp_path / "cut")][-1] == 8
    assert load_meta(tmp_path / "cut")["step"] == 5
    resumed = train(run, tiny_batches, tmp_path / "cut", evaluate)
    assert_same(resumed.state, whole.state)
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")


def test_every_checkpoint_finds_its_metrics_on_disk(tiny_run, tiny_batches, tmp_path, monkeypatch):
    seen = {}
    save = Checkpointer.save

    def spy(self, step, *args):
        seen[step] = [json.loads(line)["step"] for line in (tmp_path / FILE).read_text().splitlines()]
        save(self, step, *args)

    monkeypatch.setattr(Checkpointer, "save", spy)
    train(tiny_run(**SETTINGS), tiny_batches, tmp_path, evaluate)
    assert seen == {5: [1, 3, 4], 10: [1, 3, 4, 6, 8, 9], 12: [1, 3, 4, 6, 8, 9, 12, 12]}


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(tiny_run, tiny_batches, tmp_path):
    run = tiny_run(**SETTINGS)

    def poisoned(start):
        for step, batch in enumerate(tiny_batches(start), start):
            yield {**batch, "y": batch["y"] * np.float32(np.nan)} if step == 9 else batch

    with pytest.raises(UserError, match=r"step 10: loss=nan"):
        train(run, poisoned, tmp_path, evaluate)
    assert load_meta(tmp_path)["step"] == 5  # step 10 was due and is not there
    assert lines(tmp_path)[-1]["loss"] is None


def failing_once(function, calls):
    """`function`, whose call number `calls` raises what an unreadable image does."""
    left = [calls]

    def wrapped(argument):
        left[0] -= 1
        if left[0] == 0:
            raise UserError("image 'x.png' cannot be decoded")
        return function(argument)

    return wrapped


@pytest.mark.parametrize(("calls", "step"), [(1, 4), (3, 12)])
def test_an_evaluation_that_fails_loses_no_step(tiny_run, tiny_batches, tmp_path, calls, step, capsys):
    run = tiny_run(**SETTINGS)
    whole = train(run, tiny_batches, tmp_path / "whole", evaluate)
    with pytest.raises(UserError, match=r"x\.png"):
        train(run, tiny_batches, tmp_path / "cut", failing_once(evaluate, calls))
    assert load_meta(tmp_path / "cut")["step"] == step
    assert f"saved after step {step}; the same command goes on" in capsys.readouterr().err
    resumed = train(run, tiny_batches, tmp_path / "cut", evaluate)
    assert_same(resumed.state, whole.state)
    assert resumed.evaluation == whole.evaluation
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")


@pytest.mark.parametrize("bad", [0, 3, 5, 7])
def test_a_batch_that_fails_loses_no_step(tiny_run, tiny_batches, tmp_path, bad):
    run = tiny_run(**SETTINGS)

    def broken(start):
        for step, batch in enumerate(tiny_batches(start), start):
            if step == bad:
                raise UserError("image 'x.png' cannot be decoded")
            yield batch

    whole = train(run, tiny_batches, tmp_path / "whole")
    with pytest.raises(UserError, match=r"x\.png"):
        train(run, broken, tmp_path / "cut")
    if bad:
        assert load_meta(tmp_path / "cut")["step"] == bad
    else:
        assert not list((tmp_path / "cut" / "checkpoints").glob("*"))  # nothing was trained
    assert_same(train(run, tiny_batches, tmp_path / "cut").state, whole.state)
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")


def test_an_error_never_saves_a_loss_that_is_no_number(tiny_run, tiny_batches, tmp_path):
    def broken(start):
        for step, batch in enumerate(tiny_batches(start), start):
            if step == 8:
                raise UserError("image 'x.png' cannot be decoded")
            yield {**batch, "y": batch["y"] * np.float32(np.nan)} if step == 7 else batch

    with pytest.raises(UserError, match=r"step 8: loss=nan"):
        train(tiny_run(**SETTINGS), broken, tmp_path)
    assert load_meta(tmp_path)["step"] == 5


def test_starting_from_another_run(tiny_run, tiny_batches, tmp_path):
    run = tiny_run(**SETTINGS)
    first = train(run, tiny_batches, tmp_path / "first")
    second = tiny_run(**{**SETTINGS, "train__steps": 1, "optim__lr": 0.0, "init_from": str(tmp_path / "first")})
    outcome = train(second, tiny_batches, tmp_path / "second")
    assert_same(outcome.state.params, first.state.params)
    assert outcome.step == 1
    # With other answers the answer head is fresh, the rest is not.
    second.vocabulary = type(run.vocabulary)("{}", ("yes", "no"), ())
    outcome = train(second, tiny_batches, tmp_path / "third")
    assert_same(outcome.state.params["encoder"], first.state.params["encoder"])
    assert_same(outcome.state.params["head_vqa"], {"bias": np.zeros(4, np.float32)})


def test_a_vocabulary_that_is_not_the_checkpoints_is_refused(tiny_run, tiny_batches, tmp_path):
    run = tiny_run(**SETTINGS)
    train(run, tiny_batches, tmp_path)
    run.vocabulary = type(run.vocabulary)("{}", ("no", "maybe"), ())
    with pytest.raises(UserError, match="'yes' there and 'maybe' here"):
        train(run, tiny_batches, tmp_path)


def test_a_vocabulary_of_another_size_is_named_and_not_taken_for_damage(tiny_run, tiny_batches, tmp_path):
    train(tiny_run(**SETTINGS), tiny_batches, tmp_path)
    larger = tiny_run(**SETTINGS)
    larger.vocabulary = type(larger.vocabulary)("{}", ("no", "yes", "maybe"), ())
    larger.abstract_state = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((*leaf.shape, 2), leaf.dtype, sharding=leaf.sharding), larger.abstract_state
    )
    with pytest.raises(UserError, match="it has 2 answers, here are 3"):
        train(larger, tiny_batches, tmp_path)


def test_other_training_data_is_refused(tiny_run, tiny_batches, tmp_path):
    first = train(tiny_run(**SETTINGS), tiny_batches, tmp_path, source="0a")
    assert_same(train(tiny_run(**SETTINGS), tiny_batches, tmp_path, source="0a").state, first.state)
    with pytest.raises(UserError, match=r"training data has changed .*\(fingerprint 0a, now 0b\)"):
        train(tiny_run(**SETTINGS), tiny_batches, tmp_path, source="0b")

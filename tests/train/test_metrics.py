import json

import pytest
from tensorboardX.proto.event_pb2 import Event

from vlfusion_jax.train.metrics import EVENTS, FILE, MetricWriter, cut_after, duration, progress_line, read_metrics


def test_lines_hold_the_values_exactly(tmp_path):
    value = 0.1234567890123456
    with MetricWriter(tmp_path, 0) as writer:
        writer.write(1, {"loss": value, "time/clock": 1.0})
        writer.write(2, {"loss": float("nan"), "lr": float("inf")})
    assert read_metrics(tmp_path) == [
        {"step": 1, "loss": value, "time/clock": 1.0},
        {"step": 2, "loss": None, "lr": None},
    ]
    assert read_metrics(tmp_path / "nowhere") == []


def test_flushed_lines_are_on_disk(tmp_path):
    with MetricWriter(tmp_path, 0) as writer:
        writer.write(1, {"loss": 1.0})
        writer.flush()
        assert len((tmp_path / FILE).read_text().splitlines()) == 1


@pytest.mark.parametrize(("step", "left"), [(0, []), (2, [1, 2, 2]), (9, [1, 2, 2, 3])])
def test_cut_removes_later_lines_and_a_torn_one(tmp_path, step, left):
    path = tmp_path / FILE
    path.write_text("".join(json.dumps({"step": s}) + "\n" for s in (1, 2, 2, 3)) + '{"step": 1, "lo')
    cut_after(path, step)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == left
    assert [p.name for p in tmp_path.iterdir()] == [FILE]


def events(folder):
    """Scalars of TensorBoard record files: length (8 bytes), its checksum (4), an Event, its checksum (4)."""
    for file in sorted(folder.iterdir()):
        data, position = file.read_bytes(), 0
        while position < len(data):
            size = int.from_bytes(data[position : position + 8], "little")
            event = Event.FromString(data[position + 12 : position + 12 + size])
            yield from ((event.step, value.tag, value.simple_value) for value in event.summary.value)
            position += size + 16


def test_tensorboard_gets_the_finite_values(tmp_path):
    with MetricWriter(tmp_path, 0) as writer:
        writer.write(3, {"loss": 0.5, "eval/accuracy": 0.25, "bad": float("nan")})
    assert sorted(events(tmp_path / EVENTS)) == [(3, "eval/accuracy", 0.25), (3, "loss", 0.5)]


def test_progress_line():
    values = {
        "loss": 1.2341, "mlm_loss": 0.512, "vqa_loss": 0.4, "accuracy": 0.931, "lr": 1e-3,
        "time/images_per_second": 412.3, "time/data_share": 0.031, "time/mfu": 0.412,
    }  # fmt: skip
    assert progress_line(1200, 5000, values, 130.0) == (
        "step 1200/5000  loss 1.234 (mlm 0.512 vqa 0.4)  acc 0.93  412 images/s  data 3%  MFU 41%  eta 2m10s"
    )
    del values["time/mfu"], values["accuracy"]
    assert progress_line(1, 5000, values, None) == (
        "step 1/5000  loss 1.234 (mlm 0.512 vqa 0.4)  412 images/s  data 3%"
    )


@pytest.mark.parametrize(("seconds", "text"), [(4.6, "5s"), (59.7, "1m00s"), (130, "2m10s"), (11100, "3h05m")])
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_an_accuracy_of_nothing_is_not_shown():
    values = {"loss": 1.0, "time/images_per_second": 2.0, "time/data_share": 0.0}
    assert "acc 0.50" in progress_line(1, 2, values | {"accuracy": 0.5}, None)
    assert "acc" not in progress_line(1, 2, values | {"accuracy": float("nan")}, None)

"""Image-text contrast against NumPy in float64: duplicates, rows without a caption, a momentum encoder's vectors."""

import jax
import numpy as np
import pytest

from tests.tasks.albef import log_softmax, same_of, taught_loss
from vlfusion_jax.tasks import itc
from vlfusion_jax.tasks.itc import ImageTextContrast

N, QUEUE, WIDTH, TOKENS = 7, 5, 6, 4
SCALE = 1 / 0.13


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def batch():
    """Pairs 0 and 3 are of one record, 1 and 4 read the same, 6 has no caption."""
    rng = np.random.default_rng(0)
    text = rng.integers(3, 50, (N, TOKENS)).astype(np.int32)
    text[4] = text[1]
    weight = np.ones(N, np.float32)
    weight[6] = 0
    return {itc.TEXT: text, itc.WEIGHT: weight, itc.RECORD: np.array([4, 11, 2, 4, 8, 0, 4], np.int32)}


@pytest.fixture(scope="module")
def taught(batch):
    """The same with a teacher's vectors and a queue: a place of it is empty, another holds record 4 of the batch."""
    rng = np.random.default_rng(1)
    vectors = {
        name: unit(rng.normal(size=(count, WIDTH))).astype(np.float32)
        for name, count in (
            (itc.TEACHER_TEXT, N), (itc.TEACHER_IMAGE, N), (itc.QUEUE_TEXT, QUEUE), (itc.QUEUE_IMAGE, QUEUE),
        )
    }  # fmt: skip
    return batch | vectors | {itc.QUEUE_RECORD: np.array([30, -1, 4, 31, 32], np.int32), itc.SOFT_SHARE: 0.35}


@pytest.fixture(scope="module")
def found():
    """What a contrastive head gives."""
    rng = np.random.default_rng(2)
    text, image = (unit(rng.normal(size=(N, WIDTH))).astype(np.float32) for _ in range(2))
    return {"text": text, "image": image, "scale": np.float32(SCALE), "bias": np.float32(-0.4)}


def logits_of(found):
    """[texts, images] in float64."""
    return float(found["scale"]) * found["text"].astype(np.float64) @ found["image"].T + float(found["bias"])


def against_batch(logits, batch):
    """Mean of both ways, a sum over the six pairs: each over the six columns with a caption."""
    valid, same, total = batch[itc.WEIGHT] > 0, same_of(batch), 0.0
    for way in (logits, logits.T):
        for i in np.flatnonzero(valid):
            target = same[i][valid] / same[i].sum()
            total -= (target * log_softmax(way[i][valid])).sum() / 2
    return total


def test_softmax(batch, found, output_of):
    task, output = ImageTextContrast(), output_of(contrastive=found)
    assert float(task.weight(batch)) == 6
    np.testing.assert_allclose(task.loss(output, batch), against_batch(logits_of(found), batch), rtol=1e-6)


def test_sigmoid(batch, found, output_of):
    task, signs = ImageTextContrast("sigmoid"), np.where(same_of(batch), 1, -1)
    losses = np.log1p(np.exp(-signs * logits_of(found)))
    expected = losses[:6, :6].sum()
    np.testing.assert_allclose(task.loss(output_of(contrastive=found), batch), expected, rtol=1e-6)


def test_against_a_momentum_encoder(taught, found, output_of):
    task = ImageTextContrast()

    def loss(text, image):
        return task.loss(output_of(contrastive=found | {"text": text, "image": image}), taught)

    text, image = found["text"], found["image"]
    np.testing.assert_allclose(loss(text, image), taught_loss(text, image, taught, SCALE, SCALE), rtol=1e-6)
    grads = jax.grad(loss, (0, 1))(text, image)
    rng = np.random.default_rng(3)
    for which, gradient in enumerate(grads):
        assert not np.asarray(gradient)[6].any(), "a row without a caption"
        step = 1e-5 * rng.normal(size=(N, WIDTH))
        ends = []
        for sign in (1, -1):
            moved = [text.astype(np.float64), image.astype(np.float64)]
            moved[which] = moved[which] + sign * step
            ends.append(taught_loss(*moved, taught, SCALE, SCALE))
        np.testing.assert_allclose((gradient * step).sum(), (ends[0] - ends[1]) / 2, rtol=1e-4)


def test_the_teacher_gets_no_gradient_from_its_own_similarities(taught, found, output_of):
    """The scale is shared with the teacher's similarities: those are targets, not to be moved."""
    task, vectors = ImageTextContrast(), (found["text"], found["image"])
    gradient = jax.grad(lambda scale: task.loss(output_of(contrastive=found | {"scale": scale}), taught))(SCALE)
    ends = [taught_loss(*vectors, taught, SCALE + step, SCALE) for step in (1e-4, -1e-4)]
    np.testing.assert_allclose(gradient, (ends[0] - ends[1]) / 2e-4, rtol=1e-4)


def test_an_empty_queue_and_no_soft_share_compare_with_the_teacher_of_the_batch(taught, found, output_of):
    """Where the teacher is the model itself this is the contrast of the batch."""
    own = {itc.TEACHER_TEXT: found["text"], itc.TEACHER_IMAGE: found["image"], itc.SOFT_SHARE: 0.0}
    empty = taught | own | {itc.QUEUE_RECORD: np.full(QUEUE, -1, np.int32)}
    value = ImageTextContrast().loss(output_of(contrastive=found), empty)
    np.testing.assert_allclose(value, against_batch(logits_of(found), taught), rtol=1e-6)
    none = {name: taught[name][:0] for name in (itc.QUEUE_TEXT, itc.QUEUE_IMAGE, itc.QUEUE_RECORD)}
    np.testing.assert_allclose(ImageTextContrast().loss(output_of(contrastive=found), empty | none), value, rtol=1e-6)


def test_accuracy(batch, found, output_of):
    same, text = same_of(batch), found["text"].copy()
    text[2] = found["image"][2]
    text[0] = found["image"][3]  # another image of the same record
    text[4] = found["image"][6]  # an image without a caption
    changed, expected = found | {"text": text}, 0.0
    for way in (logits_of(changed), logits_of(changed).T):
        expected += sum(same[i, way[i, :6].argmax()] for i in range(6)) / 2
    total, weight = ImageTextContrast().metrics(output_of(contrastive=changed), batch)["itc_accuracy"]
    assert float(weight) == 6
    assert 1.5 <= float(total) == expected < 6


@pytest.mark.parametrize("criterion", ["softmax", "sigmoid", "taught"])
def test_nothing_to_compare(taught, batch, found, output_of, criterion):
    nothing = (taught if criterion == "taught" else batch) | {itc.WEIGHT: np.zeros(N, np.float32)}
    task = ImageTextContrast("softmax" if criterion == "taught" else criterion)
    value, grads = jax.value_and_grad(lambda x: task.loss(output_of(contrastive=x), nothing))(found)
    assert float(value) == float(task.weight(nothing)) == 0
    assert not any(np.asarray(grad).any() for grad in grads.values())
    total, weight = task.metrics(output_of(contrastive=found), nothing)["itc_accuracy"]
    assert float(total) == float(weight) == 0

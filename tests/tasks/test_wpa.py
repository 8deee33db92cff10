"""Word-patch alignment of a tiny model's tokens against IPOT in NumPy float64, and its gradient against PyTorch's."""

import jax
import numpy as np
import pytest
import torch

from vlfusion_jax.core import names
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.tasks import itm
from vlfusion_jax.tasks.wpa import WordPatchAlignment, word_mask

ROWS, TOKENS = 5, 8
LENGTHS = (8, 5, 3, 7, 2)  # with both ends: the last text has no word
LABEL, WEIGHT = np.array([1, 0, 1, 0, 1], np.int32), np.array([1, 1, 1, 0, 1], np.float32)


def run(family, cells):
    """Output of a tiny model on images of which some are padded, and on texts of `LENGTHS`."""
    rng = np.random.default_rng(0)
    patch = hyperparameters(family, "tiny").patch_size
    size = (cells[0] * patch, cells[1] * patch)
    spec = FAMILIES[family].spec(hyperparameters(family, "tiny"), Given(40, 3, TOKENS, size))
    pixels = np.ones((ROWS, *size), np.uint8)
    pixels[1, patch:] = pixels[2, :, patch:] = 0
    inputs = {
        names.TEXT: rng.integers(40, size=(ROWS, TOKENS)).astype(np.int32),
        names.TEXT_MASK: (np.arange(TOKENS) < np.array(LENGTHS)[:, None]).astype(np.int32),
        names.IMAGE: rng.integers(256, size=(ROWS, *size, 3)).astype(np.uint8),
        names.IMAGE_MASK: pixels,
    }
    model = FusionModel(spec)
    return jax.jit(lambda: model.init_with_output(jax.random.key(1), inputs)[0])()


@pytest.fixture(scope="module", params=[("albef", (3, 2), True), ("single_stream", (2, 3), False)])
def case(request):
    """(output, whether the first image token is no patch)."""
    family, cells, has_class_token = request.param
    output = run(family, cells)
    assert output.image.shape[1] == cells[0] * cells[1] + has_class_token
    return output, has_class_token


def distance(text, image):
    """Cost of IPOT's plan between all rows of two matrices, as the paper writes it; torch float64, plan fixed."""
    x, y = (each / each.norm(dim=1, keepdim=True).clamp(min=1e-5) for each in (text, image))
    cost = 1 - x @ y.T
    plan = ipot(cost.detach().numpy())
    return (cost * torch.tensor(plan)).sum()


def ipot(cost):
    n, m = cost.shape
    x_scale, plan, kernel = np.ones(n) / n, np.ones((n, m)), np.exp(-cost / 0.5)
    for _ in range(50):
        q = kernel * plan
        y_scale = 1 / (m * (q.T @ x_scale))
        x_scale = 1 / (n * (q @ y_scale))
        plan = x_scale[:, None] * q * y_scale
    return plan


def distances(text, image, output, has_class_token):
    """One for each row: its words without the token at either end, its valid patches without the class token."""
    found = []
    for row, length in enumerate(LENGTHS):
        patches = np.flatnonzero(np.asarray(output.image_mask[row]))
        patches = patches[has_class_token:]
        words = text[row, 1 : length - 1]
        found.append(distance(words, image[row, patches]) if len(words) else torch.tensor(0.0))
    return torch.stack(found)


def test_loss_and_gradient(case):
    output, has_class_token = case
    task, batch = WordPatchAlignment(names.MATCH, has_class_token), {itm.LABEL: LABEL, itm.WEIGHT: WEIGHT}
    tokens = [torch.tensor(np.asarray(x, np.float64), requires_grad=True) for x in (output.text, output.image)]
    costs = distances(*tokens, output, has_class_token)
    expected = costs[0] - costs[1] + costs[2] + costs[4]
    expected.backward()
    assert float(task.weight(batch)) == 4
    np.testing.assert_allclose(task.loss(output, batch), expected.item(), rtol=2e-5)

    def loss(text, image):
        return task.loss(output.replace(text=text, image=image), batch)

    for ours, theirs in zip(jax.grad(loss, (0, 1))(output.text, output.image), tokens, strict=True):
        np.testing.assert_allclose(ours, theirs.grad, atol=2e-5 * theirs.grad.abs().max().item())
    metrics = task.metrics(output, batch)
    np.testing.assert_allclose(metrics["wpa_matching"][0], (costs[0] + costs[2] + costs[4]).item(), rtol=1e-5)
    np.testing.assert_allclose(metrics["wpa_other"][0], costs[1].item(), rtol=1e-5)
    assert [float(weight) for _, weight in (metrics["wpa_matching"], metrics["wpa_other"])] == [3, 1]


def test_words_are_what_is_between_the_ends():
    mask = (np.arange(TOKENS) < np.array(LENGTHS)[:, None]).astype(np.int32)
    expected = [[0 < place < length - 1 for place in range(TOKENS)] for length in LENGTHS]
    np.testing.assert_array_equal(word_mask(mask), expected)


def test_ends_and_padding_are_not_read(case):
    output, has_class_token = case
    task, batch = WordPatchAlignment(names.MATCH, has_class_token), {itm.LABEL: LABEL, itm.WEIGHT: WEIGHT}
    text, image = np.array(output.text), np.array(output.image)
    text[~np.asarray(word_mask(output.text_mask), bool)] = 9.0
    image[np.asarray(output.image_mask) == 0] = -3.0
    if has_class_token:
        image[:, 0] = 5.0
    other = task.loss(output.replace(text=text, image=image), batch)
    np.testing.assert_allclose(other, task.loss(output, batch), rtol=1e-6)


def test_one_image_of_several_texts(case):
    """Image i once for texts 2 i and 2 i + 1 is as the image twice."""
    output, has_class_token = case
    task = WordPatchAlignment(names.MATCH, has_class_token)
    shared = output.replace(text=output.text[:4], text_mask=output.text_mask[:4], image=output.image[:2],
                            image_mask=output.image_mask[:2])  # fmt: skip
    twice = shared.replace(image=output.image[:2].repeat(2, 0), image_mask=output.image_mask[:2].repeat(2, 0))
    batch = {itm.LABEL: LABEL[:4], itm.WEIGHT: WEIGHT[:4]}
    np.testing.assert_allclose(task.loss(shared, batch), task.loss(twice, batch), rtol=1e-6)


def test_nothing_to_align(case):
    output, has_class_token = case
    task, batch = WordPatchAlignment(names.MATCH, has_class_token), {itm.LABEL: LABEL, itm.WEIGHT: 0 * WEIGHT}
    value, grad = jax.value_and_grad(lambda x: task.loss(output.replace(text=x), batch))(output.text)
    assert float(value) == float(task.weight(batch)) == 0
    assert not np.asarray(grad).any()
    assert [float(x) for pair in task.metrics(output, batch).values() for x in pair] == [0] * 4

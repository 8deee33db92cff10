"""Regions of a detector: batches hold what the files do, hide no padding, and a message names what is wrong."""

import io
import itertools
import shutil
import tarfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.jsonl import open_jsonl
from vlfusion_jax.data.pipeline import batch_shapes, check_data, check_eval_data, eval_batches, train_batches
from vlfusion_jax.data.regions import region_file
from vlfusion_jax.data.source import open_source
from vlfusion_jax.data.vocabulary import build_vocabulary
from vlfusion_jax.models.families.table import hyperparameters

COUNTS, ROOM, FEATURES, CLASSES = (2, 7, 4, 1, 5, 6), 4, 3, 5
HEIGHT, WIDTH = 30, 50


def arrays_of(number: int) -> dict[str, np.ndarray]:
    """What a detector found in image `number`: boxes of even ones in pixels, of odd ones in [0, 1]."""
    rng, count = np.random.default_rng(number), COUNTS[number % len(COUNTS)]
    corners = np.sort(rng.random((count, 2, 2)), axis=1).reshape(count, 4)
    shares = rng.random((count, CLASSES))
    arrays = {
        "features": rng.normal(size=(count, FEATURES)).astype(np.float16 if number == 2 else np.float32),
        "boxes": corners.astype(np.float32),
        "labels": rng.integers(-1, CLASSES, count),
        "classes": (shares / shares.sum(1, keepdims=True)).astype(np.float32),
    }
    if number % 2 == 0:
        arrays["boxes"] *= np.array([WIDTH, HEIGHT, WIDTH, HEIGHT], np.float32)
        arrays["size"] = np.array([HEIGHT, WIDTH])
    return arrays


def stored(arrays: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def write(folder, files):
    (folder / "regions").mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / "regions" / name).write_bytes(data)
    return folder


@pytest.fixture
def region_config(tmp_path, write_jsonl, jsonl_config):
    """A run on six images of which there are no pixels, three of them captioned, hiding a third of the regions."""
    rows = [{"image": f"{n}.jpg", "caption": f"a thing number {n}"} for n in (0, 1, 4)]
    rows += [{"image": f"{n}.jpg", "question": f"what is {n}", "answer": str(n)} for n in range(len(COUNTS))]
    folder = write_jsonl(tmp_path / "toy", rows, {})
    config = jsonl_config(write(folder, {f"{n}.npz": stored(arrays_of(n)) for n in range(len(COUNTS))}))
    config.model = hyperparameters("uniter", "tiny", region_patch=0, region_features=FEATURES)
    config.data.regions = ROOM
    config.tasks.mrm.weight, config.tasks.mrm.rate, config.tasks.mrm.classes = 1.0, 0.4, CLASSES
    return config


def opened(config):
    source = open_source(config.data, "train")
    return config, source, build_vocabulary([source], config.data)


def take(count, *run, **keywords):
    with closing(train_batches(*run, **keywords)) as batches:
        return list(itertools.islice(batches, count))


def evaluation(*run, **keywords):
    with closing(eval_batches(*run, **keywords)) as batches:
        return list(batches)


def expected_rows(number):
    """Of image `number` the arrays of a batch, one region after the other."""
    arrays = arrays_of(number)
    rows = {
        "regions": np.zeros((ROOM, FEATURES), np.float32),
        "boxes": np.zeros((ROOM, 4), np.float32),
        "region_mask": np.zeros(ROOM, np.int32),
        "region_labels": np.full(ROOM, -1, np.int32),
        "region_classes": np.zeros((ROOM, CLASSES), np.float32),
    }
    for region in range(min(ROOM, len(arrays["features"]))):
        rows["regions"][region] = arrays["features"][region]
        left, top, right, bottom = arrays["boxes"][region].astype(np.float64)
        if "size" in arrays:
            left, top, right, bottom = left / WIDTH, top / HEIGHT, right / WIDTH, bottom / HEIGHT
        rows["boxes"][region] = left, top, right, bottom
        rows["region_mask"][region] = 1
        rows["region_labels"][region] = arrays["labels"][region]
        rows["region_classes"][region] = arrays["classes"][region]
    return rows


@pytest.mark.parametrize(("target", "more"), [("feature", ()), ("class", ("labels",)), ("kl", ("classes",))])
def test_batches_hold_the_files(region_config, target, more):
    region_config.tasks.mrm.target = target
    run = opened(region_config)
    announced = {key: (x.shape, x.dtype) for key, x in batch_shapes(run[0], run[2]).items()}
    keys = ("regions", "boxes", "region_mask", *(f"region_{key}" for key in more))
    expected, seen = [expected_rows(n) for n in range(len(COUNTS))], []
    for batch in take(6, *run) + evaluation(*run):
        assert {key: (x.shape, x.dtype) for key, x in batch.items()} == announced
        assert {key for key in batch if "/" not in key} == set(keys)  # and no pixels
        for row, vectors in enumerate(batch["regions"]):
            [number] = [n for n, each in enumerate(expected) if np.array_equal(each["regions"], vectors)]
            for key in keys:
                np.testing.assert_array_equal(batch[key][row], expected[number][key], err_msg=key, strict=True)
            if batch["match/weight"][row] and batch["match/label"][row]:
                text = "".join(run[2].tokenizer.id_to_token(i) for i in batch["match/text"][row])
                assert str(number) in text, "text and regions are of one image"
            seen.append(number)
    assert set(seen) == set(range(len(COUNTS)))


def test_a_tar_file_gives_the_same(region_config, tmp_path):
    before = take(2, *opened(region_config))
    folder = tmp_path / "toy" / "regions"
    with tarfile.open(tmp_path / "toy" / "regions_all.tar", "w") as tar:
        tar.add(folder, "regions")
    shutil.rmtree(folder)
    for one, other in zip(before, take(2, *opened(region_config)), strict=True):
        assert all(np.array_equal(one[key], other[key]) for key in one)


def test_regions_are_hidden_and_never_padding(region_config):
    counts = set()
    run = opened(region_config)
    for batch in take(8, *run) + evaluation(*run):
        for row, hidden in enumerate(batch["masked_image/hidden"]):
            shown, numbers = batch["region_mask"][row], hidden[hidden >= 0]
            assert shown[numbers].all()
            assert (np.diff(numbers) > 0).all()
            captioned = batch["match/weight"][row] > 0
            assert len(numbers) == (max(1, round(0.4 * shown.sum())) if captioned else 0)
            counts.add(len(numbers))
    assert counts == {0, 1, 2}


@pytest.mark.parametrize("target", ["feature", "kl"])
def test_the_same_for_any_hosts_and_start(region_config, target):
    region_config.tasks.mrm.target = target
    run = opened(region_config)
    whole = take(6, *run)
    parts = [take(6, *run, rows=rows) for rows in ((0, 1), (2, 3))]
    resumed = take(2, *run, start_step=4)
    for step, batch in enumerate(whole):
        for key, array in batch.items():
            joined = np.concatenate([part[step][key] for part in parts])
            np.testing.assert_array_equal(array, joined, err_msg=key, strict=True)
            if step >= 4:
                np.testing.assert_array_equal(array, resumed[step - 4][key], err_msg=key)
    parts = [evaluation(*run, rows=rows) for rows in ((0, 1), (2, 3))]
    for step, batch in enumerate(evaluation(*run)):
        for key, array in batch.items():
            np.testing.assert_array_equal(array, np.concatenate([part[step][key] for part in parts]), err_msg=key)


def test_pairs_show_the_regions_of_both(tmp_path, write_jsonl, jsonl_config):
    rows = [{"image": [f"{n}.png", f"{n + 1}.png"], "statement": f"number {n}", "label": n % 2 == 0} for n in range(4)]
    folder = write(write_jsonl(tmp_path, rows, {}), {f"{n}.npz": stored(arrays_of(n)) for n in range(5)})
    config = jsonl_config(folder)
    config.model = hyperparameters("lxmert", "tiny", region_patch=0, region_features=FEATURES)
    for task in names.TASKS:
        config.tasks[task].weight = float(task == names.NLVR)
    config.data.regions, config.data.questions_per_image = ROOM, 1
    run = opened(config)
    [batch] = evaluation(*run)
    assert batch["regions"].shape == (8, ROOM, FEATURES)
    for row, number in enumerate((0, 1, 1, 2, 2, 3, 3, 4)):
        for key in ("regions", "boxes", "region_mask"):
            np.testing.assert_array_equal(batch[key][row], expected_rows(number)[key], err_msg=key)
    assert {key: x.shape for key, x in batch.items()} == {k: x.shape for k, x in batch_shapes(config, run[2]).items()}


def changed(**arrays):
    """The file of image 0, which has two regions, with other arrays; None leaves one out."""
    return stored({key: x for key, x in (arrays_of(0) | arrays).items() if x is not None})


BOXES = arrays_of(0)["boxes"]
WRONG_FILES = {
    "no features": (changed(features=None), "array 'features' is missing, there is boxes, labels, classes, size"),
    "no boxes": (changed(boxes=None), "array 'boxes' is missing"),
    "no labels": (changed(labels=None), "array 'labels' is missing, .* or set tasks.mrm.target, which is 'class'"),
    "rank": (changed(features=np.ones(3, np.float32)), r"'features' is \[3\], expected \[regions, 3\]"),
    "width": (changed(features=np.ones((2, 4))), r"'features' is \[2, 4\], expected .*model.region_features"),
    "whole numbers": (changed(features=np.ones((2, 3), int)), "'features' is of int64, expected floats"),
    "none": (changed(features=np.ones((0, 3), np.float32)), "'features' is empty"),
    "not a number": (changed(features=np.full((2, 3), np.nan)), "'features' has a NaN"),
    "too large": (changed(features=np.full((2, 3), 1e300)), "'features' has a NaN or an infinite number"),
    "boxes of others": (changed(boxes=BOXES[:1]), r"'boxes' is \[1, 4\], expected \[2, 4\]"),
    "no box": (changed(boxes=np.full((2, 4), np.inf)), "'boxes' has a NaN or an infinite number"),
    "texts": (changed(boxes=np.full((2, 4), "1")), "'boxes' is of <U1, expected numbers"),
    "order": (changed(boxes=BOXES[:, [2, 1, 0, 3]]), "'boxes' has box 0, .* is not left, top, right, bottom"),
    "outside": (changed(boxes=np.array([[0, 0, 9, 9], [9, 9, 51, 9]])), r"box 1, \[9, 9, 51, 9\], which is out of the"),
    "before": (changed(boxes=np.array([[-1, 0, 9, 9], [9, 9, 9, 9]])), r"box 0, \[-1, 0, 9, 9\], which is out of the"),
    "pixels": (changed(size=None), r"'boxes' reach [\d.]+ without 'size': store the image's \(height, width\)"),
    "size": (changed(size=np.array([30, 50, 3])), r"'size' is \[30, 50, 3\], expected height and width"),
    "no size": (changed(size=np.array([0, 50])), r"'size' is \[0, 50\], expected height and width"),
    "label": (changed(labels=np.array([0, 5])), r"'labels' has 0 to 5, expected -1 .* to 4: tasks.mrm.classes"),
    "below": (changed(labels=np.array([0, -2])), "'labels' has -2 to 0"),
    "labels of others": (changed(labels=np.array([0])), r"'labels' is \[1\] int64, expected \[2\]"),
    "broken labels": (changed(labels=np.array([0.5, 1])), r"'labels' is \[2\] float64, expected"),
    "damaged": (changed()[:200], "cannot be read, they are damaged or no .npz file"),
    "no file": (b"none", "cannot be read, they are damaged or no .npz file"),
    "empty": (b"", "cannot be read, they are damaged or no .npz file"),
    "objects": (changed(features=np.array([[None] * 3] * 2)), "cannot be read, .*allow_pickle"),
}  # fmt: skip


def refused(config, data, message):
    """As the first image of the data before the start, as another while reading."""
    folder = write(Path(config.data.path), {"0.npz": data})
    run = opened(config)
    with pytest.raises(UserError, match=rf"regions '{folder}/regions/0\.npz'.*{message}"):
        check_data(*run)
    with pytest.raises(UserError, match=rf"regions '{folder}/regions/0\.npz'.*{message}"):
        evaluation(*run)
    write(folder, {"0.npz": stored(arrays_of(0)), "5.npz": data})
    check_data(*run)
    with pytest.raises(UserError, match=rf"regions '{folder}/regions/5\.npz'.*{message}"):
        take(6, *run)


@pytest.mark.parametrize("what", WRONG_FILES)
def test_wrong_files_are_named(region_config, what):
    region_config.tasks.mrm.target = "class"
    refused(region_config, *WRONG_FILES[what])


WRONG_CLASSES = {
    "missing": (None, "array 'classes' is missing, .* or set tasks.mrm.target, which is 'kl'"),
    "width": (np.full((2, 4), 0.25), r"'classes' is \[2, 4\], expected \[2, 5\], by tasks.mrm.classes"),
    "no shares": (np.full((2, 5), 0.3), "'classes' has a row that is no distribution"),
    "negative": (np.array([[0.2] * 5, [-0.5, 0.5, 0.5, 0.5, 0]]), "'classes' has a row that is no distribution"),
}


@pytest.mark.parametrize("what", WRONG_CLASSES)
def test_wrong_distributions_are_named(region_config, what):
    classes, message = WRONG_CLASSES[what]
    region_config.tasks.mrm.target = "kl"
    refused(region_config, changed(classes=classes), message)


def test_a_single_array_is_no_file_of_regions(region_config):
    file = io.BytesIO()
    np.save(file, np.ones(3))
    refused(region_config, file.getvalue(), "are a single array: store several by name, with numpy.savez")


def test_every_file_is_looked_for_at_opening(region_config, tmp_path):
    (tmp_path / "toy" / "regions" / "3.npz").unlink()
    with pytest.raises(UserError, match=r"jsonl.*line 7.*file of regions '3\.npz' is in no regions\*\.tar of .*toy'"):
        open_source(region_config.data, "train")


@pytest.mark.parametrize(
    ("image", "file"),
    [
        ("a/1.jpg", "a/1.npz"),
        ("1.PNG", "1.npz"),
        ("1.npz", "1.npz"),
        ("1", "1.npz"),
        ("COCO.val.12", "COCO.val.12.npz"),
    ],
)
def test_names_of_files(image, file):
    assert region_file(image) == file


def test_two_images_have_no_regions_in_common(region_config, tmp_path):
    with (tmp_path / "toy" / "train.jsonl").open("a") as lines:
        lines.write('{"image": "4.png", "caption": "another"}\n')
    with pytest.raises(UserError, match=r"the regions of images '4\.png' and '4\.jpg' would both be '4\.npz'"):
        open_source(region_config.data, "train")


def test_no_image_is_said_as_ever(region_config, tmp_path):
    (tmp_path / "toy" / "train.jsonl").write_text('{"image": "0.jpg", "caption": "a thing"}\n')
    run = opened(region_config)
    (tmp_path / "toy" / "empty.jsonl").write_text("")
    source = open_jsonl(str(tmp_path / "toy"), "empty", region_config.data.fields, of_regions=True)
    with pytest.raises(UserError, match="has no text to evaluate"):
        check_eval_data(region_config, source, run[2])


def test_boxes_in_16_bits_may_end_beyond_the_image(region_config):
    """Which rounding does: 1333.4 pixels are 1333 in 16 bits, and 1333.6 are 1334."""
    arrays = arrays_of(0) | {"boxes": np.array([[0, 0, 1333.6, 9]] * 2, np.float16), "size": np.array([900, 1333.4])}
    write(Path(region_config.data.path), {"0.npz": stored(arrays)})
    run = opened(region_config)
    boxes = np.concatenate([batch["boxes"] for batch in evaluation(*run)])
    assert boxes.max() == 1

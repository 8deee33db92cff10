"""Batches: the same for any number of hosts and any starting step, every record once an epoch, every question once."""

import io
import itertools
from collections import Counter
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.images import Canvas, decode_image, scale
from vlfusion_jax.data.pipeline import batch_shapes, eval_batches, train_batches
from vlfusion_jax.data.source import open_source
from vlfusion_jax.data.vocabulary import build_vocabulary
from vlfusion_jax.models.families.table import hyperparameters


def take(count, config, source, vocabulary, **keywords):
    with closing(train_batches(config, source, vocabulary, **keywords)) as batches:
        return list(itertools.islice(batches, count))


def assert_same(first, second):
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key], err_msg=key, strict=True)


def joined(blocks):
    return {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]}


@pytest.fixture
def vocabulary(clevr_config, clevr_train):
    return build_vocabulary([clevr_train], clevr_config.data)


@pytest.fixture
def toy(toy_folder, jsonl_config):
    config = jsonl_config(toy_folder)
    source = open_source(config.data, "train")
    return config, source, build_vocabulary([source], config.data)


def words(vocabulary, ids) -> str:
    return " ".join(vocabulary.tokenizer.id_to_token(i) for i in ids if i not in (0, 2, 3))


def plain(vocabulary, text: str) -> str:
    return " ".join(vocabulary.tokenizer.encode(text, add_special_tokens=False).tokens)


def test_shapes_are_as_announced(clevr_config, clevr_train, clevr_test, vocabulary):
    shapes = batch_shapes(clevr_config, vocabulary)
    expected = {key: (value.shape, value.dtype) for key, value in shapes.items()}
    batch = take(1, clevr_config, clevr_train, vocabulary)[0]
    assert {key: (value.shape, value.dtype) for key, value in batch.items()} == expected
    with closing(eval_batches(clevr_config, clevr_test, vocabulary)) as batches:
        for batch in batches:
            assert {key: (value.shape, value.dtype) for key, value in batch.items()} == expected
    assert expected["image"] == ((8, 75, 75, 3), np.uint8)
    assert expected["question/text"] == ((40, 16), np.int32)
    assert expected["masked/positions"] == ((8, 7), np.int32)


def test_only_the_views_of_active_tasks(clevr_config, clevr_train, vocabulary):
    clevr_config.tasks.itm.weight = clevr_config.tasks.mlm.weight = 0.0
    (batch,) = take(1, clevr_config, clevr_train, vocabulary)
    assert {key.split("/")[0] for key in batch} == {"image", "image_mask", "question"}
    clevr_config.tasks.vqa.weight, clevr_config.tasks.itm.weight = 0.0, 0.5
    (batch,) = take(1, clevr_config, clevr_train, vocabulary)
    assert {key.split("/")[0] for key in batch} == {"image", "image_mask", "match"}
    assert batch.keys() == batch_shapes(clevr_config, vocabulary).keys()


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_see_blocks_of_the_same_batches(clevr_config, clevr_train, clevr_test, vocabulary, hosts):
    clevr_config.data.flip, clevr_config.data.shift = True, 3
    whole = take(7, clevr_config, clevr_train, vocabulary)
    blocks = np.arange(8).reshape(hosts, -1)
    parts = [take(7, clevr_config, clevr_train, vocabulary, rows=block) for block in blocks]
    for step in range(7):
        assert_same(whole[step], joined([part[step] for part in parts]))

    def evaluation(**keywords):
        with closing(eval_batches(clevr_config, clevr_test, vocabulary, **keywords)) as batches:
            return list(batches)

    whole = evaluation()
    parts = [evaluation(rows=block) for block in blocks]
    assert {len(part) for part in parts} == {len(whole)}
    for step in range(len(whole)):
        assert_same(whole[step], joined([part[step] for part in parts]))


def test_resuming_and_threads_change_nothing(clevr_config, clevr_train, vocabulary):
    clevr_config.data.flip, clevr_config.data.shift = True, 3
    whole = take(12, clevr_config, clevr_train, vocabulary)
    clevr_config.data.threads, clevr_config.data.prefetch = 5, 3
    for start in (0, 1, 4, 11):
        resumed = take(12 - start, clevr_config, clevr_train, vocabulary, start_step=start)
        for step in range(start, 12):
            assert_same(whole[step], resumed[step - start])


def test_seed_and_step_change_everything_random(clevr_config, clevr_train, vocabulary):
    first, second = take(2, clevr_config, clevr_train, vocabulary)
    clevr_config.seed = 1
    (other,) = take(1, clevr_config, clevr_train, vocabulary)
    for different in (second, other):
        for key in ("image", "question/text", "masked/positions", "match/label"):
            assert not np.array_equal(first[key], different[key]), key


def test_every_record_once_an_epoch_in_a_new_order(clevr_config, clevr_train, vocabulary):
    number = {decode_image(clevr_train[i].image, "").tobytes(): i for i in range(40)}
    assert len(number) == 40
    batches = take(15, clevr_config, clevr_train, vocabulary)
    seen = [number[image.tobytes()] for batch in batches for image in batch["image"]]
    epochs = [seen[i : i + 40] for i in (0, 40, 80)]
    assert all(sorted(epoch) == list(range(40)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in [*epochs, range(40)]}) == 4


def test_rows_belong_together(clevr_config, clevr_train, vocabulary):
    """Every text of a batch, read back from its ids, is one of the image it stands for."""
    record_of = {decode_image(clevr_train[i].image, "").tobytes(): clevr_train[i] for i in range(40)}
    captions = {plain(vocabulary, clevr_train[i].captions[0]) for i in range(40)}
    drawn = 0
    hidden = []
    for batch in take(10, clevr_config, clevr_train, vocabulary):
        for n in range(8):
            record = record_of[batch["image"][n].tobytes()]
            own = plain(vocabulary, record.captions[0])
            asked = Counter()
            for r in range(5 * n, 5 * n + 5):
                assert batch["question/weight"][r] == 1
                answer = vocabulary.answers[batch["question/answer_ids"][r, 0]]
                assert batch["question/answer_scores"][r].tolist() == [1.0]
                kind = vocabulary.kinds[batch["question/kind"][r]]
                asked[words(vocabulary, batch["question/text"][r]), answer, kind] += 1
            there = Counter((plain(vocabulary, q.text), q.answers[0][0], q.kind) for q in record.questions)
            assert not asked - there, "without replacement"
            drawn += len(asked)
            restored = batch["masked/text"][n].copy()
            real = batch["masked/weights"][n] == 1
            positions = batch["masked/positions"][n][real]
            hidden += list(restored[positions] == vocabulary.mask_id)
            restored[positions] = batch["masked/labels"][n][real]
            assert words(vocabulary, restored) == own
            shown = words(vocabulary, batch["match/text"][n])
            assert (shown == own) == (batch["match/label"][n] == 1)
            assert shown in captions
        assert batch["match/label"].sum() == 4, "exactly half"
        assert (batch["match/weight"] == 1).all()
    assert drawn > 300
    assert len(hidden) > 300
    assert 0.72 < np.mean(hidden) < 0.88, "80 % show [MASK], within 3.5 standard deviations"


def test_odd_batches_round_negatives_down(clevr_config, clevr_train, vocabulary):
    clevr_config.train.batch_size = 7
    assert all(b["match/label"].sum() == 4 for b in take(5, clevr_config, clevr_train, vocabulary))


def test_half_of_the_captioned_rows_of_a_batch_are_negatives(toy):
    config, source, vocabulary = toy
    config.train.batch_size = 8
    whole = take(12, config, source, vocabulary)
    captioned = [int(batch["match/weight"].sum()) for batch in whole]
    matching = [int((batch["match/weight"] * batch["match/label"]).sum()) for batch in whole]
    assert matching == [count - count // 2 for count in captioned]
    assert len(set(captioned)) > 1, "the 3 captions of 5 images fall unevenly"
    parts = [take(12, config, source, vocabulary, rows=rows) for rows in ([0, 1, 2], [3, 4, 5, 6, 7])]
    for step in range(12):
        assert_same(whole[step], joined([part[step] for part in parts]))


def test_negatives_never_read_like_a_caption_of_the_image(tmp_path, write_jsonl, jsonl_config, png):
    captions = ["a dog runs", "A DOG  sleeps", "a cat sits"]  # the first two are one for four tokens
    rows = [{"image": f"{n}.png", "caption": caption} for n, caption in enumerate(captions)]
    config = jsonl_config(write_jsonl(tmp_path, rows, {f"{n}.png": png(8, 8, n) for n in range(3)}))
    config.tasks.vqa.weight = config.tasks.mlm.weight = 0.0
    config.data.caption_length = 4
    source = open_source(config.data, "train")
    vocabulary = build_vocabulary([source], config.data)
    own = {decode_image(source[n].image, "").tobytes(): vocabulary.encode(captions[n], 4)[0] for n in range(3)}

    def check(batch):
        for image, text, label in zip(batch["image"], batch["match/text"], batch["match/label"], strict=True):
            assert np.array_equal(text, own[image.tobytes()]) == label

    for batch in take(20, config, source, vocabulary):
        check(batch)
    with closing(eval_batches(config, source, vocabulary)) as batches:
        check({key: array[:3] for key, array in next(batches).items()})


def test_few_questions_come_round_with_weight_once(toy):
    config, source, vocabulary = toy
    config.data.questions_per_image = 3
    questions_of = {decode_image(source[i].image, "").tobytes(): source[i].questions for i in range(5)}
    captioned = {decode_image(source[i].image, "").tobytes() for i in range(3)}
    for batch in take(10, config, source, vocabulary):
        for n in range(4):
            image = batch["image"][n].tobytes()
            known = {plain(vocabulary, question.text) for question in questions_of[image]}
            rows = [words(vocabulary, ids) for ids in batch["question/text"][3 * n : 3 * n + 3]]
            weights = batch["question/weight"][3 * n : 3 * n + 3]
            counted = [row for row, weight in zip(rows, weights, strict=True) if weight]
            assert len(counted) == len(set(counted)) == min(3, len(known))
            assert set(rows) <= (known or {""})
            assert batch["match/weight"][n] == (image in captioned)
            assert batch["masked/weights"][n].any() == (image in captioned)
            assert (batch["question/text"][3 * n : 3 * n + 3, 0] == vocabulary.tokenizer.token_to_id("[CLS]")).all()


def test_questions_without_a_known_answer_are_not_trained_on_but_count_in_evaluation(toy):
    config, source, vocabulary = toy
    vocabulary = type(vocabulary).from_dict(vocabulary.to_dict() | {"answers": ["yes"]})
    for batch in take(6, config, source, vocabulary):
        counted = batch["question/weight"] == 1
        assert (batch["question/answer_scores"][counted] == 1).all()
    with closing(eval_batches(config, source, vocabulary)) as batches:
        both = joined(list(batches))
    counted = both["question/weight"] == 1
    assert counted.sum() == 10
    assert both["question/answer_scores"][counted].sum() == 6, "4 + 2 ask for yes, the others are wrong for sure"


def test_evaluation_has_room_for_more_answers_than_training(tmp_path, write_jsonl, jsonl_config, png):
    images = {"0.png": png(8, 8)}
    training = [{"image": "0.png", "question": "q", "answer": answer} for answer in "abc"]
    folder = write_jsonl(tmp_path, training, images)
    write_jsonl(folder, [{"image": "0.png", "question": "q", "answer": list("bbbbbaaacc")}], images, split="test")
    config = jsonl_config(folder)
    config.tasks.mlm.weight = config.tasks.itm.weight = 0.0
    vocabulary = build_vocabulary([open_source(config.data, "train")], config.data)
    assert vocabulary.answers_per_question == 1
    with closing(eval_batches(config, open_source(config.data, "test"), vocabulary)) as batches:
        (batch,) = batches
    answers = [vocabulary.answers[i] for i in batch["question/answer_ids"][0]]
    assert dict(zip(answers, batch["question/answer_scores"][0], strict=True)) == pytest.approx(
        {"b": 1.0, "a": 0.9, "c": 0.6}
    )


def test_evaluation_covers_every_question_and_caption_once(toy):
    config, source, vocabulary = toy
    with closing(eval_batches(config, source, vocabulary)) as batches:
        batches = list(batches)
    assert [len(batch["image"]) for batch in batches] == [4, 4], "1 + 1 + 2 + 1 + 2 rows, and one to fill up"
    asked = Counter()
    captions = Counter()
    pixels = {decode_image(source[i].image, "").tobytes(): i for i in range(5)}
    for batch in batches:
        for n in range(4):
            record = pixels[batch["image"][n].tobytes()]
            for r in (2 * n, 2 * n + 1):
                asked[record, words(vocabulary, batch["question/text"][r])] += int(batch["question/weight"][r])
            captions[record] += int(batch["match/weight"][n])
            assert batch["match/weight"][n] == batch["masked/weights"][n].max()
    expected = Counter((i, plain(vocabulary, question.text)) for i in range(5) for question in source[i].questions)
    assert +asked == expected
    assert +captions == Counter({0: 1, 1: 1, 2: 1})
    labels = joined(batches)
    assert labels["match/label"][labels["match/weight"] == 1].sum() == 2, "one of three is foreign"


def test_evaluation_limit_and_repeatability(clevr_config, clevr_test, vocabulary):
    clevr_config.data.eval_limit = 10
    both = []
    for seed in (0, 5):
        clevr_config.seed = seed
        with closing(eval_batches(clevr_config, clevr_test, vocabulary)) as batches:
            both.append(joined(list(batches)))
    assert_same(*both)
    assert both[0]["question/weight"].sum() == 200
    assert both[0]["match/weight"].sum() == 10
    assert both[0]["match/label"][both[0]["match/weight"] == 1].sum() == 5
    assert len(both[0]["image"]) == 40, "four rows of five questions an image"


def test_padded_images(tmp_path, write_jsonl, jsonl_config, png):
    rows = [{"image": f"{n}.png", "caption": f"picture {n}"} for n in range(2)]
    config = jsonl_config(write_jsonl(tmp_path, rows, {"0.png": png(8, 4), "1.png": png(4, 8)}))
    config.tasks.vqa.weight = 0.0
    source = open_source(config.data, "train")
    (batch,) = take(1, config, source, build_vocabulary([source], config.data))
    for image, mask in zip(batch["image"], batch["image_mask"], strict=True):
        tall, wide = mask[:, :4].all(), mask[:4].all()
        assert tall != wide
        assert mask.sum() == 32
        assert (image[mask == 0] == 0).all()
        real = image[:, :4] if tall else image[:4]
        np.testing.assert_array_equal(real, decode_image(png(8, 4) if tall else png(4, 8), ""))


def test_shift_is_in_pixels_of_the_canvas(tmp_path, write_jsonl, jsonl_config):
    """A picture ten times as high as the canvas, half as wide as high: it moves by up to 2 of 8 pixels."""
    squares = np.random.default_rng(0).integers(256, size=(4, 2, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(squares.repeat(20, axis=0).repeat(20, axis=1)).save(buffer, format="PNG")
    config = jsonl_config(write_jsonl(tmp_path, [{"image": "0.png", "caption": "c"}], {"0.png": buffer.getvalue()}))
    config.tasks.vqa.weight = config.tasks.itm.weight = 0.0
    config.data.shift = 2
    source = open_source(config.data, "train")
    small = scale(decode_image(source[0].image, ""), Canvas((8, 8)))
    assert small.shape == (8, 4, 3)
    rows, columns = np.arange(8), np.arange(4)
    expected = {
        (dy, dx): small[np.clip(rows + dy, 0, 7)][:, np.clip(columns + dx, 0, 3)].tobytes()
        for dy in range(-2, 3)
        for dx in range(-2, 3)
    }
    offset = {pixels: moved for moved, pixels in expected.items()}
    seen = set()
    for batch in take(40, config, source, build_vocabulary([source], config.data)):
        assert not batch["image"][:, :, 4:].any()
        assert (batch["image_mask"] == (np.arange(8) < 4)).all()
        seen |= {offset[image[:, :4].tobytes()] for image in batch["image"]}
    assert len(seen) == 25


def test_sides_in_a_text_forbid_the_flip(tmp_path, write_jsonl, jsonl_config, png):
    rows = [{"image": "0.png", "caption": "a thing on the left"}, {"image": "1.png", "caption": "a thing"}]
    config = jsonl_config(write_jsonl(tmp_path, rows, {"0.png": png(8, 8, 0), "1.png": png(8, 8, 1)}))
    config.tasks.vqa.weight, config.data.flip = 0.0, True
    source = open_source(config.data, "train")
    originals = [decode_image(source[i].image, "") for i in range(2)]
    seen = Counter()
    for batch in take(20, config, source, build_vocabulary([source], config.data)):
        for image in batch["image"]:
            for number, original in enumerate(originals):
                seen[number, "as it is"] += np.array_equal(image, original)
                seen[number, "mirrored"] += np.array_equal(image, original[:, ::-1])
    assert seen[0, "mirrored"] == 0
    assert seen[0, "as it is"] == 40
    assert seen[1, "mirrored"] + seen[1, "as it is"] == 40
    assert seen[1, "mirrored"] > 5
    assert seen[1, "as it is"] > 5


def test_tasks_without_data_are_refused(tmp_path, write_jsonl, jsonl_config, png):
    images = {"0.png": png(8, 8)}
    ask = write_jsonl(tmp_path / "ask", [{"image": "0.png", "question": "q", "answer": "a"}], images)
    tell = write_jsonl(tmp_path / "tell", [{"image": "0.png", "caption": "c"}], images)

    def refused(folder, message, change=lambda config: None, vocabulary=None):
        config = jsonl_config(folder)
        change(config)
        source = open_source(config.data, "train")
        with pytest.raises(UserError, match=message):
            train_batches(config, source, vocabulary or build_vocabulary([source], config.data))

    def only(task):
        def change(config):
            for name in names.TASKS:
                config.tasks[name].weight = float(name == task)

        return change

    refused(tell, "task vqa finds no question in split 'train'")
    refused(ask, "captions are needed by mlm, but split 'train' has none: set tasks.mlm.weight=0", only("mlm"))
    refused(tell, "images with different captions", only("itm"))
    rows = [{"image": "0.png", "caption": "same"}, {"image": "1.png", "caption": "Same "}]
    alike = write_jsonl(tmp_path / "alike", rows, images | {"1.png": png(8, 8)})
    refused(alike, "images with different captions", only("itm"))
    refused(tell, "no task is on", only("none"))
    config = jsonl_config(ask)
    known = build_vocabulary([open_source(config.data, "train")], config.data)
    stranger = type(known).from_dict(known.to_dict() | {"answers": ["b"]})
    refused(ask, "no answer of split 'train' is in the vocabulary", only("vqa"), stranger)


def test_an_evaluation_needs_data_for_one_task(tmp_path, write_jsonl, jsonl_config, png):
    images = {f"{n}.png": png(8, 8) for n in range(2)}
    texts = [{"image": "0.png", "question": "q", "answer": "a"}]
    texts += [{"image": f"{n}.png", "caption": f"c {n}"} for n in range(2)]
    write_jsonl(tmp_path, texts, images)
    write_jsonl(tmp_path, texts[:1], images, "asks")
    write_jsonl(tmp_path, texts[1:2], images, "tells")
    write_jsonl(tmp_path, [{"image": f"{n}.png", "caption": "same"} for n in range(2)], images, "repeats")
    config = jsonl_config(tmp_path)
    vocabulary = build_vocabulary([open_source(config.data, "train")], config.data)

    def weights(split):
        config.data.eval_split = split
        with closing(eval_batches(config, open_source(config.data, split), vocabulary)) as batches:
            (batch,) = batches
        return {key: float(array.sum()) for key, array in batch.items() if "weight" in key}

    assert {key for key, weight in weights("asks").items() if weight} == {"question/weight"}
    assert {key for key, weight in weights("tells").items() if weight} == {"masked/weights", "match/weight"}
    with pytest.raises(UserError, match="images with different captions"):
        weights("repeats")
    config.tasks.mlm.weight = config.tasks.itm.weight = 0.0
    with pytest.raises(UserError, match=r"split 'tells' has no text to evaluate .* first 1 images.*data\.eval_split"):
        weights("tells")
    config.data.eval_limit = 1
    write_jsonl(tmp_path, texts[::-1], images, "late")  # the image with the question comes second
    with pytest.raises(UserError, match=r"split 'late' .* first 1 images.*data\.eval_limit"):
        weights("late")


def test_damaged_image_is_named_while_iterating(tmp_path, write_jsonl, jsonl_config):
    rows = [{"image": "broken.png", "question": "q", "answer": "a"}]
    config = jsonl_config(write_jsonl(tmp_path, rows, {"broken.png": b"\x89PNG nothing"}))
    config.tasks.mlm.weight = config.tasks.itm.weight = 0.0
    source = open_source(config.data, "train")
    vocabulary = build_vocabulary([source], config.data)
    for batches in (train_batches, eval_batches):
        with closing(batches(config, source, vocabulary)) as iterator, pytest.raises(UserError, match=r"broken\.png"):
            next(iterator)


@pytest.fixture
def hiding(toy_folder, jsonl_config, write_jsonl, png):
    """Images of five sizes on one canvas, the first three with captions; a third of patches of 4 pixels is hidden."""
    rows = [{"image": f"{n}.png", "caption": f"a thing of size {n}"} for n in (0, 2, 4)]
    rows += [{"image": f"{n}.png", "question": "what", "answer": "yes"} for n in range(5)]
    sizes = [(16, 24), (8, 24), (16, 16), (16, 10), (5, 24)]
    pictures = {f"{n}.png": png(*size, n) for n, size in enumerate(sizes)}
    config = jsonl_config(write_jsonl(toy_folder / "hiding", rows, pictures))
    config.model = hyperparameters("single_stream", "tiny", patch_size=4)
    config.data.image_size = (16, 24)
    config.tasks.mrm.weight, config.tasks.mrm.rate = 1.0, 0.33
    source = open_source(config.data, "train")
    return config, source, build_vocabulary([source], config.data)


def test_cells_are_hidden_of_captioned_images_alone(hiding):
    batches = take(10, *hiding)
    with closing(eval_batches(*hiding)) as evaluation:
        batches += list(evaluation)
    shapes = batch_shapes(hiding[0], hiding[2])
    counts = Counter()
    for batch in batches:
        assert {key: (value.shape, value.dtype) for key, value in batch.items()} == {
            key: (value.shape, value.dtype) for key, value in shapes.items()
        }
        for n, hidden in enumerate(batch["masked_image/hidden"]):
            numbers = hidden[hidden >= 0]
            captioned = batch["match/weight"][n] > 0
            pixels = batch["image_mask"][n].reshape(4, 4, 6, 4).any((1, 3)).reshape(-1)
            assert pixels[numbers].all()
            assert len(numbers) == (max(1, round(0.33 * pixels.sum())) if captioned else 0)
            if captioned:
                assert batch["masked_image/text_mask"][n].sum() == 7
            if captioned and batch["match/label"][n]:  # the caption is shown whole
                np.testing.assert_array_equal(batch["masked_image/text"][n], batch["match/text"][n])
            counts[len(numbers)] += 1
    assert len(counts) == 4  # three sizes, and none


def test_hidden_cells_are_the_same_for_any_hosts_and_start(hiding):
    whole = take(6, *hiding)
    parts = [take(6, *hiding, rows=[n, n + 1]) for n in (0, 2)]
    resumed = take(2, *hiding, start_step=4)
    for step in range(6):
        assert_same(whole[step], joined([part[step] for part in parts]))
    for step in (4, 5):
        assert_same(whole[step], resumed[step - 4])
    drawn = [batch["masked_image/hidden"] for batch in whole]
    assert not all(np.array_equal(drawn[0], other) for other in drawn[1:])
    config = hiding[0]
    config.seed = 1
    assert not np.array_equal(take(1, *hiding)[0]["masked_image/hidden"], drawn[0])
    config.seed = 0
    config.tasks.mrm.weight = 0.0  # and hiding changes nothing else
    for before, batch in zip(whole, take(6, *hiding), strict=True):
        assert_same({key: x for key, x in before.items() if not key.startswith("masked_image/")}, batch)


def test_rows_that_fill_up_hide_nothing(hiding):
    config = hiding[0]
    config.eval.batch_size = 8
    with closing(eval_batches(*hiding)) as batches:
        hidden = np.concatenate([batch["masked_image/hidden"] for batch in batches])
    assert len(hidden) == 8
    assert [bool((row >= 0).any()) for row in hidden] == [n < 3 for n in range(8)]


def test_hiding_needs_patches(hiding):
    config = hiding[0]
    config.model = hyperparameters("uniter", "tiny", region_patch=0)
    with pytest.raises(
        UserError, match=r"task mrm hides patches .* family 'uniter' reads none: set model\.region_patch"
    ):
        batch_shapes(config, hiding[2])

"""Maps of words over a picture, against the attention that the model captured and a model made by hand."""

import numpy as np
import pytest
from PIL import Image

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.tree import flatten
from vlfusion_jax.serve.explain import METHODS
from vlfusion_jax.serve.model import Model

PICTURE = np.random.default_rng(0).integers(256, size=(45, 90, 3), dtype=np.uint8)
QUESTION = "what colour is that, snowfallblue?"
SHOWN = ("what", "colour", "is", "that", "snowfallblue")
PATCHED = {"model__region_patch": 8}
FAMILIES = {
    "single_stream": {},
    "two_stream": {},
    "cross_attention": {"model__image_tokens": "conv"},
    "vilt": {},
    "albef": {},
    "lxmert": PATCHED,
    "vilbert": PATCHED,
    "uniter": PATCHED,
    "meter": {},
    "bridgetower": {},
    "blip": {"model__variant": "vqa", "model__patch_size": 8},
}
OF_TWO_SPACES = ("vilbert",)


@pytest.mark.parametrize("family", FAMILIES)
def test_maps_are_shares_of_the_picture(make_model, family):
    model = make_model(family, **FAMILIES[family])
    for method in METHODS:
        if method == "alignment" and family in OF_TWO_SPACES:
            with pytest.raises(UserError, match="not have in one space"):
                model.explain(PICTURE, QUESTION, method)
            continue
        found = model.explain(PICTURE, QUESTION, method)
        rows, columns = found.cells.shape
        assert columns == 2 * rows  # as the picture, and not as the canvas, whose lower half is padding
        assert found.words == SHOWN
        assert found.maps.shape == (len(found.labels), len(SHOWN), rows, columns)
        assert (found.maps >= 0).all()
        np.testing.assert_allclose(found.maps.sum((2, 3)), 1, rtol=1e-9)
        # The grid lies on the picture from edge to edge.
        np.testing.assert_allclose(found.cells.corner, 0)
        np.testing.assert_allclose(found.cells.side * found.cells.shape, PICTURE.shape[:2])
        for maps in found.attention.values():
            np.testing.assert_allclose(maps.sum((-1, -2)), 1, rtol=1e-6)


@pytest.mark.parametrize(("family", "first"), [("vilt", 1), ("single_stream", 0)])
def test_maps_of_one_stream_are_the_captured_attention(make_model, family, first):
    model = make_model(family)
    found = model.explain(PICTURE, QUESTION, "attention")
    inputs = model.encode([PICTURE], [QUESTION])
    weights = np.asarray(model(inputs, (), capture=True).attention["fusion"]["joint_self_0"], np.float64)[:, 0]
    length, (rows, columns) = inputs[names.TEXT].shape[1], found.cells.shape
    # The canvas has 4 x 4 cells; ViLT's valid ones come first, as all of the upper half do.
    image = weights[..., length + first : length + first + rows * columns]
    tokens = model.vocabulary.tokenizer.encode(QUESTION)
    for i, word in enumerate(SHOWN):
        start = QUESTION.index(word)
        own = [k for k, (a, b) in enumerate(tokens.offsets) if start <= a < b <= start + len(word)]
        assert word != "snowfallblue" or len(own) > 1
        for layer in range(len(weights)):
            for head in range(weights.shape[1]):
                of_tokens = [image[layer, head, k] for k in own]
                mean = np.mean(of_tokens, axis=0)
                expected = (mean / mean.sum()).reshape(rows, columns)
                np.testing.assert_allclose(found.attention["fusion/joint_self_0"][layer, head, i], expected, rtol=1e-9)
            over_heads = found.attention["fusion/joint_self_0"][layer, :, i].mean(0)
            np.testing.assert_allclose(found.maps[layer, i], over_heads, rtol=1e-12)


def test_both_ways_of_co_attention_are_there(make_model):
    model = make_model("lxmert", **PATCHED)
    found = model.explain(PICTURE, QUESTION, "attention")
    assert set(found.attention) == {"fusion/text_cross_0", "fusion/image_cross_0"}
    assert found.labels == tuple(f"{way}, {i}" for way in ("text reads image", "image reads text") for i in (1, 2))
    inputs = model.encode([PICTURE], [QUESTION])
    weights = np.asarray(model(inputs, (), capture=True).attention["fusion"]["image_cross_0"], np.float64)
    of_what = weights[1, 0, :, :8, 1]  # of the cells that are no padding, to the first word
    expected = (of_what / of_what.sum(1, keepdims=True)).mean(0).reshape(2, 4)
    np.testing.assert_allclose(found.maps[3, 0], expected, rtol=1e-9)


def test_cells_that_were_not_kept_have_no_weight(make_model):
    model = make_model("vilt", model__max_image_tokens=5)
    found = model.explain(PICTURE, QUESTION, "rollout")
    assert found.cells.shape == (2, 4)
    assert ((found.maps > 0).sum((2, 3)) == 5).all()
    # Evenly spread, in raster order: the r-th of 8 is kept where (r + 1) * 5 // 8 > r * 5 // 8.
    kept = [(r + 1) * 5 // 8 > r * 5 // 8 for r in range(8)]
    np.testing.assert_array_equal((found.maps[0, 0] > 0).reshape(-1), kept)


def by_hand(make_model) -> Model:
    """`cross_attention` of one layer in which a colour's word attends to patches of its colour, and no more happens."""
    model = make_model(
        "cross_attention", heads=(names.ITM,), model__text_layers=0, model__image_layers=0, model__cross_layers=1,
        model__heads=1, model__patch_size=16, model__norm="post",
    )  # fmt: skip
    params = {path: np.zeros_like(leaf) for path, leaf in flatten(model.params).items()}
    width = model.config.model.width
    for path, leaf in params.items():
        if path.endswith("scale"):
            leaf += 1
        elif path.endswith(("text_cross/query/kernel", "text_cross/key/kernel")):
            leaf[..., 0, :] = 2 * np.eye(width)
        elif path.startswith("image/patches") and path.endswith("kernel"):
            leaf.reshape(-1, 3, width)[:, range(3), range(3)] = 1 / 256  # the mean of each channel of a patch
        elif path.startswith("text/embedding/word"):
            for channel, word in enumerate(("red", "green", "blue")):
                [token] = model.vocabulary.tokenizer.encode(word, add_special_tokens=False).ids
                leaf.reshape(-1, leaf.shape[-2], width)[:, token, channel] = 5
    return Model(model.config, model.vocabulary, params)


@pytest.mark.parametrize("method", METHODS)
def test_a_word_lights_up_its_patch(make_model, method):
    model = by_hand(make_model)
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:32, :32, 2] = picture[:32, 32:, 0] = picture[32:, :32, 1] = 255
    found = model.explain(picture, "a red thing is green, that blue", method)
    assert found.words == ("a", "red", "thing", "is", "green", "that", "blue")
    for word, cell in {"red": (0, 1), "green": (1, 0), "blue": (0, 0)}.items():
        values = found.maps[-1, found.words.index(word)]
        assert np.unravel_index(values.argmax(), values.shape) == cell
        assert values[cell] > 0.5
    assert found.verdict == "match  50%"


def test_the_verdict_is_the_answer_or_whether_both_match(make_model):
    model = make_model("single_stream", heads=(names.VQA, names.ITM))
    best = model.answer(PICTURE, QUESTION)[0]
    assert model.explain(PICTURE, QUESTION).verdict == f"{best.text}  {best.probability:.0%}"
    logits = np.asarray(model(model.encode([PICTURE], [QUESTION]), (names.ITM,)).logits[names.ITM], np.float64)[0]
    share = np.exp(logits[1]) / np.exp(logits).sum()
    assert model.explain(PICTURE, QUESTION, head=names.ITM).verdict == f"match  {share:.0%}"


def test_a_written_word_is_where_it_was_predicted(make_model):
    model = make_model("blip", heads=(names.CAPTION,), model__patch_size=8, model__begin_id=3)
    found = model.explain(PICTURE, "a red thing", "attention")
    assert found.words == ("a", "red", "thing")
    inputs = model.encode([PICTURE], ["a red thing"])
    inputs[names.TARGET] = inputs[names.TARGET].copy()
    inputs[names.TARGET][0, 0] = 3
    weights = np.asarray(model(inputs, (), capture=True).attention["decoder_layers"]["target_cross_1"], np.float64)
    before = weights[0, 0, :, 1, 1:9]  # "red" is token 2
    expected = (before / before.sum(1, keepdims=True)).mean(0).reshape(2, 4)
    np.testing.assert_allclose(found.maps[0, 1], expected, rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_the_png_has_a_panel_for_each_word(make_model, method, tmp_path):
    model = make_model("single_stream")
    found = model.explain(PICTURE, QUESTION, method)
    found.save(tmp_path / "maps.png")
    assert [file.name for file in tmp_path.iterdir()] == ["maps.png"]
    shown = [axes for axes in found.draw().axes if axes.axison]
    # For each layer the words; else the picture as it is comes first.
    assert len(shown) == (2 * 5 if method == "attention" else 6)
    titles = [axes.get_title() for axes in shown if axes.get_title()]
    assert titles == list(SHOWN)
    for axes in shown:
        [drawn] = axes.images
        assert drawn.get_array().shape == PICTURE.shape
    with Image.open(tmp_path / "maps.png") as file:
        width, height = file.size
        colours = np.asarray(file.convert("RGB"))
    assert (width, height) == tuple((found.draw().get_size_inches() * 100).astype(int))
    assert width > height  # five or six broad panels beside each other
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) > 1000


def test_a_map_glows_where_it_is_high_and_nowhere_else(make_model):
    found = make_model("single_stream").explain(np.full((64, 64, 3), 255, np.uint8), "red", "rollout")
    values = np.full((4, 4), 1.0)
    values[1, 2] = 9
    lit = found._lit(values / values.sum())
    assert lit[24, 40, 2] < 0.5  # the middle of that cell
    np.testing.assert_allclose(lit[48:], 1, atol=1e-6)
    even = found._lit(np.full((4, 4), 1 / 16) + 1e-12 * np.arange(16).reshape(4, 4))
    np.testing.assert_allclose(even, 1, atol=1e-6)


def test_single_heads_are_a_row_each(make_model):
    found = make_model("single_stream").explain(PICTURE, QUESTION)
    heads = found.heads("fusion/joint_self_0", 1)
    assert heads.labels == ("head 1", "head 2")
    np.testing.assert_array_equal(heads.maps, found.attention["fusion/joint_self_0"][1])
    with pytest.raises(UserError, match="there are fusion/joint_self_0"):
        found.heads("fusion", 0)
    with pytest.raises(UserError, match="layers 0 to 1, no 2"):
        found.heads("fusion/joint_self_0", 2)


def test_what_cannot_be_explained_is_said(make_model):
    with pytest.raises(UserError, match="attention of text to text, of image to image only"):
        make_model("clip", heads=(names.CONTRASTIVE,)).explain(PICTURE, QUESTION)
    with pytest.raises(UserError, match="does not read both a picture and a text"):
        make_model("bert").explain(PICTURE, QUESTION)
    model = make_model("single_stream")
    with pytest.raises(UserError, match="method 'sums' is unknown; there are rollout, attention, alignment"):
        model.explain(PICTURE, QUESTION, "sums")
    with pytest.raises(UserError, match="has no words to show"):
        model.explain(PICTURE, "?!")
    with pytest.raises(UserError, match="no head 'itm'; it has vqa"):
        model.explain(PICTURE, QUESTION, head="itm")
    with pytest.raises(UserError, match="reads the regions of a detector"):
        make_model("uniter", model__region_patch=0, model__regions=4).explain(PICTURE, QUESTION)

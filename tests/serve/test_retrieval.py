"""Two stages against ranking by hand, from the model on one pair at a time."""

import io

import jax
import numpy as np
import pytest
from PIL import Image

from tests.serve.conftest import BOTH, TEXTS, Captioned, config_of, pictures
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.records import EncodedImage, Record
from vlfusion_jax.serve.gallery import read_gallery, retrieval_evaluator
from vlfusion_jax.serve.inputs import encode_pictures, encode_texts
from vlfusion_jax.serve.retrieval import rank, shortlists
from vlfusion_jax.train.setup import build

IMAGES = pictures(6)
OWNER = np.array([0, 0, 1, 3, 3, 4, 5])  # image of each text; image 2 has none


@pytest.fixture(scope="module")
def model(matching_model):
    return matching_model("albef")


@pytest.fixture(scope="module")
def inputs(model):
    spec = model.module.spec
    return encode_pictures(IMAGES, spec, model.config.data)[0], encode_texts(TEXTS, spec, model.vocabulary, 8)[0]


@pytest.fixture(scope="module")
def by_pair(model, inputs):
    """Cosines and log-odds [images, texts] from the model on each pair alone."""
    apply = jax.jit(lambda inputs: model.module.apply({"params": model.params}, inputs, BOTH).logits)
    cosines, log_odds = np.zeros((2, len(IMAGES), len(TEXTS)))
    for i, t in np.ndindex(cosines.shape):
        of_pair = ({n: x[[row]] for n, x in side.items()} for side, row in zip(inputs, (i, t), strict=True))
        logits = apply(next(of_pair) | next(of_pair))
        other, match = logits[names.ITM][0]
        log_odds[i, t] = match - other
        cosines[i, t] = logits[names.CONTRASTIVE][names.TEXT][0] @ logits[names.CONTRASTIVE][names.IMAGE][0]
    assert min(np.diff(np.sort(log_odds.ravel())).min(), np.diff(np.sort(cosines.ravel())).min()) > 0
    return cosines, log_odds


def position(scores, right, k):
    """1 where one of `right` is among the k with the highest score, by sorting."""
    return bool({i for i in sorted(range(len(scores)), key=lambda i: -scores[i])[:k] if scores[i] > -np.inf} & right)


def by_hand(of_texts, of_images, k):
    """(text to image, image to text) R@k."""
    texts = [position(of_texts[:, t], {OWNER[t]}, k) for t in range(len(OWNER))]
    images = [position(of_images[i], set(np.flatnonzero(i == OWNER).tolist()), k) for i in sorted(set(OWNER.tolist()))]
    return np.mean(texts), np.mean(images)


@pytest.mark.parametrize("add_similarity", [False, True])
@pytest.mark.parametrize("shortlist", [1, 3])
def test_two_stages(model, inputs, by_pair, shortlist, add_similarity):
    cosines, log_odds = by_pair
    judged = log_odds + cosines * add_similarity
    of_texts, of_images = np.full((2, *judged.shape), -np.inf)
    for t in range(len(TEXTS)):
        nearest = sorted(range(len(IMAGES)), key=lambda i: -cosines[i, t])[:shortlist]
        of_texts[nearest, t] = judged[nearest, t]
    for i in range(len(IMAGES)):
        nearest = sorted(range(len(TEXTS)), key=lambda t: -cosines[i, t])[:shortlist]
        of_images[i, nearest] = judged[i, nearest]

    similarity, reranked, exact = rank(model.scorer, *inputs, shortlist, exact=True, add_similarity=add_similarity)
    assert [each.name for each in (similarity, reranked, exact)] == ["similarity", "re-ranked", "exact"]
    np.testing.assert_allclose(similarity.text_to_image, cosines, atol=1e-5)
    np.testing.assert_allclose(reranked.text_to_image, of_texts, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(reranked.image_to_text, of_images, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(exact.image_to_text, judged, rtol=1e-4, atol=2e-5)
    both = (of_texts > -np.inf) | (of_images > -np.inf)
    assert [each.pairs for each in (similarity, reranked, exact)] == [0, both.sum(), judged.size]
    for ranking, scores in ((similarity, (cosines,) * 2), (reranked, (of_texts, of_images)), (exact, (judged,) * 2)):
        found = ranking.recall(OWNER, (1, 2))
        for k in (1, 2):
            assert (found[f"text_to_image_r{k}"], found[f"image_to_text_r{k}"]) == by_hand(*scores, k)


def test_a_shortlist_of_all_is_exact(model, inputs):
    _, reranked, exact = rank(model.scorer, *inputs, exact=True)
    np.testing.assert_array_equal(reranked.text_to_image, exact.text_to_image)
    np.testing.assert_array_equal(reranked.image_to_text, exact.image_to_text)
    assert reranked.pairs == exact.pairs == len(IMAGES) * len(TEXTS)


def test_of_equal_similarity_the_first_are_shortlisted():
    by_text, by_image = shortlists(np.array([[0.5, 0.5, 0.1], [0.5, 0.9, 0.1]]), 1)
    np.testing.assert_array_equal(by_text, [[1, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(by_image, [[1, 0, 0], [0, 1, 0]])


def test_own_pictures_and_texts(model, by_pair):
    cosines, log_odds = by_pair
    probabilities = 1 / (1 + np.exp(-log_odds))
    assert model.score(IMAGES[1], TEXTS) == pytest.approx(probabilities[1], rel=1e-4)
    found = model.retrieve(TEXTS[3], pictures=IMAGES, top=2)
    assert [each.number for each in found] == np.argsort(-log_odds[:, 3])[:2].tolist()
    assert [each.score for each in found] == pytest.approx(np.sort(probabilities[:, 3])[:-3:-1], rel=1e-4)
    found = model.retrieve(IMAGES[4], texts=TEXTS, shortlist=3)
    nearest = np.argsort(-cosines[4])[:3]
    assert [each.number for each in found] == nearest[np.argsort(-log_odds[4, nearest])].tolist()
    vectors = model.embed(IMAGES, TEXTS)
    np.testing.assert_allclose(vectors[names.IMAGE] @ vectors[names.TEXT].T, cosines, atol=1e-5)
    assert set(model.embed(texts=TEXTS[:2])) == {names.TEXT}


def test_a_model_of_similarity_alone(matching_model):
    model = matching_model("siglip", (names.CONTRASTIVE,))
    vectors = model.embed(IMAGES, TEXTS)
    cosines = vectors[names.IMAGE] @ vectors[names.TEXT].T
    found = model.retrieve(IMAGES[2], texts=TEXTS, top=3)
    assert [each.number for each in found] == np.argsort(-cosines[2])[:3].tolist()
    assert [each.score for each in found] == pytest.approx(np.sort(cosines[2])[:-4:-1], abs=1e-5)
    with pytest.raises(UserError, match="does not judge pairs of image and text"):
        model.score(IMAGES[0], TEXTS)
    with pytest.raises(UserError, match=r"no head that judges the pairs of a shortlist \('itm'\)"):
        model.retrieve(IMAGES[0], texts=TEXTS, shortlist=2)
    with pytest.raises(UserError, match="ranks by similarity alone"):
        rank(model.scorer, {}, {}, exact=True)


def test_a_model_of_pairs_alone(matching_model):
    model = matching_model("single_stream", (names.ITM,))
    shares = model.score(IMAGES[0], TEXTS)
    found = model.retrieve(IMAGES[0], texts=TEXTS, top=len(TEXTS))
    assert [each.score for each in found] == pytest.approx(sorted(shares, reverse=True), rel=1e-4)
    spec = model.module.spec
    images, texts = (
        encode_pictures(IMAGES, spec, model.config.data)[0],
        encode_texts(TEXTS, spec, model.vocabulary, 8)[0],
    )
    [exact] = rank(model.scorer, images, texts)
    assert (exact.name, exact.pairs) == ("exact", len(IMAGES) * len(TEXTS))
    np.testing.assert_allclose(1 / (1 + np.exp(-exact.image_to_text[0])), shares, rtol=1e-4)
    with pytest.raises(UserError, match=r"no similarity of images and texts to shortlist by \(head 'contrastive'\)"):
        model.retrieve(TEXTS[0], pictures=IMAGES, shortlist=2)
    with pytest.raises(UserError, match=r"no similarity to add"):
        rank(model.scorer, images, texts, add_similarity=True)
    with pytest.raises(UserError, match=r"no head 'contrastive'"):
        model.embed(texts=TEXTS)


def test_the_share_of_a_text_by_a_retrieval_head_is_among_the_texts(matching_model):
    model = matching_model("vilt", (names.RETRIEVAL,))
    shares = model.score(IMAGES[0], TEXTS)
    assert sum(shares) == pytest.approx(1)
    few = model.score(IMAGES[0], TEXTS[:2])
    assert few[0] / few[1] == pytest.approx(shares[0] / shares[1], rel=1e-4)


def test_mistakes(model):
    for words in ({}, {"pictures": IMAGES, "texts": TEXTS}):
        with pytest.raises(UserError, match="give `pictures` to search for a text, or `texts`"):
            model.retrieve("a cat", **words)
    with pytest.raises(UserError, match="shortlist is 0; it must be at least 1"):
        model.retrieve("a cat", pictures=IMAGES, shortlist=0)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def source():
    captions = [tuple(TEXTS[t] for t in np.flatnonzero(i == OWNER)) for i in range(len(IMAGES))]
    return Captioned(Record((EncodedImage(png(each), f"{i}.png"),), captions[i], ()) for i, each in enumerate(IMAGES))


def test_a_gallery_is_of_images_with_captions(source, words):
    gallery = read_gallery(source, config_of("albef"), words)
    assert gallery.image_names == [f"{i}.png" for i in (0, 1, 3, 4, 5)]
    assert gallery.captions == list(TEXTS)
    assert gallery.image_of_text.tolist() == [0, 0, 1, 2, 2, 3, 4]
    limited = config_of("albef")
    limited.data.eval_limit = 3
    assert read_gallery(source, limited, words).image_names == ["0.png", "1.png"]
    with pytest.raises(UserError, match="split 'test' has no captions to retrieve"):
        read_gallery(Captioned(source[2:3]), limited, words)


def test_metrics_of_a_run_on_its_mesh(source, words, matching_model):
    """Eight devices; a head that the run's task does not train is there too."""
    config = config_of("albef")
    config.train.batch_size = config.eval.batch_size = 16
    run = build(config, words)
    model = matching_model("albef")
    params = jax.device_put(model.params, run.strategy.replicated)
    found = retrieval_evaluator(run, source)(params)
    gallery = read_gallery(source, config, words)
    rankings = rank(model.scorer, gallery.images, gallery.texts)
    similarity, ranked = (each.recall(gallery.image_of_text) for each in rankings)
    assert run.strategy.batch_parts == 8
    assert found == ranked | {f"similarity_{name}": value for name, value in similarity.items()}

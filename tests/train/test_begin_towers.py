"""A run whose towers start from models of other families, each from its own."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.tree import flatten, nested
from vlfusion_jax.data.vocabulary import Vocabulary
from vlfusion_jax.models.families import bert, pixels
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters
from vlfusion_jax.train.begin import begin, source_of_words
from vlfusion_jax.train.checkpoint import Checkpointer
from vlfusion_jax.train.meta import describe_model
from vlfusion_jax.train.tower_settings import differing_settings

WORDS, OTHER_WORDS = '{"of": "bert"}', '{"of": "clip"}'
BERT = {
    "text/embedding/words/table": (8, 4),
    "text/embedding/positions/table": (9, 4),
    "text_layers/layers/text_mlp/kernel": (2, 4),
    "text_pooler/projection/kernel": (4, 4),
    "head_mlm/bias": (8,),
}
CLIP = {
    "text/embedding/words/table": (16, 6),
    "text_layers/layers/text_mlp/kernel": (3, 6),
    "text_norm/norm_out/scale": (6,),
    "image/patches/kernel": (3, 5),
    "image_layers/layers/image_mlp/kernel": (1, 5),
    "image_norm/norm_out/scale": (5,),
    "head_contrastive/scale": (),
}
MODEL = {
    "text/embedding/words/table": (8, 4),
    "text/embedding/positions/table": (6, 4),
    "text_layers/layers/text_mlp/kernel": (2, 4),
    "image/patches/kernel": (3, 5),
    "image_layers/layers/image_mlp/kernel": (1, 5),
    "image_norm/norm_out/scale": (5,),
    "image_transform/projection/kernel": (5, 4),
    "head_vqa/bias": (2,),
}

# Reads text as BERT does, and images as CLIP does.
OF_BOTH = hyperparameters("late_fusion", "tiny", text_tower="bert", image_tower="clip_vit")


def arrays(shapes: dict[str, tuple], seed: int) -> dict:
    rng, whole = np.random.default_rng(seed), NamedSharding(jax.make_mesh((1,), ("data",)), PartitionSpec())
    values = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return nested({name: jax.device_put(value, whole) for name, value in values.items()})


@pytest.fixture
def store(tmp_path):
    """Function (family, shapes, words, seed, **changes) -> path of a checkpoint with random parameters, and these."""

    def make(family: str, shapes: dict[str, tuple], words: str, seed: int, **changes) -> tuple[str, dict]:
        config, params = default_config(), arrays(shapes, seed)
        config.model = hyperparameters(family, "tiny", **changes)
        checkpoints = Checkpointer(tmp_path / family, config.checkpoint)
        checkpoints.save(0, {"params": params}, describe_model(config, Vocabulary(words, (), ())))
        checkpoints.close()
        return str(tmp_path / family), flatten(params)

    return make


@pytest.fixture
def start(tmp_path):
    """Function (init_from, shapes, model) -> (parameters that the run begins with, those it would have had)."""

    def make(init_from: str, shapes: dict[str, tuple] = MODEL, model: Any = OF_BOTH) -> tuple[dict, dict]:
        config, fresh = default_config(), arrays(shapes, 7)
        config.model, config.init_from = model, init_from
        state = SimpleNamespace(params=fresh)
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), fresh)
        run = SimpleNamespace(
            config=config, vocabulary=Vocabulary(WORDS, ("no", "yes"), ()), init_state=lambda: state,
            abstract_state=SimpleNamespace(params=abstract),
            start_from=lambda state, params: SimpleNamespace(params=params),
        )  # fmt: skip
        checkpoints = Checkpointer(tmp_path / "run", config.checkpoint)
        found = begin(run, checkpoints)[0].params
        checkpoints.close()
        return flatten(found), flatten(fresh)

    return make


def test_each_tower_starts_from_its_own_model(store, start, capfd):
    (bert, text), (clip, image) = store("bert", BERT, WORDS, 1), store("clip", CLIP, OTHER_WORDS, 2)
    found, fresh = start(f"{bert},{clip}")
    for name, leaf in found.items():
        source = text if name.startswith("text") else image
        if name in ("image_transform/projection/kernel", "head_vqa/bias"):
            source = fresh
        np.testing.assert_array_equal(leaf, source[name][: len(leaf)], err_msg=name)
    said = capfd.readouterr().err
    assert f"text tower: 3 of 3 parameters from {bert}" in said
    assert f"image tower: 3 of 3 parameters from {clip}" in said
    assert "2 other parameters begin at random" in said


def test_a_tower_that_does_not_fit_is_left_and_nothing_at_all_is_refused(store, start):
    bert, text = store("bert", BERT, WORDS, 1)
    found, fresh = start(bert)
    np.testing.assert_array_equal(found["image/patches/kernel"], fresh["image/patches/kernel"])
    np.testing.assert_array_equal(found["text/embedding/words/table"], text["text/embedding/words/table"])
    with pytest.raises(
        UserError, match=r"(?s)no tower of .*bert is one.*text_mlp/kernel: \(2, 4\) in the checkpoint, \(5"
    ):
        start(bert, MODEL | {"text_layers/layers/text_mlp/kernel": (5, 4)})
    with pytest.raises(UserError, match=r"(?s)text: filled by .*bert.*image: it has none"):
        start(f"{bert},{bert}")


def test_a_tower_that_fits_and_computes_otherwise_is_refused(store, start):
    bert, _ = store("bert", BERT, WORDS, 1, norm_epsilon=1e-5)
    images = {name: shape for name, shape in CLIP.items() if name.startswith("image")}
    vit, _ = store("vit", images, OTHER_WORDS, 2, norm_epsilon=1e-5)
    # In a baseline, the towers of a family are as that has them.
    with pytest.raises(UserError, match=r"what .*bert has fits by its shapes, but .*otherwise") as error:
        start(bert)
    assert str(error.value).splitlines()[1:] == [
        f"  text {part} norm_epsilon: 1e-05 in the checkpoint, 1e-12 in the model: no key of this config sets "
        "it: take another source"
        for part in ("input", "layers")
    ]
    # ALBEF has keys of its own for them.
    albef = hyperparameters("albef", "tiny", norm_epsilon=1e-5)
    with pytest.raises(UserError, match=r"what .*vit has fits") as error:
        start(f"{bert},{vit}", model=albef)
    for line in (
        "image input pixel_mean: (0.5, 0.5, 0.5) in the checkpoint, (0.48145466, 0.4578275, 0.40821073) in the model: "
        "set model.pixel_mean=(0.5, 0.5, 0.5)",
        "image layers norm_epsilon: 1e-05 in the checkpoint, 1e-06 in the model: set model.image_norm_epsilon=1e-05",
    ):
        assert line in str(error.value)
    assert "text" not in str(error.value)
    same = hyperparameters("albef", "tiny", norm_epsilon=1e-5, image_norm_epsilon=1e-5, **pixels.SYMMETRIC)
    start(f"{bert},{vit}", model=same)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"norm": "post"}, ["layers norm: 'pre' in the checkpoint, 'post' in the model: set model.norm='pre'"]),
        ({"activation": "relu"}, ["layers activation: 'gelu' in the checkpoint, 'relu' in the model: set model.activ"]),
    ],
)
def test_settings_of_towers_of_our_own(changes, said):
    there, here = hyperparameters("late_fusion", "tiny"), hyperparameters("gated_fusion", "tiny", **changes)
    for side in ("text", "image"):
        lines = differing_settings(there, here, side)
        assert len(lines) == len(said)
        assert all(line.startswith(f"{side} {start}") for line, start in zip(lines, said, strict=True))


def test_a_text_that_is_read_from_left_to_right_is_another():
    [line] = differing_settings(
        hyperparameters("clip"), hyperparameters("siglip", text_activation="quick_gelu", text_norm_epsilon=1e-5), "text"
    )
    assert line.startswith("text layers causal: True in the checkpoint, False in the model: no key")


@pytest.mark.parametrize(
    ("there", "here", "side"),
    [("bert", "albef", "text"), ("bert", "lxmert", "text"), ("roberta", "meter", "text"), ("clip", "meter", "image")],
)
def test_published_models_begin_with_towers_as_they_are(there, here, side):
    assert not differing_settings(hyperparameters(there), hyperparameters(here), side)


@pytest.mark.parametrize(
    ("there", "here", "side", "said"),
    [
        # A norm that the source is without.
        (
            hyperparameters("siglip"),
            hyperparameters("two_stream", activation="gelu_tanh"),
            "text",
            "text input norm_epsilon: None in the checkpoint, 1e-06 in the model: no key",
        ),
        # The same table of positions, stretched over each image or not.
        (
            hyperparameters("vilt"),
            hyperparameters("vit", patch_size=32),
            "image",
            "image input positions: 'interpolated' in the checkpoint, 'learned' in the model: no key",
        ),
        (
            hyperparameters("uniter", norm_epsilon=1e-6),
            hyperparameters("uniter"),
            "image",
            "image input norm_epsilon: 1e-06 in the checkpoint, 1e-12 in the model: set model.norm_epsilon=1e-06",
        ),
        (
            hyperparameters("vilbert"),
            hyperparameters("uniter"),
            "image",
            "image input form: 'vilbert' in the checkpoint, 'uniter' in the model: no key",
        ),
    ],
)
def test_inputs_that_compute_otherwise(there, here, side, said):
    [line] = differing_settings(there, here, side)
    assert line.startswith(said)


@pytest.mark.parametrize(("there", "tower"), [("resnet", "resnet50"), ("lxmert", "regions_lxmert"), ("vit", "vit")])
def test_baselines_begin_with_images_as_their_families_read_them(there, tower):
    """What stands behind the grid of a convolutional tower, positions and norm, is the model's own."""
    assert not differing_settings(hyperparameters(there), hyperparameters("late_fusion", image_tower=tower), "image")


def test_streams_of_one_stage_are_compared_one_by_one(monkeypatch):
    """No family has a tower of two streams yet; a specification may."""
    model = hyperparameters("bert", "tiny")

    def spec(model, given):
        tower = bert.spec(model, given)
        [layers] = tower.steps
        other = dataclasses.replace(layers.blocks[0], norm_epsilon=1e-3)
        return dataclasses.replace(
            tower,
            steps=(dataclasses.replace(layers, streams=("text", "target"), blocks=(layers.blocks[0], other)),),
        )

    changed = hyperparameters("bert", "tiny", activation="relu")
    monkeypatch.setitem(FAMILIES, "bert", SimpleNamespace(spec=spec))
    assert not differing_settings(model, model, "text")
    found = [line.partition(":")[0] for line in differing_settings(model, changed, "text")]
    assert found == ["text layers text activation", "text layers target activation"]


def test_a_model_that_goes_on_whole_computes_as_it_did(store, start):
    clip, params = store("clip", CLIP, WORDS, 2, image_activation="quick_gelu")
    for activation in ("gelu", "quick_gelu"):
        model = hyperparameters("clip", "tiny", image_activation=activation)
        if activation == "gelu":
            with pytest.raises(UserError, match=r"(?s)what .*clip has fits.*: set model.image_activation='quick_gel"):
                start(clip, CLIP, model)
        else:
            found, _ = start(clip, CLIP, model)
            assert all(np.array_equal(leaf, params[name]) for name, leaf in found.items())


def test_words_with_other_numbers_are_refused(store, start):
    bert, _ = store("bert", BERT, OTHER_WORDS, 1)
    with pytest.raises(UserError, match=r"the tokenizer of .*bert is not that of the run"):
        start(bert)


def test_the_words_are_those_of_the_first_source_that_reads_text(store):
    config = default_config()
    config.model = hyperparameters("late_fusion", "tiny")
    bert, _ = store("bert", BERT, WORDS, 1)
    vit, _ = store("vit", {"image/patches/kernel": (3, 5)}, "{}", 2)
    config.init_from = f"{vit}, {bert}"
    assert source_of_words(config) == bert
    config.init_from = vit
    assert source_of_words(config) == ""
    config.model = hyperparameters("vit", "tiny")
    assert source_of_words(config) == vit


@pytest.mark.parametrize("family", ["vilt", "lxmert", "meter", "early_fusion"])
def test_the_layers_behind_the_towers_are_compared(family):
    model = hyperparameters(family, "tiny")
    key = "cross_activation" if "cross_activation" in model else "activation"
    changed = hyperparameters(family, "tiny", **{key: "relu"})
    assert not differing_settings(model, model, "fusion")
    lines = differing_settings(changed, model, "fusion")
    assert lines
    assert all(f"set model.{key}='relu'" in line for line in lines)

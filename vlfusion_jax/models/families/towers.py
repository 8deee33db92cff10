"""The towers from which a fusion baseline chooses one for the text and one for the image.

Text: `embeddings` alone, layers of our own over them (`transformer`, `lstm`, `gru`), `bert` and `roberta`. Image:
linear patches (`patch`), a small stem (`conv`), layers of our own over patches (`transformer`), `vit`, `clip_vit`, the
grid of `resnet50`, `resnet101`, `resnet152` and `vgg16`, and regions, each a vector and a box, in the form of LXMERT,
UNITER and ViLBERT. Those of a family are that family's, in its own width and with its names of parameters, so that they
start from its checkpoints.
"""

from typing import Any

from ml_collections import ConfigDict

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.layers.block import MLP, SELF, BlockSpec, Stage
from vlfusion_jax.layers.convnet import IMAGENET, TOWERS
from vlfusion_jax.layers.recurrent import GATES
from vlfusion_jax.models.families import bert, clip, roberta, vit
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.regions import region_input
from vlfusion_jax.models.families.tower import Tower
from vlfusion_jax.models.spec.inputs import ImageInput, RegionInput, TextInput
from vlfusion_jax.models.spec.steps import Recurrent
from vlfusion_jax.models.spec.streams import IMAGE, TEXT

# Towers that are families of their own, and those whose regions have the form of a family.
OF_FAMILIES = {"bert": bert, "roberta": roberta, "vit": vit, "clip_vit": clip}
REGION_FORMS = {"regions_lxmert": "lxmert", "regions_uniter": "uniter", "regions_vilbert": "vilbert"}
TEXT_TOWERS = ("embeddings", "transformer", *GATES, "bert", "roberta")
IMAGE_TOWERS = ("patch", "conv", "transformer", "vit", "clip_vit", *TOWERS, *REGION_FORMS)


def text_tower(model: Any, given: Given) -> Tower:
    """The one that `config.model` of a baseline names by `text_tower`."""
    name, layers = model.text_tower, model.text_layers
    if name in OF_FAMILIES:
        return _of_family(model, given, TEXT)
    words = TextInput(
        TEXT, given.vocab, model.width, given.text_length, types=2 if model.image_tower == "regions_uniter" else 0,
        epsilon=model.norm_epsilon, modality=0, dropout=model.dropout,
    )  # fmt: skip
    if name in GATES:
        width = model.width // 2 if model.bidirectional else model.width
        return Tower(words, Recurrent("text_layers", TEXT, name, width, layers, model.bidirectional))
    return Tower(words, _own_layers(model, TEXT) if name == "transformer" else None)


def image_tower(model: Any, given: Given) -> Tower:
    """The one that `config.model` of a baseline names by `image_tower`.

    Raises:
      UserError: it does not go together with the text tower.
    """
    name = model.image_tower
    if name == "regions_uniter" and model.text_tower == "roberta":
        raise UserError(
            "model.image_tower 'regions_uniter' and model.text_tower 'roberta' do not go together: UNITER's regions "
            "are of the second of the text's token types, and RoBERTa has one. Take another of either, such as "
            "'regions_lxmert' or 'bert'."
        )
    if name in OF_FAMILIES:
        return _of_family(model, given, IMAGE)
    if name in REGION_FORMS:
        # UNITER's take a row of the text's type table, so they are as wide.
        of_text = name == "regions_uniter" and model.text_tower in OF_FAMILIES
        width = model.text_width if of_text else model.width
        return Tower(region_input(REGION_FORMS[name], model, given, width, dropout=model.dropout))
    more = {"positions": "sincos", "epsilon": model.norm_epsilon, "modality": 1, "dropout": model.dropout}
    if name in TOWERS:
        return Tower(ImageInput(size=given.image_size, width=model.width, **TOWERS[name], **IMAGENET, **more))
    tokens = "conv" if name == "conv" else "patch"
    image = ImageInput(
        tokens, given.image_size, model.width, model.patch_size, channels=model.conv_channels, **more
    )  # fmt: skip
    return Tower(image, _own_layers(model, IMAGE) if name == "transformer" else None)


def is_foreign(tower: Tower) -> bool:
    """Whether it is as another family has it: its tokens are not yet told apart by modality."""
    return isinstance(tower.input, RegionInput) or tower.input.modality is None


def own_block(model: Any) -> BlockSpec:
    """Layers of our own, in towers and fusion."""
    return BlockSpec(
        model.heads, model.mlp_width, model.norm, model.norm_epsilon, model.activation, model.dropout,
        model.attention_dropout,
    )  # fmt: skip


def _of_family(model: Any, given: Given, stream: str) -> Tower:
    """The tower as its family has it, of the sizes chosen here, which families of two towers name by the stream."""
    family = OF_FAMILIES[model[f"{stream}_tower"]]
    sizes = {key: model[f"{stream}_{key}"] for key in ("width", "layers", "heads", "mlp_width")}
    sizes |= {"dropout": model.dropout, "attention_dropout": model.attention_dropout}
    named = {f"{stream}_{key}": value for key, value in sizes.items()}
    chosen = sizes | named | {"patch_size": model.patch_size}
    base = family.SIZES["base"]
    return family.tower(ConfigDict(base | {key: value for key, value in chosen.items() if key in base}), given)


def _own_layers(model: Any, stream: str) -> Stage:
    return Stage(f"{stream}_layers", (stream,), (own_block(model),), (SELF, MLP), model[f"{stream}_layers"])

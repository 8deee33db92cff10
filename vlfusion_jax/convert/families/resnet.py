"""ResNet as Hugging Face's `transformers` stores it."""

from typing import Any

from vlfusion_jax.convert.name_map import CONV, Entry, NameMap, linear
from vlfusion_jax.core import names
from vlfusion_jax.models.families.given import Given

MODEL_TYPE = "resnet"
HEADS = {"ResNetModel": (), "ResNetForImageClassification": (names.VQA,)}
REQUIRED = {
    "layer_type": "bottleneck",
    "hidden_act": "relu",
    "num_channels": 3,
    "downsample_in_first_stage": False,
    "downsample_in_bottleneck": False,
}
# Theirs, ours.
_NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "variance"}


def hyperparameters(config: dict[str, Any]) -> dict[str, Any]:
    """Our hyperparameters from their `config.json`."""
    channels = (config.get("embedding_size", 64), *config.get("hidden_sizes", (256, 512, 1024, 2048)))
    return {"channels": channels, "depths": tuple(config.get("depths", (3, 4, 6, 3)))}


def given(config: dict[str, Any], answers: int) -> Given:
    """Sizes: any image will do."""
    side = config.get("image_size", 224)
    return Given(vocab=1, answers=answers, text_length=1, image_size=(side, side))


def config_of(model: Any, sizes: Given, architecture: str) -> dict[str, Any]:
    """Their `config.json` from our hyperparameters."""
    del sizes, architecture
    stem, *stages = model.channels
    return REQUIRED | {"embedding_size": stem, "hidden_sizes": stages, "depths": list(model.depths)}


def name_map(model: Any, sizes: Given, architecture: str) -> NameMap:
    """Keys of `architecture` beside our parameters."""
    base = "" if architecture == "ResNetModel" else "resnet."
    ours = "image/grid_tokens/resnet"
    entries = _convolution(f"{base}embedder.embedder", f"{ours}/stem")
    for stage, depth in enumerate(model.depths):
        for i in range(depth):
            block, theirs = f"{ours}/stage_{stage}_block_{i}", f"{base}encoder.stages.{stage}.layers.{i}"
            for conv in range(3):
                entries += _convolution(f"{theirs}.layer.{conv}", f"{block}/conv_{conv}")
            if not i and (stage or model.channels[0] != model.channels[1]):
                entries += _convolution(f"{theirs}.shortcut", f"{block}/shortcut")
    if architecture != "ResNetModel":
        entries += linear("classifier.1", "head_vqa/classes", size=sizes.answers)
    return NameMap(tuple(entries), {}, {r"\.num_batches_tracked$": "a count of training batches"})


def _convolution(theirs: str, ours: str) -> list[Entry]:
    norms = [Entry(f"{theirs}.normalization.{one}", f"{ours}/{other}") for one, other in _NORM.items()]
    return [Entry(f"{theirs}.convolution.weight", f"{ours}/kernel", CONV), *norms]

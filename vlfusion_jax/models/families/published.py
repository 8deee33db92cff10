"""What is published of the families: the sizes they were built for, and their numbers of parameters."""

from dataclasses import dataclass

from vlfusion_jax.core import names
from vlfusion_jax.models.families.given import Given


@dataclass(frozen=True)
class Published:
    """A family in one size as it was published.

    Attributes:
      given: vocabulary, answers, text and image.
      heads: that are counted.
      parameters: how many.
      source: of that number.
    """

    given: Given
    heads: tuple[str, ...]
    parameters: float
    source: str


_BERT, _CASED, _ROBERTA = 30522, 28996, 50265
_ANSWERS = 3129  # of VQAv2
_TRANSFORMERS = "transformers 5.23, "

PUBLISHED = {
    ("vilt", "base"): Published(
        Given(_BERT, _ANSWERS, 40, (384, 384)), (), 111.60e6, _TRANSFORMERS + "ViltModel; Kim et al. 2021"
    ),
    ("visualbert", "base"): Published(
        Given(_BERT, _ANSWERS, 20, (224, 224)), (), 110.27e6, _TRANSFORMERS + "VisualBertModel"
    ),
    ("uniter", "base"): Published(
        Given(_CASED, _ANSWERS, 60, (224, 224)), (), 110e6, "Chen et al. 2020, of BERT-base"
    ),
    ("lxmert", "base"): Published(Given(_BERT, 9500, 20, (224, 224)), (), 207.94e6, _TRANSFORMERS + "LxmertModel"),
    ("bridgetower", "base"): Published(
        Given(_ROBERTA, _ANSWERS, 50, (288, 288)), (), 326.35e6, _TRANSFORMERS + "BridgeTowerModel"
    ),
    ("blip", "base"): Published(
        Given(30524, _ANSWERS, 20, (384, 384)), (names.CAPTION,), 223.97e6,
        _TRANSFORMERS + "BlipForConditionalGeneration",
    ),
    ("albef", "base"): Published(
        Given(_BERT, _ANSWERS, 25, (256, 256)), (), 210e6, "about so many, Li et al. 2021"
    ),
    ("clip", "base"): Published(
        Given(49408, _ANSWERS, 77, (224, 224)), (names.CONTRASTIVE,), 151.28e6, _TRANSFORMERS + "CLIPModel"
    ),
    ("siglip", "base"): Published(
        Given(32000, _ANSWERS, 64, (224, 224)), (names.CONTRASTIVE,), 203.16e6, _TRANSFORMERS + "SiglipModel"
    ),
    ("bert", "base"): Published(Given(_BERT, 1, 128, (224, 224)), (), 109.48e6, _TRANSFORMERS + "BertModel"),
    ("roberta", "base"): Published(
        Given(_ROBERTA, 1, 128, (224, 224)), (), 124.65e6, _TRANSFORMERS + "RobertaModel"
    ),
    ("vit", "base"): Published(Given(_BERT, 1, 1, (224, 224)), (), 86.39e6, _TRANSFORMERS + "ViTModel"),
    ("resnet", "base"): Published(Given(_BERT, 1, 1, (224, 224)), (), 23.51e6, _TRANSFORMERS + "ResNetModel"),
}  # fmt: skip

_OTHERS = {
    "vilbert": Given(_BERT, _ANSWERS, 23, (224, 224)),
    "meter": Given(_ROBERTA, _ANSWERS, 50, (288, 288)),
}


def usual_sizes(family: str, size: str) -> Given:
    """Vocabulary, answers, text and image that a family is usually built for; BERT's and 224 pixels where none are."""
    for key in ((family, size), (family, "base")):
        if key in PUBLISHED:
            return PUBLISHED[key].given
    return _OTHERS.get(family, Given(_BERT, _ANSWERS, 20, (240, 240)))

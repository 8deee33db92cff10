"""What a model reads an image as: patches of its pixels, or the regions that a detector found."""

from typing import Any


def patch_side(model: Any) -> int:
    """Pixels along each side of the patches that a model of `config.model` reads images as; 0 = it reads none."""
    tower = _tower(model)
    if tower.startswith("regions"):
        return model.region_patch
    return model.get("patch_size", 0) if tower in ("patch", "transformer", "vit", "clip_vit") else 0


def reads_regions(model: Any) -> bool:
    """Whether a model of `config.model` reads the regions of a detector, and so no pixels."""
    return _tower(model).startswith("regions") and not model.region_patch


def _tower(model: Any) -> str:
    return model.get("image_tower", model.get("image_tokens", "regions" if "region_patch" in model else "patch"))

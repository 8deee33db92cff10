"""A model that was read, with its images as its own processor reads them, or for images and texts of other sizes."""

from dataclasses import replace
from typing import Any

from ml_collections import ConfigDict

from vlfusion_jax.convert.hugging_face import CONVERTERS, Imported
from vlfusion_jax.convert.images import pixel_statistics, reading_of
from vlfusion_jax.convert.source import Checkpoint
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.families.table import FAMILIES, check_model
from vlfusion_jax.models.parameters import param_shapes
from vlfusion_jax.models.spec.inputs import ImageInput, TextInput
from vlfusion_jax.ops.interpolate import bicubic_grid

_SHORTEST_TEXT = 2  # tokens: the first and the last


def with_images(imported: Imported, checkpoint: Checkpoint) -> Imported:
    """`imported` with the pixels, the canvas and the report that `preprocessor_config.json` asks for.

    Args:
      imported: read from `checkpoint`.
      checkpoint: see `source.open_checkpoint`.

    Raises:
      UserError: the file has values that make no sense.
    """
    family, processor = imported.family, checkpoint.processor
    model = _changed(imported.model, pixel_statistics(processor, family))
    build = FAMILIES[family].spec
    images = reading_of(processor, family, model, build(model, imported.sizes))
    converter = CONVERTERS.get(family)
    shorter_side = images.canvas.shorter_side if images and images.canvas.resize == "shorter" else 0
    if shorter_side and hasattr(converter, "patches_kept"):
        kept = converter.patches_kept(checkpoint.config, shorter_side)
        model = _changed(model, {"max_image_tokens": max(kept, model.max_image_tokens)})
    if images:
        sizes = replace(imported.sizes, image_size=images.canvas.size, shorter_side=shorter_side)
    else:
        sizes = imported.sizes
    return replace(imported, model=model, sizes=sizes, spec=build(model, sizes), images=images)


def resized(imported: Imported, image_size: tuple[int, int] | None = None, text_length: int = 0) -> Imported:
    """`imported` for images of another size, and for shorter texts.

    The positions of the image's cells are interpolated as `ops.interpolate.bicubic_grid` does it, the class token's
    stays; of the text's the first are kept. The account lists both.

    Args:
      imported: its arrays are kept, but for those that change.
      image_size: height and width in pixels; None = as it is.
      text_length: most tokens of a text; 0 = as it is.

    Raises:
      UserError: the family has no such table, or the size does not fit it.
    """
    model, sizes, images, params = imported.model, imported.sizes, imported.images, dict(imported.params)
    account = replace(imported.account, resized=dict(imported.account.resized))
    if text_length:
        model = _changed(model, {"text_positions": _text_rows(imported, text_length)})
        sizes = replace(sizes, text_length=text_length)
    if image_size:
        image = _gridded(imported, image_size)
        sizes = replace(sizes, image_size=image_size)
        images = images and images.at(image_size)
    spec = FAMILIES[imported.family].spec(model, sizes)
    if image_size:
        path, cells = f"{image.stream}/grid/positions/table", spec.input(image.stream).cells
        width = params[path].shape[1]
        table = bicubic_grid(params[path].reshape(*image.cells, width), cells).reshape(-1, width)
        account.resized[path] = (params[path].shape, table.shape)
        params[path] = table
    shapes = param_shapes(spec, imported.heads)
    for path in [path for path, array in params.items() if array.shape != shapes[path]]:
        account.resized[path] = (params[path].shape, shapes[path])
        params[path] = params[path][: shapes[path][0]]
    return replace(imported, model=model, sizes=sizes, spec=spec, params=params, account=account, images=images)


def _changed(model: ConfigDict, changes: dict[str, Any]) -> ConfigDict:
    model = ConfigDict(model.to_dict() | changes).lock()
    check_model(model)
    return model


def _text_rows(imported: Imported, length: int) -> int:
    """Rows of the text's position table for texts of `length` tokens."""
    texts = [each for each in imported.spec.inputs if isinstance(each, TextInput)]
    if not texts or "text_positions" not in imported.model:
        raise UserError(f"--text_length: a {imported.family} has no position table of its text; leave it out.")
    offset, room = texts[0].position_offset, min(each.room for each in texts)
    if not _SHORTEST_TEXT <= length <= room:
        raise UserError(
            f"--text_length={length}: the position table of this {imported.family} has room for {room} tokens, and is "
            f"cut only: there is no published rule to extend it. Give {_SHORTEST_TEXT} to {room}."
        )
    return length + offset


def _gridded(imported: Imported, size: tuple[int, int]) -> ImageInput:
    """The image input whose cells have positions of their own, if it takes images of `size`."""
    image = next((each for each in imported.spec.inputs if isinstance(each, ImageInput)), None)
    if image is None or image.positions in ("none", "interpolated"):
        why = "stretches one over each image as it is" if image and image.positions != "none" else "has none"
        raise UserError(
            f"--image_size: a position table for the cells of its images is what it resizes, and a {imported.family} "
            f"{why}; leave it out" + ("." if image is None else ", and set data.image_size of a run instead.")
        )
    if min(size) < image.patch or any(side % image.patch for side in size):
        raise UserError(
            f"--image_size={size[0]},{size[1]}: both sides must be multiples of {image.patch}, the side of a patch of "
            f"this {imported.family}."
        )
    return image

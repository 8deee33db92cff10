"""Decoding, fitting to the canvas, and augmentation, against pixels worked out by hand."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.images import Canvas, augment, decode_image, names_sides, place, scale, scale_and_origin


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def test_png_pixels_survive():
    pixels = np.random.default_rng(0).integers(256, size=(5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(pixels)), "x"), pixels)


def test_grey_becomes_rgb():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(grey)), "x"), grey[..., None].repeat(3, -1))


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_high_byte(format, dtype):
    grey = np.array([[0, 255, 256], [0x7FFF, 0x8000, 0xFFFF]], dtype)
    expected = np.array([[0, 0, 1], [127, 128, 255]], np.uint8)[..., None].repeat(3, -1)
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(grey), format), "x"), expected)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_of_unknown_range_are_refused(dtype):
    data = encoded(Image.fromarray(np.ones((2, 3), dtype)), "TIFF")
    with pytest.raises(UserError, match=r"image 'scan.tif' has 32-bit pixels.*convert it to 8 bits"):
        decode_image(data, "scan.tif")


def test_transparency_is_laid_on_white():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 200
    rgba[0, :, 3] = (0, 255, 51)  # 51 / 255 = 0.2
    np.testing.assert_array_equal(
        decode_image(encoded(Image.fromarray(rgba)), "x")[0], [[255, 255, 255], [200, 0, 0], [244, 204, 204]]
    )
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    np.testing.assert_array_equal(
        decode_image(encoded(palette, transparency=0), "x")[0], [[255, 255, 255], [40, 50, 60]]
    )


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda p: p),
        (2, np.fliplr),
        (3, lambda p: np.rot90(p, 2)),
        (4, np.flipud),
        (5, lambda p: p.swapaxes(0, 1)),
        (6, lambda p: np.rot90(p, -1)),
        (7, lambda p: np.rot90(p, 2).swapaxes(0, 1)),
        (8, np.rot90),
        (9, lambda p: p),
    ],
)
def test_orientation_tag_is_followed(orientation, upright):
    pixels = np.random.default_rng(0).integers(256, size=(2, 3, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(pixels), exif=exif)
    np.testing.assert_array_equal(decode_image(data, "x"), upright(pixels))


def test_damaged_exif_is_ignored():
    pixels = np.random.default_rng(0).integers(256, size=(2, 3, 3), dtype=np.uint8)

    def decoded(exif: bytes) -> np.ndarray:
        return decode_image(encoded(Image.fromarray(pixels), exif=b"Exif\0\0" + exif), "x")

    np.testing.assert_array_equal(decoded(b"no TIFF header"), pixels)
    orientation, text_for_a_width = struct.pack("<HHII", 0x0112, 3, 1, 6), struct.pack("<HHI4s", 0x0100, 2, 4, b"abc")
    header = struct.pack("<2sHIH", b"II", 42, 8, 2)
    np.testing.assert_array_equal(decoded(header + orientation + text_for_a_width + bytes(4)), np.rot90(pixels, -1))


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"text" * 50, lambda b: b[:8]])
def test_damaged_image_is_named(damage, png):
    with pytest.raises(UserError, match=r"image 'folder/cat.png' cannot be decoded"):
        decode_image(damage(png(20, 20)), "folder/cat.png")


def test_flipped_byte_in_the_pixels_is_noticed(png):
    data = bytearray(png(20, 20))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(UserError, match=r"cat.png"):
        decode_image(bytes(data), "cat.png")


@pytest.mark.parametrize(
    ("size", "canvas", "expected"),
    [
        ((8, 8), (8, 8), (8, 8)),
        ((8, 4), (8, 8), (8, 4)),
        ((4, 8), (12, 8), (4, 8)),
        ((4, 2), (8, 8), (8, 4)),
        ((64, 16), (8, 8), (8, 2)),
        ((16, 64), (8, 32), (8, 32)),
        ((1, 100), (8, 8), (1, 8)),
    ],
)
def test_fit_keeps_the_aspect_and_marks_padding(size, canvas, expected):
    image = np.full((*size, 3), 77, np.uint8)
    pixels, mask = place(image, Canvas(canvas))
    assert pixels.shape == (*canvas, 3)
    assert (pixels.dtype, mask.dtype) == (np.uint8, np.uint8)
    real = np.zeros(canvas, np.uint8)
    real[: expected[0], : expected[1]] = 1
    np.testing.assert_array_equal(mask, real)
    np.testing.assert_array_equal(pixels, 77 * real[..., None].repeat(3, -1))


def test_what_fits_is_not_resampled():
    image = np.random.default_rng(0).integers(256, size=(8, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(place(image, Canvas((8, 9)))[0][:, :5], image)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((384, 480), (384, 480)),
        ((480, 640), (384, 512)),
        ((640, 480), (512, 384)),
        ((100, 400), (160 // 32 * 32, 639 // 32 * 32)),
        ((3, 3000), (32, 608)),
        ((500, 375), (512, 384)),
    ],
)
def test_by_the_shorter_side(size, expected):
    canvas = Canvas((608, 608), "shorter", 384, 32)
    assert scale(np.zeros((*size, 3), np.uint8), canvas).shape[:2] == expected


@pytest.mark.parametrize("size", [(30, 50), (50, 30), (24, 16), (7, 5)])
def test_stretched_and_cropped_fill_the_canvas(size):
    image = np.random.default_rng(0).integers(256, size=(*size, 3), dtype=np.uint8)
    for resize in ("stretch", "crop"):
        pixels, mask = place(image, Canvas((24, 16), resize))
        assert pixels.shape == (24, 16, 3)
        assert mask.all()
    # Twice as large in both directions: the middle rows and columns are kept.
    doubled = Image.fromarray(image).resize((size[1] * 2, size[0] * 2), Image.Resampling.BICUBIC)
    half = scale(image, Canvas((size[0] * 2, size[1]), "crop"))
    left = (size[1] * 2 - size[1]) // 2
    np.testing.assert_array_equal(half, np.asarray(doubled)[:, left : left + size[1]])


def test_flip_is_a_mirror_half_of_the_time():
    image = np.random.default_rng(0).integers(256, size=(4, 6, 3), dtype=np.uint8)
    rng = np.random.default_rng(1)
    results = [augment(image, rng, flip=True, shift=0) for _ in range(1000)]
    mirrored = [np.array_equal(result, image[:, ::-1]) for result in results]
    assert all(m or np.array_equal(result, image) for m, result in zip(mirrored, results, strict=True))
    assert 420 < sum(mirrored) < 580  # five standard deviations
    np.testing.assert_array_equal(augment(image, rng, flip=False, shift=0), image)


def test_shift_moves_by_every_offset_and_repeats_the_edge():
    image = np.random.default_rng(0).integers(256, size=(6, 6, 3), dtype=np.uint8)
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(400):
        moved = augment(image, rng, flip=False, shift=2)
        (offset,) = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if np.array_equal(moved, image[np.clip(np.arange(6) + dy, 0, 5)][:, np.clip(np.arange(6) + dx, 0, 5)])
        ]
        seen.add(offset)
    assert len(seen) == 25


@pytest.mark.parametrize(
    "text",
    ["on the Left?", "right", "leftmost", "Rightwards arrow", "left-hand", "top_left", "clockwise", "counterclockwise",
     "counter-clockwise", "Anticlockwise arrows"],
)  # fmt: skip
def test_sides_are_words(text):
    assert names_sides(["a cat", text])


def test_other_words_are_no_sides():
    assert not names_sides(["bright", "copyright", "cleft", "clock", "wise", "top"])


@pytest.mark.parametrize("resize", ["fit", "shorter", "stretch", "crop", "side_crop", "shorter_crop"])
@pytest.mark.parametrize("shape", [(120, 200), (210, 90)])
def test_a_spot_of_the_canvas_is_found_in_the_image(resize, shape):
    canvas = Canvas((64, 80), resize, shorter_side=72 if resize == "side_crop" else 48, multiple=16)
    image = np.zeros((*shape, 3), np.uint8)
    centre = np.array(shape) / 2 + (9, -6)
    top, left = (centre - 4).astype(int)
    image[top : top + 8, left : left + 8] = 255
    weights = place(image, canvas)[0][..., 0].astype(float)
    rows, columns = (np.arange(side) + 0.5 for side in weights.shape)
    seen = np.array([weights.sum(1) @ rows, weights.sum(0) @ columns]) / weights.sum()
    factor, origin = scale_and_origin(*shape, canvas)
    np.testing.assert_allclose((seen + origin) * factor, centre, atol=0.6)

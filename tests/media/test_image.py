"""Pictures decoded in this process: what comes out is a matter of the library alone."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from app.domain.media import Resize
from app.errors import CorruptMedia, MediaTooLarge, UnsupportedMedia
from app.media.image import decode_image, place
from tests.media.samples import (
    BLUE,
    GREEN,
    GREY,
    QUADRANTS,
    RED,
    corners,
    encoded,
    image_task,
    photo,
    picture,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


def decoded(data: bytes, **task: object) -> NDArray[np.uint8]:
    image, _, _ = decode_image(bytearray(data), image_task(data, **task))
    assert image.mode == "RGB"
    return np.asarray(image)


def assert_close(pixels: NDArray[np.uint8], colours: object, tolerance: int = 14) -> None:
    assert np.allclose(corners(pixels), np.asarray(colours), atol=tolerance), corners(pixels)


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("PNG", {}),
        ("WEBP", {"quality": 95}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
        ("AVIF", {"quality": 95}),
    ],
)
def test_every_format_decodes_to_rgb(image_format: str, options: dict[str, object]) -> None:
    assert_close(decoded(encoded(picture(), image_format, **options)), QUADRANTS)


def test_the_first_frame_of_an_animation_counts() -> None:
    rest = [Image.new("RGB", (64, 64), BLUE)] * 3
    for image_format in ("GIF", "WEBP", "PNG", "AVIF", "TIFF"):
        data = encoded(picture(), image_format, save_all=True, append_images=rest)
        assert_close(decoded(data), QUADRANTS)


UPRIGHT = [RED, GREEN, BLUE, GREY]


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, image_format: str) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = picture(96, 64)
    if orientation in undo:
        stored = stored.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, image_format, exif=exif.tobytes())
    image, width, height = decode_image(bytearray(data), image_task(data))
    assert_close(np.asarray(image), UPRIGHT)
    assert (width, height) == (96, 64)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_exif_block_is_ignored() -> None:
    data = encoded(picture(), "JPEG", quality=95, exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert_close(decoded(data), QUADRANTS)


def test_transparency_shows_white() -> None:
    clear = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    half = Image.new("RGBA", (64, 64), (0, 0, 0, 128))
    for image_format in ("PNG", "WEBP", "AVIF", "TIFF"):
        assert_close(decoded(encoded(clear, image_format)), [(255, 255, 255)] * 4, 2)
        assert_close(decoded(encoded(half, image_format)), [(127, 127, 127)] * 4, 3)
    palette = Image.new("P", (64, 64), 0)
    palette.putpalette([200, 0, 0, 0, 200, 0])
    assert_close(decoded(encoded(palette, "GIF", transparency=0)), [(255, 255, 255)] * 4, 0)
    assert_close(decoded(encoded(palette, "PNG", transparency=1)), [(200, 0, 0)] * 4, 0)
    grey = Image.new("LA", (64, 64), (0, 0))
    assert_close(decoded(encoded(grey, "PNG")), [(255, 255, 255)] * 4, 0)
    rgb = Image.new("RGB", (64, 64), RED)
    assert_close(decoded(encoded(rgb, "PNG", transparency=RED)), [(255, 255, 255)] * 4, 0)


def test_other_pixel_formats() -> None:
    cmyk = picture().convert("CMYK")
    assert_close(decoded(encoded(cmyk, "JPEG", quality=95)), QUADRANTS)
    assert_close(decoded(encoded(cmyk, "TIFF")), QUADRANTS)
    assert_close(decoded(encoded(picture().convert("P"), "PNG")), QUADRANTS, 40)
    assert_close(decoded(encoded(picture().convert("YCbCr"), "TIFF")), QUADRANTS)
    grey = [(x, x, x) for x in (87, 131, 56, 128)]
    assert_close(decoded(encoded(picture().convert("L"), "JPEG", quality=95)), grey)
    black_and_white = Image.new("1", (64, 64), 1)
    assert_close(decoded(encoded(black_and_white, "PNG")), [(255, 255, 255)] * 4, 0)


def test_sixteen_bits_are_scaled_down() -> None:
    ramp = (np.asarray(picture().convert("L")).astype(np.uint16)) * 257
    grey = [(x, x, x) for x in (87, 131, 56, 128)]
    for image_format in ("PNG", "TIFF"):
        assert_close(decoded(encoded(Image.fromarray(ramp), image_format)), grey, 2)


def test_32_bit_grey_is_stretched_over_its_range() -> None:
    halves = np.zeros((64, 64), np.float32)
    halves[:, 32:] = 3.5
    ends = [(0, 0, 0), (255, 255, 255)] * 2
    assert_close(decoded(encoded(Image.fromarray(halves), "TIFF")), ends, 1)
    assert_close(decoded(encoded(Image.fromarray(halves.astype(np.int32)), "TIFF")), ends, 1)
    flat = Image.fromarray(np.full((64, 64), 9.0, np.float32))
    assert decoded(encoded(flat, "TIFF")).shape == (32, 32, 3)


@pytest.mark.parametrize("width_height", [(640, 480), (480, 640), (1200, 250), (97, 1031)])
@pytest.mark.parametrize("resize", list(Resize))
def test_resizing_matches_the_plain_way(width_height: tuple[int, int], resize: Resize) -> None:
    """Shrinking while decoding and by whole factors first must not be visible."""
    original = photo(*width_height)
    data = encoded(original, "PNG")
    size = 64
    width, height = width_height
    if resize is Resize.SQUASH:
        plain = original.resize((size, size), Image.Resampling.BICUBIC)
    elif resize is Resize.CROP:
        scale = size / min(width, height)
        whole = original.resize((int(width * scale), int(height * scale)), Image.Resampling.BICUBIC)
        left, top = round((whole.width - size) / 2), round((whole.height - size) / 2)
        plain = whole.crop((left, top, left + size, top + size))
    else:
        scale = size / max(width, height)
        whole = original.resize(
            (round(width * scale), round(height * scale)), Image.Resampling.BICUBIC
        )
        plain = Image.new("RGB", (size, size), (7, 7, 7))
        plain.paste(whole, ((size - whole.width) // 2, (size - whole.height) // 2))
    ours = decoded(data, size=size, resize=resize, fill=7).astype(int)
    difference = np.abs(ours - np.asarray(plain).astype(int))
    assert difference.mean() < 4, difference.mean()


def test_a_jpeg_shrunk_while_decoding_looks_the_same() -> None:
    original = photo(1600, 1200)
    lossless, jpeg = encoded(original, "PNG"), encoded(original, "JPEG", quality=95)
    difference = np.abs(
        decoded(jpeg, size=224).astype(int) - decoded(lossless, size=224).astype(int)
    )
    assert difference.mean() < 1.5


def test_small_pictures_are_enlarged() -> None:
    assert decoded(encoded(picture(2, 2), "PNG"), size=224).shape == (224, 224, 3)
    assert decoded(encoded(Image.new("RGB", (1, 1), RED), "PNG"))[16, 16].tolist() == list(RED)
    for resize in Resize:
        line = encoded(Image.new("RGB", (3000, 1), RED), "PNG")
        assert decoded(line, resize=resize).shape == (32, 32, 3)


def test_place_keeps_the_middle() -> None:
    geometry = place((300, 100), 50, Resize.CROP)
    assert geometry.box == pytest.approx((100.0, 0.0, 200.0, 100.0))
    assert geometry.size == (50, 50)
    assert place((300, 100), 50, Resize.PAD).size == (50, 17)


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is large and has next to no data."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


@pytest.mark.parametrize("size", [(100_000, 100_000), (2_000_000, 26), (7072, 7072)])
def test_too_many_pixels_are_refused_by_the_header(size: tuple[int, int]) -> None:
    with pytest.raises(MediaTooLarge):
        decoded(png_header(*size))


def test_exactly_the_limit_is_taken() -> None:
    data = encoded(picture(100, 50), "PNG")
    assert decoded(data, max_pixels=5000).shape == (32, 32, 3)
    with pytest.raises(MediaTooLarge):
        decoded(data, max_pixels=4999)


def test_a_gif_with_a_frame_larger_than_its_screen() -> None:
    data = bytearray(encoded(picture(), "GIF"))
    at = data.index(b"\x2c")
    data[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    with pytest.raises((MediaTooLarge, CorruptMedia, OSError, ValueError)):
        decoded(bytes(data))


def test_a_format_outside_the_list_is_not_opened() -> None:
    buffer = io.BytesIO()
    picture().save(buffer, "PPM")
    task = image_task(encoded(picture(), "PNG"), decoder="PPM")
    with pytest.raises(UnsupportedMedia):
        decode_image(bytearray(buffer.getvalue()), task)


def test_one_plugin_sees_the_bytes() -> None:
    """What sniffing took for PNG is not opened as anything else."""
    task = image_task(encoded(picture(), "PNG"), decoder="PNG")
    with pytest.raises(CorruptMedia):
        decode_image(bytearray(encoded(picture(), "JPEG")), task)

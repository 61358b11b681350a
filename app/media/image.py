"""Pictures of any format to the pixels a model takes. Runs in a decoder process."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from app.domain.media import Interpolation, Resize
from app.errors import CorruptMedia, MediaTooLarge, UnsupportedMedia

if TYPE_CHECKING:
    from app.media.wire import ImageTask

FORMATS: Final = {
    plugin.format
    for plugin in (
        AvifImagePlugin.AvifImageFile,
        BmpImagePlugin.BmpImageFile,
        GifImagePlugin.GifImageFile,
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        TiffImagePlugin.TiffImageFile,
        WebPImagePlugin.WebPImageFile,
    )
}
_FILTERS: Final = {
    Interpolation.BICUBIC: Image.Resampling.BICUBIC,
    Interpolation.BILINEAR: Image.Resampling.BILINEAR,
}
# Pillow first shrinks by whole factors and then filters; from 3 on the eye sees no difference.
_REDUCING_GAP: Final = 3.0
# JPEG is decoded at a fraction that leaves at least this many times the pixels asked for.
_DRAFT: Final = 2
_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED: Final = frozenset({5, 6, 7, 8})

Image.MAX_IMAGE_PIXELS = None  # our own limit is lower, and an error instead of a warning
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # as many pictures at once as there are processes


@dataclass(frozen=True, slots=True)
class Geometry:
    """`box` (left, top, right, bottom) of the source is scaled to `size` (width, height)."""

    box: tuple[float, float, float, float]
    size: tuple[int, int]


def decode_image(data: bytearray, task: ImageTask) -> tuple[Image.Image, int, int]:
    """Return the picture as RGB of `size` x `size`, and the original's width and height.

    Raises MediaTooLarge before decoding when the header says more than `max_pixels`, CorruptMedia
    when the file ends early or makes no sense.
    """
    with _open(data, task.decoder) as source:
        width, height = source.size
        if width * height > task.max_pixels:
            raise MediaTooLarge(
                f"{width} x {height} pixels; at most {task.max_pixels} pixels are taken"
            )
        _draft(source, task)
        source.load()
        orientation = _orientation(source)
        square = _fit(_plain(source), task)
    if orientation in _UPRIGHT:
        square = square.transpose(_UPRIGHT[orientation])
    if orientation in _TURNED:
        width, height = height, width
    return square, width, height


def _open(data: bytearray, decoder: str) -> Image.Image:
    if decoder not in FORMATS:
        raise UnsupportedMedia(f"{decoder} is no image format that is taken")
    try:
        return Image.open(io.BytesIO(data), formats=(decoder,))
    except UnidentifiedImageError:
        raise CorruptMedia(f"the file starts as {decoder} and cannot be read as one") from None


def _draft(source: Image.Image, task: ImageTask) -> None:
    """Let the JPEG decoder shrink by 2, 4 or 8: it skips most of the work."""
    width, height = source.size
    side = max(width, height) if task.resize is Resize.PAD else min(width, height)
    if source.format in {"JPEG", "MPO"} and side > task.size * _DRAFT:
        scale = task.size * _DRAFT / side
        source.draft(None, (math.ceil(width * scale), math.ceil(height * scale)))


def _orientation(source: Image.Image) -> int:
    """Return the EXIF orientation, 1 when there is none or the tag block is broken."""
    try:
        return int(source.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - a broken tag block raises anything, and is no reason to refuse
        return 1


def _plain(source: Image.Image) -> Image.Image:
    """Bring any pixel format to RGB, or to RGBA where something shows through."""
    if source.has_transparency_data:
        return source.convert("RGBA")
    match source.mode:
        case "RGB":
            return source
        case "I" | "F":  # 32-bit grey without a scale of its own: the full range becomes 0 to 255
            low, high = cast("tuple[float, float]", source.getextrema())
            scale = 255 / ((high - low) or 1)
            grey = source.point(lambda x: x * scale - low * scale)
            return grey.convert("L").convert("RGB")
        case mode if mode.startswith("I;16"):
            return source.convert("I").point(lambda x: x * (1 / 257)).convert("L").convert("RGB")
        case _:
            return source.convert("RGB")


def _fit(source: Image.Image, task: ImageTask) -> Image.Image:
    geometry = place(source.size, task.size, task.resize)
    small = source.resize(
        geometry.size,
        _FILTERS[task.interpolation],
        box=geometry.box,
        reducing_gap=_REDUCING_GAP,
    )
    if small.mode == "RGBA":
        white = Image.new("RGBA", small.size, (255, 255, 255, 255))
        small = Image.alpha_composite(white, small).convert("RGB")
    if small.size == (task.size, task.size):
        return small
    square = Image.new("RGB", (task.size, task.size), (task.fill, task.fill, task.fill))
    square.paste(small, ((task.size - small.width) // 2, (task.size - small.height) // 2))
    return square


def place(source: tuple[int, int], size: int, resize: Resize) -> Geometry:
    """Say which part of a picture of `source` (width, height) is scaled to which size."""
    width, height = source
    whole = (0.0, 0.0, float(width), float(height))
    match resize:
        case Resize.SQUASH:
            return Geometry(whole, (size, size))
        case Resize.PAD:
            scale = size / max(width, height)
            fitted = (max(1, round(width * scale)), max(1, round(height * scale)))
            return Geometry(whole, fitted)
        case Resize.CROP:
            left, right = _middle(width, min(width, height), size)
            top, bottom = _middle(height, min(width, height), size)
            return Geometry((left, top, right, bottom), (size, size))


def _middle(side: int, shorter: int, size: int) -> tuple[float, float]:
    """Return where the middle begins and ends, to the pixel as torchvision's CenterCrop has it."""
    scaled = side * size // shorter
    start = round((scaled - size) / 2)
    return start * side / scaled, (start + size) * side / scaled

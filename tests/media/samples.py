"""Pictures and recordings made on the spot, in every format."""

from __future__ import annotations

import io
import wave
from typing import TYPE_CHECKING

import av
import numpy as np
from PIL import Image

from app.domain.media import Resize
from app.media.decoder_pool import Decoders
from app.media.sniff import sniff
from app.media.wire import AudioTask, ImageTask
from app.settings import MediaSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

RED, GREEN, BLUE, GREY = (220, 30, 30), (30, 200, 40), (30, 40, 210), (128, 128, 128)
QUADRANTS = (RED, GREEN, BLUE, GREY)


def picture(width: int = 64, height: int = 64) -> Image.Image:
    """Four colours: red and green above, blue and grey below."""
    image = Image.new("RGB", (width, height))
    half_width, half_height = width // 2, height // 2
    for index, colour in enumerate(QUADRANTS):
        left, top = (index % 2) * half_width, (index // 2) * half_height
        image.paste(colour, (left, top, left + half_width, top + half_height))
    return image


def photo(width: int, height: int) -> Image.Image:
    """Smooth noise: as much detail as a photograph has."""
    rng = np.random.default_rng(7)
    small = rng.integers(0, 255, (max(2, height // 16), max(2, width // 16), 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def corners(pixels: NDArray[np.uint8]) -> list[tuple[int, ...]]:
    """Return the colours in the middle of the four quadrants."""
    quarter = pixels.shape[0] // 4
    places = ((1, 1), (1, 3), (3, 1), (3, 3))
    return [tuple(int(x) for x in pixels[y * quarter, x * quarter]) for y, x in places]


def image_task(data: bytes, **changes: object) -> ImageTask:
    values: dict[str, object] = {
        "decoder": sniff(data).decoder,
        "size": 32,
        "resize": Resize.CROP,
        "interpolation": "bicubic",
        "fill": 0,
        "max_pixels": 50_000_000,
    }
    return ImageTask(**(values | changes))  # type: ignore[arg-type]


def audio_task(data: bytes, sample_rate: int = 16_000, max_seconds: float = 600.0) -> AudioTask:
    return AudioTask(sniff(data).decoder, sample_rate, max_seconds)


def tone(
    seconds: float = 1.0, rate: int = 16_000, hertz: float = 440.0, channels: int = 1
) -> NDArray[np.float32]:
    """A sine of half the full scale: float32 [channels, n]."""
    t = np.arange(round(seconds * rate)) / rate
    wave_form = (0.5 * np.sin(2 * np.pi * hertz * t)).astype(np.float32)
    return np.tile(wave_form, (channels, 1))


def wav(samples: NDArray[np.float32], rate: int) -> bytes:
    """16-bit PCM, written without FFmpeg."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(samples.shape[0])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples.T * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def recording(
    container: str, codec: str, samples: NDArray[np.float32], rate: int, fmt: str = "fltp"
) -> bytes:
    """Encode with FFmpeg. `fmt` is the sample format that the codec takes."""
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[samples.shape[0]]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, options={"strict": "experimental"})
        stream.codec_context.layout = layout
        stream.codec_context.format = fmt
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", layout)
        frame.sample_rate = rate
        converter = av.AudioResampler(fmt, layout, rate, stream.codec_context.frame_size or None)
        frames = [*converter.resample(frame), *converter.resample(None)]
        for part in frames:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def loudest_hertz(samples: NDArray[np.float32], rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


def decoders(**settings: object) -> Decoders:
    return Decoders(MediaSettings(**settings))  # type: ignore[arg-type]

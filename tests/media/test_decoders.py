"""Decoding in processes: what comes back, what it costs when one dies, and what it cannot do."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import struct
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import psutil
import pytest
from PIL import Image

from app.domain.media import AudioInput, ImageInput
from app.errors import CorruptMedia, MediaError, MediaTooLarge, Unavailable, UnsupportedMedia
from app.media import decoder_pool
from tests.media.samples import (
    QUADRANTS,
    corners,
    encoded,
    loudest_hertz,
    photo,
    picture,
    recording,
    tone,
    wav,
)
from tests.media.samples import decoders as new_decoders
from tests.media.test_image import png_header

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.media.decoder_pool import Decoders

IMAGE = ImageInput(size=32)
AUDIO = AudioInput(sample_rate=16_000)
PICTURE = encoded(picture(96, 64), "PNG")


async def test_a_picture(decoders: Decoders) -> None:
    image = await decoders.image(PICTURE, IMAGE)
    assert image.pixels.shape == (32, 32, 3)
    assert image.pixels.dtype == np.uint8
    assert (image.width, image.height, image.content_type) == (96, 64, "image/png")
    assert np.allclose(corners(image.pixels), QUADRANTS, atol=8)


async def test_a_recording(decoders: Decoders) -> None:
    data = recording("webm", "libopus", tone(2.0, 48_000, 440, 2), 48_000, "flt")
    audio = await decoders.audio(data, AUDIO)
    assert audio.samples.dtype == np.float32
    assert audio.sample_rate == 16_000
    assert (audio.content_type, round(audio.duration, 1)) == ("audio/webm", 2.0)
    assert audio.duration == len(audio.samples) / 16_000
    assert abs(loudest_hertz(audio.samples, 16_000) - 440) < 2


async def test_samples_are_numbers_between_minus_one_and_one(decoders: Decoders) -> None:
    wild = tone(0.5)
    wild[0, 100:104] = [np.nan, np.inf, -np.inf, 9.0]
    samples = (
        await decoders.audio(recording("wav", "pcm_f32le", wild, 16_000, "flt"), AUDIO)
    ).samples
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1


async def test_the_wrong_kind_is_unsupported(decoders: Decoders) -> None:
    with pytest.raises(UnsupportedMedia, match="image/png is not an audio format"):
        await decoders.audio(PICTURE, AUDIO)
    with pytest.raises(UnsupportedMedia):
        await decoders.image(wav(tone(0.1), 16_000), IMAGE)
    with pytest.raises(UnsupportedMedia):
        await decoders.image(b"<svg/>", IMAGE)
    with pytest.raises(UnsupportedMedia):
        await decoders.audio(b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/\n", AUDIO)


async def test_bombs_are_too_large(decoders: Decoders) -> None:
    with pytest.raises(MediaTooLarge):
        await decoders.image(png_header(60_000, 60_000), IMAGE)
    with pytest.raises(MediaTooLarge):
        await decoders.audio(wav(np.zeros((1, 8_000 * 605), np.float32), 8_000), AUDIO)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
async def test_a_truncated_picture_is_corrupt(decoders: Decoders, image_format: str) -> None:
    data = encoded(photo(200, 150), image_format)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(CorruptMedia):
            await decoders.image(data[: int(len(data) * share)], IMAGE)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
async def test_the_largest_picture_fits_into_a_decoder(
    decoders: Decoders, image_format: str
) -> None:
    """50 megapixels, with transparency where the format has it."""
    mode = "RGBA" if image_format in {"PNG", "WEBP", "TIFF", "AVIF"} else "RGB"
    options = {"WEBP": {"method": 0}, "AVIF": {"speed": 10}, "PNG": {"compress_level": 1}}
    plain = Image.new(mode, (7071, 7071), (200, 30, 30, 200)[: len(mode)])
    data = encoded(plain, image_format, **options.get(image_format, {}))
    assert (await decoders.image(data, IMAGE)).width == 7071


def damaged(data: bytes, rng: random.Random) -> bytes:
    body = bytearray(data)
    for _ in range(rng.randint(1, 12)):
        at = rng.randrange(12, len(body))
        match rng.randrange(4):
            case 0:
                body[at] = rng.randrange(256)
            case 1:
                body[at : at + 4] = struct.pack(">I", rng.choice([0, 1, 2**31, 2**32 - 1]))
            case 2:
                del body[at : at + rng.randint(1, 64)]
            case _:
                body[at:at] = rng.randbytes(rng.randint(1, 64))
        if len(body) < 32:
            break
    return bytes(body)


async def test_damaged_files_are_decoded_or_refused(decoders: Decoders) -> None:
    """Nothing but a MediaError comes back, whatever is wrong, and the decoders go on."""
    rng = random.Random(20)
    images = [
        encoded(photo(80, 60), name)
        for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
    ]
    sounds = [
        wav(tone(0.3), 16_000),
        recording("mp3", "libmp3lame", tone(0.3, 48_000), 48_000),
        recording("flac", "flac", tone(0.3), 16_000, "s16"),
        recording("ogg", "libopus", tone(0.3, 48_000), 48_000, "flt"),
        recording("ipod", "aac", tone(0.3, 48_000), 48_000),
        recording("webm", "libopus", tone(0.3, 48_000), 48_000, "flt"),
    ]

    async def attempt(data: bytes) -> str:
        try:
            if data in images or await_image(data):
                await decoders.image(data, IMAGE)
            else:
                await decoders.audio(data, AUDIO)
        except MediaError as error:
            return error.code
        return "decoded"

    def await_image(data: bytes) -> bool:
        return any(data[:3] == image[:3] for image in images)

    files = [damaged(rng.choice(images + sounds), rng) for _ in range(600)]
    outcomes = await asyncio.gather(*(attempt(data) for data in files))
    assert {"decoded", "corrupt_media"} <= set(outcomes)
    assert (await decoders.image(PICTURE, IMAGE)).width == 96


async def test_random_bytes_behind_a_true_beginning(decoders: Decoders) -> None:
    rng = random.Random(21)
    for beginning in (b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\x00", b"MM\x00*"):
        for _ in range(10):
            with pytest.raises((CorruptMedia, MediaTooLarge)):
                await decoders.image(beginning + rng.randbytes(500), IMAGE)
    for beginning in (b"OggS", b"fLaC", b"ID3\x04\x00\x00\x00\x00\x00\x00", b"\xff\xfb\x90\x00"):
        for _ in range(10):
            with pytest.raises((CorruptMedia, UnsupportedMedia, MediaTooLarge)):
                await decoders.audio(beginning + rng.randbytes(500), AUDIO)


async def test_a_decoder_that_is_killed_is_replaced() -> None:
    pool = new_decoders(decode_workers=1)
    try:
        await pool.start()
        (pid,) = pool.pids
        os.kill(pid, signal.SIGSTOP)
        waiting = asyncio.create_task(pool.image(PICTURE, IMAGE))
        await asyncio.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(CorruptMedia, match="crashed"):
            await waiting
        assert (await pool.image(PICTURE, IMAGE)).width == 96
        assert pool.pids != [pid]
    finally:
        await pool.close()


async def test_an_idle_decoder_that_died_costs_nobody_anything() -> None:
    pool = new_decoders(decode_workers=1)
    try:
        await pool.start()
        (pid,) = pool.pids
        os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.1)
        assert (await pool.image(PICTURE, IMAGE)).width == 96
    finally:
        await pool.close()


async def test_a_decoder_that_hangs_is_killed_in_time() -> None:
    pool = new_decoders(decode_workers=2, decode_timeout=0.5)
    try:
        await pool.start()
        stuck = pool.pids
        for pid in stuck:
            os.kill(pid, signal.SIGSTOP)
        started = time.monotonic()
        outcomes = await asyncio.gather(
            *(pool.image(PICTURE, IMAGE) for _ in range(2)), return_exceptions=True
        )
        assert all(isinstance(outcome, CorruptMedia) for outcome in outcomes)
        assert 0.4 < time.monotonic() - started < 5
        await asyncio.sleep(0.1)
        assert not any(psutil.pid_exists(pid) for pid in stuck)
        assert (await pool.image(PICTURE, IMAGE)).width == 96
    finally:
        await pool.close()


async def test_a_cancelled_caller_frees_its_decoder() -> None:
    pool = new_decoders(decode_workers=1)
    try:
        await pool.start()
        (pid,) = pool.pids
        os.kill(pid, signal.SIGSTOP)
        waiting = asyncio.create_task(pool.image(PICTURE, IMAGE))
        queued = asyncio.create_task(pool.image(PICTURE, IMAGE))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await queued).width == 96
        await asyncio.sleep(0.1)
        assert not psutil.pid_exists(pid)
    finally:
        await pool.close()


async def test_decoders_that_cannot_start_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    pool = new_decoders(decode_workers=2)
    with pytest.raises(Unavailable, match="decoder processes do not start"):
        await pool.start()
    await pool.close()


async def test_closing_fails_who_is_waiting() -> None:
    pool = new_decoders(decode_workers=1)
    await pool.start()
    os.kill(pool.pids[0], signal.SIGSTOP)
    waiting = asyncio.create_task(pool.image(PICTURE, IMAGE))
    queued = asyncio.create_task(pool.image(PICTURE, IMAGE))
    await asyncio.sleep(0.05)
    await pool.close()
    for call in (waiting, queued):
        with pytest.raises(Unavailable, match="shutting down"):
            await call
    assert pool.pids == []


async def test_starting_starts_all() -> None:
    pool = new_decoders(decode_workers=3)
    await pool.start()
    assert len(pool.pids) == 3
    await pool.close()


async def test_decoders_start_when_needed_and_end_with_the_pool() -> None:
    pool = new_decoders(decode_workers=3)
    assert pool.pids == []
    await pool.image(PICTURE, IMAGE)
    assert len(pool.pids) == 1
    await asyncio.gather(*(pool.image(PICTURE, IMAGE) for _ in range(20)))
    pids = pool.pids
    assert len(pids) == 3
    await pool.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_a_decoder_is_replaced_after_many_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_pool, "TASKS_PER_WORKER", 3)
    pool = new_decoders(decode_workers=1)
    try:
        seen = set()
        for _ in range(9):
            await pool.image(PICTURE, IMAGE)
            seen.update(pool.pids)
        assert len(seen) == 3
    finally:
        await pool.close()


def log_of(pid: int) -> Path:
    return Path(f"/proc/{pid}/fd/2").readlink()


@pytest.fixture
def open_file() -> Iterator[IO[str]]:
    """A file that the server has open and that its children would inherit."""
    with Path(__file__).open() as file:
        os.set_inheritable(file.fileno(), True)
        yield file


async def test_a_decoder_holds_nothing_of_the_server(
    open_file: IO[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No environment, no file beyond its socket, little memory, and limits on the rest."""
    monkeypatch.setenv("OMNIVEC_S3_SECRET_KEY", "hunter2")
    pool = new_decoders(decode_workers=1)
    try:
        await pool.image(PICTURE, IMAGE)
        process = psutil.Process(pool.pids[0])
        assert set(process.environ()) <= {"PYTHONPATH", "MALLOC_ARENA_MAX", "LC_CTYPE"}
        assert process.open_files() == []
        assert process.net_connections("inet") == []
        assert process.rlimit(psutil.RLIMIT_AS)[0] <= 2 * 2**30
        assert process.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
        assert process.rlimit(psutil.RLIMIT_CPU)[0] < 60
        assert log_of(process.pid) == Path(os.devnull)
        loaded = {Path(part.path).name.partition(".")[0] for part in process.memory_maps()}
        assert loaded & {"_imaging"}
        assert not loaded & {"libtorch", "libtorch_cpu", "_multiarray_umath"}
        assert process.memory_info().rss < 45 * 2**20
    finally:
        await pool.close()


async def test_the_loop_stays_free_while_decoding(decoders: Decoders) -> None:
    data = encoded(photo(3000, 2000), "PNG")
    longest, running = 0.0, True

    async def watch() -> None:
        nonlocal longest
        while running:
            started = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - started)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(decoders.image(data, IMAGE) for _ in range(4)))
    running = False
    await watching
    assert longest < 0.3

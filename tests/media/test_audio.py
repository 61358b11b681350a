"""Recordings decoded in this process."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from app.errors import CorruptMedia, MediaTooLarge, UnsupportedMedia
from app.media.audio import decode_audio
from app.media.wire import AudioTask
from tests.media.samples import audio_task, loudest_hertz, recording, tone, wav

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE = 16_000


def decoded(data: bytes, **task: float) -> NDArray[np.float32]:
    return np.frombuffer(decode_audio(bytearray(data), audio_task(data, **task)), np.float32)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("container", "codec", "fmt"),
    [
        ("wav", "pcm_u8", "u8"),
        ("wav", "pcm_s16le", "s16"),
        ("wav", "pcm_s24le", "s32"),
        ("wav", "pcm_f32le", "flt"),
        ("wav", "pcm_f64le", "dbl"),
        ("mp3", "libmp3lame", "fltp"),
        ("flac", "flac", "s16"),
        ("ogg", "libopus", "flt"),
        ("ipod", "aac", "fltp"),
        ("adts", "aac", "fltp"),
        ("webm", "libopus", "flt"),
        ("aiff", "pcm_s16be", "s16"),
        ("caf", "pcm_s16be", "s16"),
    ],
)
def test_every_format_becomes_mono_at_the_rate_asked_for(
    container: str, codec: str, fmt: str, channels: int, rate: int
) -> None:
    samples = decoded(recording(container, codec, tone(1.0, rate, 440, channels), rate, fmt))
    assert abs(len(samples) / RATE - 1.0) < 0.2
    assert abs(loudest_hertz(samples, RATE) - 440) < 3
    assert 0.4 < np.quantile(np.abs(samples), 0.95) < 0.55


def test_vorbis() -> None:
    data = recording("ogg", "vorbis", tone(1.0, 48_000, 440, 2), 48_000)
    samples = decoded(data)
    assert abs(loudest_hertz(samples, RATE) - 440) < 3


def test_the_end_is_not_lost_in_the_resampler() -> None:
    samples = decoded(wav(tone(1.0, 44_100), 44_100))
    assert abs(len(samples) - RATE) <= 2


def test_channels_are_averaged() -> None:
    left = tone(1.0)
    silent_right = np.concatenate([left, np.zeros_like(left)])
    assert abs(np.abs(decoded(wav(silent_right, RATE))).max() - 0.25) < 0.01
    for channels in (2, 3, 6, 8, 12):
        loudest = np.abs(decoded(wav(tone(0.5, channels=channels), RATE))).max()
        assert abs(loudest - 0.5) < 0.01


def test_surround() -> None:
    data = recording("wav", "pcm_s16le", tone(1.0, 48_000, 440, 6), 48_000, "s16")
    assert abs(np.abs(decoded(data)).max() - 0.5) < 0.02


def test_the_audio_of_a_film_is_taken_and_a_silent_film_has_none() -> None:
    assert len(decoded(film(with_sound=True))) > RATE / 2
    with pytest.raises(UnsupportedMedia):
        decoded(film(with_sound=False))


def film(*, with_sound: bool) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        video = output.add_stream("mpeg4", rate=10)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        sound = output.add_stream("aac", rate=48_000) if with_sound else None
        for _ in range(10):
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
            output.mux(video.encode(picture))
        if sound is not None:
            for start in range(0, 48_000, 1024):
                part = tone(1.0, 48_000, 440, 2)[:, start : start + 1024]
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), "fltp", "stereo")
                frame.sample_rate = 48_000
                output.mux(sound.encode(frame))
            output.mux(sound.encode(None))
        output.mux(video.encode(None))
    return buffer.getvalue()


def test_too_long_by_the_header() -> None:
    data = wav(np.zeros((1, 8_000 * 601), np.float32), 8_000)
    with pytest.raises(MediaTooLarge):
        decoded(data)


def test_too_long_while_decoding() -> None:
    """MP3 names no duration that can be believed."""
    data = recording("mp3", "libmp3lame", np.zeros((1, 8_000 * 20), np.float32), 8_000)
    with pytest.raises(MediaTooLarge):
        decoded(data, max_seconds=10)
    assert abs(len(decoded(data, max_seconds=20)) / RATE - 20) < 0.3


def test_a_header_that_lies_about_the_duration() -> None:
    """A WAV of 20 s that says 1 s holds 1 s; one that says nothing is as long as it is."""
    data = bytearray(wav(tone(20.0, 8_000), 8_000))
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", 16_000)
    assert abs(len(decoded(bytes(data))) / RATE - 1) < 0.01
    data[4:8] = data[at : at + 4] = b"\xff\xff\xff\xff"  # as a recorder writes into a pipe
    assert abs(len(decoded(bytes(data))) / RATE - 20) < 0.01
    with pytest.raises(MediaTooLarge):
        decoded(bytes(data), max_seconds=10)


def test_too_many_channels_and_absurd_rates() -> None:
    with pytest.raises(MediaTooLarge):
        decoded(wav(tone(0.1, channels=17), RATE))
    for rate in (10, 900_000):
        with pytest.raises(MediaTooLarge):
            decoded(wav(np.zeros((1, 100), np.float32), rate))


def test_a_truncated_recording_keeps_its_beginning() -> None:
    for container, codec, fmt in (("wav", "pcm_s16le", "s16"), ("flac", "flac", "s16")):
        data = recording(container, codec, tone(2.0), RATE, fmt)
        samples = decoded(data[: len(data) // 2])
        assert 0.3 < len(samples) / RATE < 1.5


def test_a_truncated_mp4_has_no_index() -> None:
    data = recording("ipod", "aac", tone(2.0, 48_000), 48_000)
    with pytest.raises(CorruptMedia):
        decoded(data[: len(data) // 2])


def test_no_sound_at_all() -> None:
    with pytest.raises(CorruptMedia):
        decoded(wav(np.zeros((1, 0), np.float32), RATE))


@pytest.mark.parametrize("demuxer", ["hls", "concat", "dash", "lavfi", "image2", "sdp", ""])
def test_playlists_and_devices_are_never_opened(demuxer: str) -> None:
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/hostname\n"
    with pytest.raises(UnsupportedMedia):
        decode_audio(bytearray(playlist), AudioTask(demuxer, RATE, 600))


def test_a_film_that_points_to_another_file_does_not_open_it() -> None:
    """QuickTime's data references name files; none is opened."""
    data = bytearray(film(with_sound=True))
    at = data.index(b"url \x00\x00\x00\x01")
    data[at + 7] = 0  # not self-contained: the samples are elsewhere
    samples = decode_or_nothing(bytes(data))
    assert samples is None or len(samples) > 0


def decode_or_nothing(data: bytes) -> NDArray[np.float32] | None:
    try:
        return decoded(data)
    except CorruptMedia:
        return None

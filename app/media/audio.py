"""Recordings in any container to a mono waveform. Runs in a decoder process."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final, NoReturn

from app.errors import CorruptMedia, MediaTooLarge, UnsupportedMedia

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av import AudioFrame, AudioResampler
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from typing_extensions import Buffer

    from app.media.wire import AudioTask

DEMUXERS: Final = frozenset(
    {
        *("wav", "w64", "mp3", "flac", "ogg", "mov", "aac", "matroska", "aiff", "caf", "au"),
        *("amr", "ac3", "asf", "wv", "ape"),
    }
)
# Files without an index: FFmpeg guesses the duration from the first bit rate it meets.
_GUESSED: Final = frozenset({"mp3", "aac", "ac3", "amr"})
# A lossy codec's padding may take a recording of exactly the limit beyond it.
_TOLERANCE: Final = 0.5
_MAX_CHANNELS: Final = 16
_RATES: Final = range(1_000, 768_001)
_SAMPLE_BYTES: Final = 4
# Weights that add up to 1, so that equal channels come out as they are and nothing clips.
_MIX: Final = {"rematrix_maxval": "1.0"}


def decode_audio(data: bytearray, task: AudioTask) -> bytearray:
    """Return float32 samples, mono at the task's rate, of the first audio stream.

    Raises UnsupportedMedia when there is none, MediaTooLarge when it is longer than `max_seconds`
    (by its header, or once that much was decoded), CorruptMedia when nothing can be decoded.
    """
    import av  # noqa: PLC0415 - 18 MB that a process which only sees pictures need not hold

    av.logging.set_level(None)
    try:
        with _open(data, task.decoder) as container:
            stream = _stream(container)
            _check_header(container, stream, task)
            return _samples(container, stream, task)
    except av.FFmpegError as error:
        raise CorruptMedia(f"the audio cannot be decoded: {error.strerror}") from None


def _open(data: bytearray, demuxer: str) -> InputContainer:
    import av  # noqa: PLC0415

    if demuxer not in DEMUXERS:
        raise UnsupportedMedia(f"{demuxer} is no audio format that is taken")
    return av.open(
        _Reader(data),
        mode="r",
        format=demuxer,
        container_options={"protocol_whitelist": "none", "format_whitelist": demuxer},
        metadata_errors="replace",
        io_open=_refuse,
    )


def _refuse(url: str, flags: int, options: dict[str, str]) -> NoReturn:  # noqa: ARG001
    """Refuse a file's wish to open another one."""
    raise PermissionError("media must not refer to other files")


def _stream(container: InputContainer) -> AudioStream:
    if not container.streams.audio:
        raise UnsupportedMedia("the file has no audio stream")
    stream = container.streams.audio[0]
    stream.codec_context.thread_count = 1  # as many at once as there are processes
    return stream


def _check_header(container: InputContainer, stream: AudioStream, task: AudioTask) -> None:
    import av  # noqa: PLC0415

    context = stream.codec_context
    if context.channels > _MAX_CHANNELS:
        raise MediaTooLarge(f"{context.channels} channels; at most {_MAX_CHANNELS} are taken")
    if context.sample_rate and context.sample_rate not in _RATES:
        raise MediaTooLarge(f"a sample rate of {context.sample_rate} Hz is not taken")
    if task.decoder not in _GUESSED and container.duration is not None:
        _check_duration(container.duration / av.time_base, task)


def _check_duration(seconds: float, task: AudioTask) -> None:
    if seconds > task.max_seconds + _TOLERANCE:
        raise MediaTooLarge(f"longer than the {task.max_seconds:g} seconds that are taken")


def _samples(container: InputContainer, stream: AudioStream, task: AudioTask) -> bytearray:
    samples = bytearray()
    mixer = _Mixer(task.sample_rate)
    seconds = 0.0
    for frame in _frames(container, stream):
        seconds += frame.samples / max(1, frame.sample_rate)
        _check_duration(seconds, task)
        samples += mixer.mix(frame)
    samples += mixer.flush()
    if not samples:
        raise CorruptMedia("the file has an audio stream and no sound in it")
    return samples


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """Decode packet by packet; a damaged one is skipped as long as most are sound."""
    import av  # noqa: PLC0415

    sound = damaged = 0
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                damaged += 1
                continue
            sound += 1
            yield from frames
    except av.InvalidDataError:
        damaged += 1  # the container ends early
    if damaged > sound:
        raise CorruptMedia("most of the audio is damaged")


class _Reader(io.RawIOBase):
    """A file that is in memory already; BytesIO would copy it."""

    def __init__(self, data: bytearray) -> None:
        self._data = memoryview(data)
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        target = memoryview(buffer)
        part = self._data[self._place : self._place + len(target)]
        target[: len(part)] = part
        self._place += len(part)
        return len(part)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: len(self._data)}[whence]
        self._place = max(0, start + offset)
        return self._place

    def tell(self) -> int:
        return self._place


class _Mixer:
    """Mixes frames down to mono at one rate, also when their format changes on the way."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._setup: tuple[str, str, int] | None = None
        self._resampler: AudioResampler | None = None

    def mix(self, frame: AudioFrame) -> bytes:
        import av  # noqa: PLC0415

        ended = b""
        setup = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or setup != self._setup:
            ended = self.flush()
            self._setup = setup
            self._resampler = av.AudioResampler("flt", "mono", self._rate, options=_MIX)
        frame.pts = None
        return ended + _joined(self._resampler.resample(frame))

    def flush(self) -> bytes:
        """Return what the resampler still holds, and forget it."""
        resampler, self._resampler = self._resampler, None
        return _joined(resampler.resample(None)) if resampler else b""


def _joined(frames: list[AudioFrame]) -> bytes:
    return b"".join(bytes(frame.planes[0])[: frame.samples * _SAMPLE_BYTES] for frame in frames)

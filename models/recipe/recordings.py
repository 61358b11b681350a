"""Recordings with captions, as people bring them: a directory or a tar with `captions.jsonl`."""

from __future__ import annotations

import tarfile
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Protocol

import msgspec
import numpy as np

from app.encoders.audio import SAMPLE_RATE, log_mel_windows
from app.errors import InvalidInput, MediaError
from app.media.audio import decode_audio
from app.media.sniff import sniff
from app.media.wire import AudioTask
from models.recipe.corpus import Part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

LISTING = "captions.jsonl"
MAX_WINDOWS = 20  # of one recording, some ten seconds; the rest is left out
MAX_SECONDS = 600.0

Text = Annotated[str, msgspec.Meta(min_length=1)]


class Record(msgspec.Struct):
    """A line of the listing: `file` lies beside it, the captions say what is heard.

    Recordings of one `group` count as matches of each other; without one, those of the same first
    caption do.
    """

    file: Text
    captions: Annotated[list[Text], msgspec.Meta(min_length=1)]
    group: Text | None = None


class Place(Protocol):
    """Where the listing and the recordings lie."""

    def read(self, name: str) -> bytes:
        """Return a file's bytes; KeyError if it is not there."""


class Directory:
    def __init__(self, path: Path) -> None:
        self._path = path.resolve()

    def read(self, name: str) -> bytes:
        path = (self._path / name).resolve()
        if not path.is_relative_to(self._path) or not path.is_file():
            raise KeyError(name)
        return path.read_bytes()


class Tar:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._members = {str(PurePosixPath(m.name)): m for m in tar.getmembers() if m.isfile()}

    def read(self, name: str) -> bytes:
        file = self._tar.extractfile(self._members[str(PurePosixPath(name))])
        assert file is not None, "only files are members"
        return file.read()


def read_recordings(path: Path) -> Part:
    """Read every recording that `captions.jsonl` lists, as log-mel windows.

    InvalidInput names what is missing or wrong, by the line.
    """
    part = Part("recordings")
    with _opened(path) as place:
        for number, record in enumerate(_records(place, path), 1):
            try:
                windows = _windows(place.read(record.file))
            except KeyError:
                raise _wrong(path, number, f"{record.file} is not there") from None
            except MediaError as error:
                raise _wrong(path, number, f"{record.file}: {error.message}") from None
            part.add(windows, tuple(record.captions), record.group or record.captions[0])
    return part


@contextmanager
def _opened(path: Path) -> Iterator[Place]:
    if path.is_dir():
        yield Directory(path)
        return
    try:
        with tarfile.open(path) as tar:
            yield Tar(tar)
    except (OSError, tarfile.TarError, EOFError) as error:
        message = f"{path} is neither a directory nor a tar that can be read: {error}"
        raise InvalidInput.at(("pairs",), message) from error


def _records(place: Place, path: Path) -> list[Record]:
    try:
        listing = place.read(LISTING)
    except KeyError:
        message = (
            f"{path} holds no {LISTING}: one line of JSON for each recording, "
            '{"file": "rain.wav", "captions": ["rain falling on a roof"]}'
        )
        raise InvalidInput.at(("pairs",), message) from None
    records = []
    for number, line in enumerate(listing.splitlines(), 1):
        try:
            records.append(msgspec.json.decode(line, type=Record))
        except msgspec.DecodeError as error:
            raise _wrong(path, number, str(error)) from None
    return records


def _wrong(path: Path, number: int, reason: str) -> InvalidInput:
    return InvalidInput.at(("pairs", number), f"{path}, {LISTING}, line {number}: {reason}")


def _windows(data: bytes) -> NDArray[np.float16]:
    """Decode a recording as the service does."""
    task = AudioTask(sniff(data).decoder, SAMPLE_RATE, MAX_SECONDS)
    samples = np.frombuffer(decode_audio(bytearray(data), task), dtype=np.float32)
    return log_mel_windows(samples)[:MAX_WINDOWS].astype(np.float16)

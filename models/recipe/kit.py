"""The model kit: what its files are, and what is said when one is missing."""

from __future__ import annotations

import subprocess
import tarfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from app.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

EMOJI = "emoji.tar"
GROCERY = "grocery.tar"
CLOTHING = "clothing.tar"
DIGITS = "spoken-digits.tar"
IMAGE_NETWORK = "image-mobilenetv2_100-imagenet.safetensors"
IMAGE_LABELS = "imagenet-labels.json"
AUDIO_NETWORK = "audio-mobilenetv1_100-audioset.safetensors"
AUDIO_LABELS = "audioset-labels.json"

START = (IMAGE_NETWORK, IMAGE_LABELS, AUDIO_NETWORK, AUDIO_LABELS)
ALL = (*START, EMOJI, GROCERY, CLOTHING, DIGITS)


# What reading a damaged or foreign file raises, and a voice that espeak-ng does not have.
_READ_ERRORS = (
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    SafetensorError,
    ValueError,
    subprocess.SubprocessError,
    tarfile.TarError,
)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a damaged file raises into InvalidInput that names it."""
    try:
        yield
    except _READ_ERRORS as error:
        raise InvalidInput.at(("data",), f"{path} cannot be read: {error!r}") from error


def missing_from(kit: Path, files: Iterable[str]) -> list[str]:
    """Return those of the files that are not there."""
    return [name for name in files if not (kit / name).is_file()]


def require(kit: Path, files: Iterable[str] = ALL) -> None:
    """Raise InvalidInput that names the files which the kit lacks, and where they come from."""
    if lacking := missing_from(kit, files):
        message = f"the model kit in {kit} lacks {', '.join(lacking)}; {WHERE}"
        raise InvalidInput.at(("data",), message)


WHERE = (
    "models/README.md, under “Building it”, says what each file of the kit is and where it comes "
    "from; give the directory that holds them with --data"
)

"""The kinds of content an item can hold."""

from __future__ import annotations

from enum import StrEnum


class Modality(StrEnum):
    IMAGE = "image"
    TEXT = "text"
    AUDIO = "audio"


MEDIA_MODALITIES = frozenset({Modality.IMAGE, Modality.AUDIO})

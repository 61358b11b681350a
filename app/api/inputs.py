"""Content in a request: a text, or media by its URL or in base64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from app.api.inline_media import NotBase64, TooLong, decode_base64
from app.domain.modality import Modality
from app.domain.requests import InlineInput, Input, TextInput, UrlInput
from app.errors import InvalidInput, PayloadTooLarge, Violation

if TYPE_CHECKING:
    from app.errors import Path
    from app.settings import MediaSettings

MAX_TEXT_CHARS = 8_192
MAX_URL_CHARS = 8_192

INPUT_FIELDS = ("image", "image_base64", "text", "audio", "audio_base64")
_ONE_OF = "exactly one of image, image_base64, text, audio and audio_base64 is needed"


class InputFields(Protocol):
    """A request's struct with a field for each way that content comes in."""

    @property
    def image(self) -> str | None: ...
    @property
    def image_base64(self) -> str | None: ...
    @property
    def text(self) -> str | None: ...
    @property
    def audio(self) -> str | None: ...
    @property
    def audio_base64(self) -> str | None: ...


def check_text(text: str, path: Path) -> list[Violation]:
    """Refuse the one character that Postgres cannot store."""
    if "\0" in text:
        return [Violation(path, f"{path[-1]} holds no NUL character")]
    return []


def given_inputs(fields: InputFields) -> list[str]:
    """Return the names of the fields that hold content."""
    return [name for name in INPUT_FIELDS if getattr(fields, name) is not None]


def check_input(fields: InputFields, path: Path) -> tuple[str, list[Violation]]:
    """Return the field that the content is in, and what is wrong with it."""
    names = given_inputs(fields)
    if len(names) != 1:
        found = f"; there are {', '.join(names)}" if names else ""
        return "", [Violation(path, _ONE_OF + found, "one_input")]
    field = names[0]
    place = (*path, field)
    match field:
        case "text":
            text = fields.text or ""
            if not 1 <= len(text) <= MAX_TEXT_CHARS:
                return field, [Violation(place, f"text has 1 to {MAX_TEXT_CHARS} characters")]
            return field, check_text(text, place)
        case "image" | "audio":
            url = getattr(fields, field)
            if not 1 <= len(url) <= MAX_URL_CHARS:
                return field, [Violation(place, f"a URL has 1 to {MAX_URL_CHARS} characters")]
    return field, []


async def read_input(fields: InputFields, field: str, path: Path, limits: MediaSettings) -> Input:
    """Decode what `check_input` found. Raises PayloadTooLarge and InvalidInput."""
    value: str = getattr(fields, field)
    match field:
        case "text":
            return TextInput(value)
        case "image" | "audio":
            return UrlInput(Modality(field), value, field)
    modality = Modality.IMAGE if field == "image_base64" else Modality.AUDIO
    limit = limits.image_max_bytes if modality is Modality.IMAGE else limits.audio_max_bytes
    place = (*path, field)
    try:
        return InlineInput(modality, await decode_base64(value, limit), field)
    except TooLong as error:
        message = f"{error.size} bytes; at most {limit} are taken"
        raise PayloadTooLarge(message, place) from None
    except NotBase64 as error:
        raise InvalidInput([Violation(place, str(error), "invalid_base64")]) from None

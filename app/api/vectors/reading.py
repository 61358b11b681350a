"""From the wire's structs to the engine's requests; every violation is told at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import UNSET

from app.api.inputs import check_input, read_input
from app.api.metadata import check_metadata
from app.domain.requests import IndexItem, OnError
from app.errors import InvalidInput, ItemFailure, PayloadTooLarge, Violation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.api.vectors import schemas
    from app.errors import Path
    from app.settings import MediaSettings

MAX_ITEMS = 100
MAX_DELETE_IDS = 1_000
_ITEM_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


@dataclass(frozen=True, slots=True)
class Batch:
    """Items to index: `places[i]` is where `items[i]` stood among all `size` items sent."""

    items: Sequence[IndexItem]
    places: Sequence[int]
    failures: Sequence[ItemFailure]
    size: int


async def read_batch(request: schemas.IndexRequest, limits: MediaSettings) -> Batch:
    """Check and decode the items.

    What is wrong with an item's fields fails the request (InvalidInput). What is wrong with the
    bytes in them fails the request too (PayloadTooLarge, InvalidInput) or, skipping, the item.
    """
    if len(request.items) > MAX_ITEMS:
        raise PayloadTooLarge(f"at most {MAX_ITEMS} items are taken at once", ("items",))
    violations: list[Violation] = []
    checked: list[tuple[str, str]] = []
    for index, item in enumerate(request.items):
        path: Path = ("items", index)
        field, faults = check_input(item, path)
        violations += faults
        if item.id is not None and not _ITEM_ID.fullmatch(item.id):
            message = "an id has 1 to 128 letters, digits, `_`, `-`, `.` or `:`"
            violations.append(Violation((*path, "id"), message))
        metadata = "{}"
        if item.metadata is not UNSET:
            metadata, faults = check_metadata(item.metadata, (*path, "metadata"))
            violations += faults
        checked.append((field, metadata))
    if violations:
        raise InvalidInput(violations)
    return await _decode_batch(request, checked, limits)


async def _decode_batch(
    request: schemas.IndexRequest, checked: Sequence[tuple[str, str]], limits: MediaSettings
) -> Batch:
    items, places, failures = [], [], []
    for index, (item, (field, metadata)) in enumerate(zip(request.items, checked, strict=True)):
        try:
            source = await read_input(item, field, ("items", index), limits)
        except PayloadTooLarge as error:
            if request.on_error is OnError.FAIL:
                raise
            failures.append(ItemFailure(index, (field,), "media_too_large", error.message))
        except InvalidInput as error:
            failures.append(ItemFailure(index, (field,), "invalid_base64", error.message))
        else:
            items.append(IndexItem(source, metadata, item.id))
            places.append(index)
    if failures and request.on_error is OnError.FAIL:
        raise InvalidInput(
            [Violation(("items", f.index, *f.path), f.message, f.code) for f in failures]
        )
    return Batch(items, places, failures, len(request.items))


def read_delete(request: schemas.DeleteItems) -> list[str]:
    if len(request.ids) > MAX_DELETE_IDS:
        raise PayloadTooLarge(f"at most {MAX_DELETE_IDS} ids are taken at once", ("ids",))
    return [name for name in request.ids if "\0" not in name]  # none is called so

"""Groups of ranked items, by what their metadata hold at a path."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from app.domain.rankings import Group, GroupValue, Ranked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from app.domain.filters import Path


def grouped(ranked: Sequence[Ranked], path: Path, *, limit: int, size: int) -> list[Group]:
    """Return the first `limit` groups in the order of their first items, of at most `size`."""
    groups: dict[tuple[type, GroupValue], list[Ranked]] = {}
    for hit in ranked:
        for value in dict.fromkeys(_keys(json.loads(hit.item.metadata), path)):
            if value in groups:
                if len(groups[value]) < size:
                    groups[value].append(hit)
            elif len(groups) < limit:
                groups[value] = [hit]
    return [Group(value, tuple(hits)) for (_, value), hits in groups.items()]


def full(groups: Sequence[Group], *, limit: int, size: int) -> bool:
    """Tell whether no more could be asked for: ranking further would change nothing."""
    return len(groups) == limit and all(len(group.hits) == size for group in groups)


def _keys(document: Any, path: Path) -> Iterator[tuple[type, GroupValue]]:
    """Tell 1 and True apart, which Python does not."""
    for value in values_at(document, path):
        if isinstance(value, str | int):
            yield type(value), value


def values_at(document: Any, path: Path) -> Iterator[Any]:
    """Yield the value at the path, or each element of an array there; arrays are entered."""
    if isinstance(document, list):
        for element in document:
            if path or not isinstance(element, list):
                yield from values_at(element, path)
    elif not path:
        yield document
    elif isinstance(document, dict) and path[0] in document:
        yield from values_at(document[path[0]], path[1:])

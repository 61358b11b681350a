"""What a filter means, in plain Python: the oracle of the compiled SQL."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from app.domain import filters as f
from app.store.geometry import EARTH_METRES

NOWHERE = object()
_SEPARATORS = re.compile(
    r"[\x01-\x2f\x3a-\x40\x5b-\x60\x7b-\xa9\xab-\xb1\xb4\xb6-\xb8\xbb-\xbf\xd7\xf7"
    r"\u2000-\u206f\u2190-\u2bff\u2e00-\u2e7f\u3000-\u303f\ufe30-\ufe4f"
    r"\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65]+"
)
_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(\.[0-9]{1,9})?)?"
    r" ?(?:[Zz]|([+-])([0-9]{2}):?([0-9]{2}))?)?"
)


def holds(clause: f.Filter, document: Any, item: dict[str, Any]) -> bool:  # noqa: C901, PLR0911, PLR0912
    """Tell whether the filter holds for `item`: id, namespace, modality and spaces."""
    match clause:
        case f.Not(inner):
            return not holds(inner, document, item)
        case f.And(clauses):
            return all(holds(one, document, item) for one in clauses)
        case f.Or(clauses):
            return any(holds(one, document, item) for one in clauses)
        case f.AtLeast(count, clauses):
            return sum(holds(one, document, item) for one in clauses) >= count
        case f.HasId(ids):
            return item["id"] in ids
        case f.HasVector(space):
            return space in item["spaces"]
        case f.InNamespace(namespace):
            return bool(item["namespace"] == namespace)
        case f.OfModality(modalities):
            return item["modality"] in modalities
    value = lookup(document, clause.path)
    if isinstance(clause, f.Nested):
        elements = value if isinstance(value, list) else []
        return any(isinstance(e, dict) and holds(clause.clause, e, item) for e in elements)
    match clause:
        case f.Exists():
            return value is not NOWHERE
        case f.IsNull():
            return value is None
        case f.IsEmpty():
            return value is NOWHERE or value is None or value == []
        case f.ValuesCount():
            count = len(value) if isinstance(value, list) else int(value not in (None, NOWHERE))
            return within(clause, count)
    values = value if isinstance(value, list) else [] if value is NOWHERE else [value]
    return any(satisfies(clause, one) for one in values)


def lookup(document: Any, path: f.Path) -> Any:
    for key in path:
        if not isinstance(document, dict) or key not in document:
            return NOWHERE
        document = document[key]
    return document


def satisfies(clause: f.Condition, value: Any) -> bool:  # noqa: PLR0911
    match clause:
        case f.Equals(value=wanted):
            return same(value, wanted)
        case f.OneOf(values=wanted):
            return any(same(value, one) for one in wanted)
        case f.OtherThan(values=unwanted):
            return value is not None and not any(same(value, one) for one in unwanted)
        case f.Range():
            return same_kind(clause, value) and within(clause, value)
        case f.TimeRange():
            time = parse_time(value) if isinstance(value, str) else None
            return time is not None and within(clause, time)
        case f.Text(text=text, mode=mode):
            return isinstance(value, str) and text_matches(words(value), words(text), mode)
        case f.Substring(text=text, start=start):
            return isinstance(value, str) and (value.startswith(text) if start else text in value)
        case f.GeoBox() | f.GeoRadius() | f.GeoPolygon():
            point = parse_point(value)
            return point is not None and in_area(clause, point)
    raise TypeError(clause)


def same(one: Any, other: Any) -> bool:
    numbers = (int, float)
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, numbers) and isinstance(other, numbers):
        return one == other
    return type(one) is type(other) and one == other


def same_kind(clause: f.Range, value: Any) -> bool:
    bounds = [b for b in (clause.gt, clause.gte, clause.lt, clause.lte) if b is not None]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return False
    return all(isinstance(bound, str) == isinstance(value, str) for bound in bounds)


def within(clause: Any, value: Any) -> bool:
    tests = [
        (clause.gt, lambda bound: value > bound),
        (clause.gte, lambda bound: value >= bound),
        (clause.lt, lambda bound: value < bound),
        (clause.lte, lambda bound: value <= bound),
    ]
    given = [test(bound) for bound, test in tests if bound is not None]
    return bool(given) and all(given)


def parse_time(text: str) -> datetime | None:
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second, part, sign, hours, minutes = found.groups()
    try:
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        if int(minutes or 0) > 59:
            return None
        zone = timezone(-offset if sign == "-" else offset)
        time = datetime(
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            tzinfo=zone,
        )
        return (time + timedelta(microseconds=round(float(part or 0) * 1e6))).astimezone(UTC)
    except ValueError:
        return None


def words(text: str) -> list[str]:
    return _SEPARATORS.sub(" ", text.lower()).split(" ") if text.strip() else []


def text_matches(there: list[str], wanted: list[str], mode: f.TextMode) -> bool:
    there, wanted = [w for w in there if w], [w for w in wanted if w]
    if not wanted:
        return False
    match mode:
        case f.TextMode.ALL:
            return set(wanted) <= set(there)
        case f.TextMode.ANY:
            return bool(set(wanted) & set(there))
        case f.TextMode.PHRASE:
            return any(there[i : i + len(wanted)] == wanted for i in range(len(there)))
        case f.TextMode.PREFIX:
            return all(any(t.startswith(w) for t in there) for w in wanted)


def parse_point(value: Any) -> tuple[float, float] | None:
    if not isinstance(value, dict):
        return None
    lon, lat = value.get("lon"), value.get("lat")
    if any(isinstance(n, bool) or not isinstance(n, int | float) for n in (lon, lat)):
        return None
    return (lon, lat) if abs(lon) <= 180 and abs(lat) <= 90 else None


def in_area(area: f.GeoBox | f.GeoRadius | f.GeoPolygon, point: tuple[float, float]) -> bool:
    lon, lat = point
    match area:
        case f.GeoBox(north_west=nw, south_east=se):
            between = (
                nw.lon <= lon <= se.lon if nw.lon <= se.lon else lon >= nw.lon or lon <= se.lon
            )
            return between and se.lat <= lat <= nw.lat
        case f.GeoRadius(centre=c, metres=metres):
            rad = math.radians
            h = (
                math.sin(rad(lat - c.lat) / 2) ** 2
                + math.cos(rad(c.lat)) * math.cos(rad(lat)) * math.sin(rad(lon - c.lon) / 2) ** 2
            )
            return 2 * EARTH_METRES * math.asin(min(1, math.sqrt(h))) <= metres
        case f.GeoPolygon(exterior=exterior, interiors=interiors):
            return in_ring(exterior, point) and not any(in_ring(r, point) for r in interiors)


def in_ring(ring: tuple[f.GeoPoint, ...], point: tuple[float, float]) -> bool:
    """By counting crossings to the east; the tests keep points away from borders."""
    lon, lat = point
    inside = False
    for a, b in zip(ring, (*ring[1:], *ring[:1]), strict=True):
        if (a.lat > lat) != (b.lat > lat):
            crossing = a.lon + (lat - a.lat) * (b.lon - a.lon) / (b.lat - a.lat)
            inside ^= lon < crossing
    return inside


def text_of(document: Any) -> str:
    return json.dumps(document)

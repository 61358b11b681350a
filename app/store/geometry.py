"""Conditions on one geographic point: `e`, a jsonb object with the numbers `lon` and `lat`.

Also the boxes around an area that an index on boxes is asked for.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from app.domain.filters import GeoBox, GeoPolygon, GeoRadius
from app.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.domain.filters import GeoPoint

    Bind = Callable[[Any], str]

EARTH_METRES = 6_371_008.8  # mean radius, IUGG
SLACK_DEGREES = 1e-5  # Postgres' geometric operators' tolerance and our rounding: a metre

_LON, _LAT = "(e ->> 'lon')::float8", "(e ->> 'lat')::float8"

Area = GeoBox | GeoRadius | GeoPolygon
Box = tuple[float, float, float, float]  # west, south, east, north


def area_condition(area: Area, bind: Bind) -> str:
    """The point lies in the area. Raises InvalidInput for numbers that are not finite."""
    match area:
        case GeoBox():
            return _in_box(area, bind)
        case GeoRadius():
            return _in_circle(area, bind)
        case GeoPolygon():
            return _in_polygon(area, bind)


def _in_box(box: GeoBox, bind: Bind) -> str:
    west, north = (_number(n, bind) for n in (box.north_west.lon, box.north_west.lat))
    east, south = (_number(n, bind) for n in (box.south_east.lon, box.south_east.lat))
    return (
        f"{_LAT} BETWEEN {south} AND {north} AND CASE WHEN {west} <= {east} "
        f"THEN {_LON} BETWEEN {west} AND {east} ELSE {_LON} >= {west} OR {_LON} <= {east} END"
    )


def _in_circle(area: GeoRadius, bind: Bind) -> str:
    """By the haversine formula."""
    lon, lat = _number(area.centre.lon, bind), _number(area.centre.lat, bind)
    return (
        f"2 * {EARTH_METRES} * asin(least(1, sqrt(sind(({_LAT} - {lat}) / 2) ^ 2 + cosd({lat}) * "
        f"cosd({_LAT}) * sind(({_LON} - {lon}) / 2) ^ 2))) <= {_number(area.metres, bind)}"
    )


def _in_polygon(area: GeoPolygon, bind: Bind) -> str:
    point = f"point({_LON}, {_LAT})"
    test = f"{_polygon(area.exterior, bind)} @> {point}"
    for interior in area.interiors:
        ring = _polygon(interior, bind)  # its border is not strictly inside
        test += f" AND NOT coalesce({ring} @> {point} AND {point} <-> path({ring}) > 0, false)"
    return test


def _polygon(ring: Sequence[GeoPoint], bind: Bind) -> str:
    corners = ",".join(f"({_finite(p.lon)!r},{_finite(p.lat)!r})" for p in ring)
    return f"{bind(f'({corners})' if ring else None)}::text::polygon"


def _number(number: float, bind: Bind) -> str:
    return f"{bind(_finite(number))}::float8"


def _finite(number: float) -> float:
    try:
        degrees = float(number)
    except OverflowError:
        degrees = math.inf
    if not math.isfinite(degrees):
        raise InvalidInput.at(("filter",), "a number is not finite")
    return degrees


def boxes_around(area: Area) -> list[Box]:
    """Boxes that cover the area; two where it crosses the 180th meridian."""
    match area:
        case GeoBox():
            south, north = area.south_east.lat, area.north_west.lat
            spans = _spans(area.north_west.lon, area.south_east.lon)
        case GeoRadius():
            south, north, spans = _around_circle(area)
        case GeoPolygon():
            lons, lats = [p.lon for p in area.exterior], [p.lat for p in area.exterior]
            south, north = min(lats, default=0.0), max(lats, default=0.0)
            spans = [(min(lons, default=0.0), max(lons, default=0.0))]
    slack = SLACK_DEGREES
    return [(w - slack, south - slack, e + slack, north + slack) for w, e in spans]


def _around_circle(area: GeoRadius) -> tuple[float, float, list[tuple[float, float]]]:
    reach = max(area.metres, 0.0) / EARTH_METRES
    south = area.centre.lat - math.degrees(reach)
    north = area.centre.lat + math.degrees(reach)
    if south <= -90 or north >= 90:  # a pole lies within, and so do all longitudes
        return south, north, [(-180.0, 180.0)]
    breadth = math.degrees(math.asin(math.sin(reach) / math.cos(math.radians(area.centre.lat))))
    west, east = area.centre.lon - breadth, area.centre.lon + breadth
    if west < -180:
        return south, north, _spans(west + 360, east)
    return south, north, _spans(west, east - 360 if east > 180 else east)


def _spans(west: float, east: float) -> list[tuple[float, float]]:
    return [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]

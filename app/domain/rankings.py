"""Rankings: what a search, whatever its kind, asks the store for."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.domain.collections import Space
    from app.domain.filters import Filter, Path
    from app.domain.items import Item
    from app.domain.modality import Modality
    from app.domain.vectors import Vector


@dataclass(frozen=True, slots=True)
class Scope:
    """Which items are looked at. `only_ids` of None stands for all of them."""

    filter: Filter | None = None
    modalities: frozenset[Modality] | None = None
    only_ids: tuple[str, ...] | None = None
    exclude_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NearestTo:
    """The similarity to one vector, times `scale`, which is positive."""

    vector: Vector
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class BestScore:
    """The best similarity p to a positive or n to a negative example, whichever is greater.

    It is s(p) if p > n, else -s(n), with s(x) = (x / (1 + |x|) + 1) / 2: Qdrant's `best_score`.
    """

    positive: tuple[Vector, ...]
    negative: tuple[Vector, ...]


@dataclass(frozen=True, slots=True)
class SumScores:
    """The similarities to the positive examples less those to the negative: `sum_scores`."""

    positive: tuple[Vector, ...]
    negative: tuple[Vector, ...]


@dataclass(frozen=True, slots=True)
class DiscoveryScore:
    """How many more pairs have their positive nearer than their negative, then the target.

    The sum of sign(p - n) over the pairs, plus s(t) of the similarity to the target (see
    BestScore): Qdrant's discovery search.
    """

    target: Vector
    pairs: tuple[tuple[Vector, Vector], ...]


@dataclass(frozen=True, slots=True)
class ContextScore:
    """How far the item lies on the wrong side of each pair; 0 is the best there is.

    The sum of f(min(p - n - e, 0)) over the pairs, f(x) = x / (1 + |x|), e the least float32
    above 0 that 1 can be raised by: Qdrant's context search.
    """

    pairs: tuple[tuple[Vector, Vector], ...]


VectorScore = NearestTo | BestScore | SumScores | DiscoveryScore | ContextScore


@dataclass(frozen=True, slots=True)
class Curve:
    """`slope * similarity + intercept` is the logit of a calibrated score."""

    slope: float
    intercept: float


@dataclass(frozen=True, slots=True)
class ByVector:
    """Items that have a vector in the space, by its score; every score is computed.

    With `curves` they rank by the logit of the score for their modality. `least` cuts off what
    ranks lower.
    """

    space: Space
    score: VectorScore
    least: float | None = None
    curves: Mapping[Modality, Curve] | None = None


class Language(StrEnum):
    """Text search configurations that every Postgres has, each at a place of its own for good.

    `simple` takes words as they are, the others stem them.
    """

    SIMPLE = "simple"
    ARABIC = "arabic"
    DANISH = "danish"
    DUTCH = "dutch"
    ENGLISH = "english"
    FINNISH = "finnish"
    FRENCH = "french"
    GERMAN = "german"
    GREEK = "greek"
    HUNGARIAN = "hungarian"
    INDONESIAN = "indonesian"
    IRISH = "irish"
    ITALIAN = "italian"
    LITHUANIAN = "lithuanian"
    NEPALI = "nepali"
    NORWEGIAN = "norwegian"
    PORTUGUESE = "portuguese"
    ROMANIAN = "romanian"
    RUSSIAN = "russian"
    SPANISH = "spanish"
    SWEDISH = "swedish"
    TAMIL = "tamil"
    TURKISH = "turkish"


@dataclass(frozen=True, slots=True)
class TextFields:
    """The text that full-text search reads: the item's own and that of metadata fields."""

    paths: tuple[Path, ...] = ()
    language: Language = Language.SIMPLE


@dataclass(frozen=True, slots=True)
class ByText:
    """Items with a word of the query, by `ts_rank` (more words, and nearer ones, rank higher)."""

    text: str
    fields: TextFields
    least: float | None = None


@dataclass(frozen=True, slots=True)
class ByField:
    """Items by the numbers or times in a metadata field; once for each, where there are several.

    Times are strings as RFC 3339 writes them, and count in microseconds since 1970.
    `start` is the first value that is wanted.
    """

    path: Path
    descending: bool = False
    start: float | None = None


@dataclass(frozen=True, slots=True)
class ById:
    """Items in the order of their ids (by code point), from `start` on."""

    start: str | None = None


@dataclass(frozen=True, slots=True)
class AtRandom:
    """Items in no order, in a space if one is given."""

    space: Space | None = None


RankBy = ByVector | ByText | ByField | ById | AtRandom


@dataclass(frozen=True, slots=True)
class Ranking:
    by: RankBy
    limit: int
    offset: int = 0
    scope: Scope = field(default_factory=Scope)


@dataclass(frozen=True, slots=True)
class Ranked:
    """A found item. `score` is higher for the better, negated distances among them.

    It is 0 where the order is not by score; `order_value` is what was ordered by.
    """

    item: Item
    score: float
    order_value: float | None = None
    vectors: Mapping[str, Vector] = field(default_factory=dict)


# What facets and groups can be made of; other values, fractions among them, are passed over.
GroupValue = str | int | bool


@dataclass(frozen=True, slots=True)
class Group:
    value: GroupValue
    hits: tuple[Ranked, ...]


@dataclass(frozen=True, slots=True)
class FacetCount:
    value: GroupValue
    count: int

"""Queries of points: what can be asked of a collection beyond the native search.

The shapes and formulas are those of Qdrant's universal query, with one difference: a score here
is always higher for the better, so that it is the negated distance in a space of distances.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from app.domain.vectors import Vector

if TYPE_CHECKING:
    from app.domain.filters import Filter, Path
    from app.domain.modality import Modality
    from app.domain.rankings import TextFields

MAX_LIMIT = 10_000  # of one list, a prefetched one included
MAX_PREFETCHES = 32  # of one query, nested ones included
MAX_DEPTH = 4
MAX_BATCH = 100
MAX_EXAMPLES = 1_000
MAX_CANDIDATES = 1_000  # of a selection for diversity: each is compared with each
MAX_SAMPLE = 1_000  # of a matrix, likewise
MAX_GROUPS = 1_000
MAX_GROUP_SIZE = 1_000


@dataclass(frozen=True, slots=True)
class VectorOf:
    """The vector of a stored item, which the results then leave out."""

    id: str


Probe = Vector | VectorOf


@dataclass(frozen=True, slots=True)
class Diversity:
    """Maximal marginal relevance (Carbonell and Goldstein, 1998) among the best candidates.

    `weight` 0 ranks by relevance alone, 1 by being unlike what is chosen already. `candidates`
    of None stands for as many as are wanted.
    """

    weight: float = 0.5
    candidates: int | None = None


@dataclass(frozen=True, slots=True)
class Nearest:
    probe: Probe
    diversity: Diversity | None = None


class Strategy(StrEnum):
    AVERAGE_VECTOR = "average_vector"
    BEST_SCORE = "best_score"
    SUM_SCORES = "sum_scores"


@dataclass(frozen=True, slots=True)
class Recommend:
    positive: tuple[Probe, ...] = ()
    negative: tuple[Probe, ...] = ()
    strategy: Strategy = Strategy.AVERAGE_VECTOR


@dataclass(frozen=True, slots=True)
class Discover:
    """Near the target, on the right side of the pairs (positive, negative)."""

    target: Probe
    context: tuple[tuple[Probe, Probe], ...] = ()


@dataclass(frozen=True, slots=True)
class Context:
    pairs: tuple[tuple[Probe, Probe], ...]


@dataclass(frozen=True, slots=True)
class Words:
    """Full-text search; any of the words will do."""

    text: str
    fields: TextFields | None = None


@dataclass(frozen=True, slots=True)
class OrderBy:
    path: Path
    descending: bool = False
    start: float | None = None


@dataclass(frozen=True, slots=True)
class InOrderOfIds:
    start: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """At random."""


class FusionMethod(StrEnum):
    RRF = "rrf"
    DBSF = "dbsf"


@dataclass(frozen=True, slots=True)
class Fusion:
    """One list from the prefetched ones; see app/domain/fusion.py. `weights` is one for each."""

    method: FusionMethod = FusionMethod.RRF
    k: float = 2.0
    weights: tuple[float, ...] = ()


Query = Nearest | Recommend | Discover | Context | Words | OrderBy | InOrderOfIds | Sample | Fusion


@dataclass(frozen=True, slots=True)
class Lookup:
    """Where the vectors of items named as examples are, if not where the search is."""

    collection_id: str
    space: str | None = None


@dataclass(frozen=True, slots=True)
class PointQuery:
    """A query of one collection.

    What `prefetch` finds is fused, or else is all that the query looks at. `filter` holds for
    the prefetched as well. `threshold` is a least score, or with `strict` one to be exceeded.
    `space` is "" for the collection's own. `exact` forbids approximation.
    """

    query: Query
    limit: int = 10
    offset: int = 0
    filter: Filter | None = None
    modalities: frozenset[Modality] | None = None
    space: str = ""
    threshold: float | None = None
    strict: bool = False
    exact: bool = False
    prefetch: tuple[PointQuery, ...] = ()
    lookup: Lookup | None = None
    with_vectors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupQuery:
    """The best `limit` groups by a metadata field, each with its best `size` items.

    A group ranks by its best item. An item with several values is in several groups.
    """

    query: PointQuery
    path: Path
    limit: int = 10
    size: int = 3


@dataclass(frozen=True, slots=True)
class MatrixQuery:
    """The nearest `limit` of a random sample to each item of the sample."""

    sample: int = 10
    limit: int = 3
    filter: Filter | None = None
    space: str = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """`ids` in order; `rows[i]` holds the nearest to `ids[i]` as (place in `ids`, score)."""

    ids: tuple[str, ...]
    rows: tuple[tuple[tuple[int, float], ...], ...]

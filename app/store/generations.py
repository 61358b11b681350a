"""Which index a vector is in: SQL over the generations that a space's vectors are written in.

An HNSW index takes new vectors one by one, each at the price of a search. So it covers a span of
generations that has ended, is built in one go, and what is written since is in no index: searches
compare it one by one, until it is enough for an index of its own, or for one with what others
cover. No row ever moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.domain.collections import Space, Span

# An older index is built anew together with what is newer once it is this many times as large at
# most: every vector is built into few indexes in its life, and few are there at a time.
RATIO = 3
MOST_SPANS = 6  # while writes go on


def current_generation(space_key: int) -> str:
    """What is written now belongs to it, whatever the writer remembers of the space.

    0 in a collection that is just deleted: the writer is about to notice.
    """
    return f"coalesce((SELECT generation FROM spaces WHERE key = {int(space_key)}), 0)"


def coming_generation(space_key: int) -> str:
    """As `current_generation`, of a space that a migration of the model is still filling."""
    coming = f"SELECT generation FROM model_migrations WHERE space_key = {int(space_key)}"
    return f"coalesce(({coming}), 0)"


def in_span(span: Span, row: str = "") -> str:
    """Return a condition on a row, such as `v.`; in an index and in queries the same.

    It is over an expression, so that nothing but that very index can serve it, and the planner's
    estimates do not hang on statistics that are older than the generation.
    """
    parts = [f"({row}generation + 0) <= {int(span.until)}"]
    if span.after is not None:
        parts.append(f"({row}generation + 0) > {int(span.after)}")
    return " AND ".join(parts)


def in_no_span(space: Space, row: str = "") -> str:
    """Return a condition on a row; the index on generations leads to those it holds of."""
    return f"{row}generation > {int(space.indexed[-1])}" if space.indexed else "true"


def kept(sizes: Sequence[int], fresh: int, *, busy: bool) -> int:
    """Return how many of the spans, the oldest first, stay as they are.

    The others are to have one index together with the `fresh` vectors. While writes go on (`busy`)
    little more is built, with what has few left: a walk sees those that were replaced as well.
    """
    for place, size in enumerate(sizes):
        if size < (fresh / 2 if busy else RATIO * (sum(sizes[place + 1 :]) + fresh)):
            return place
    return 1 if busy and len(sizes) >= MOST_SPANS else len(sizes)

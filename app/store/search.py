"""Search plans, run."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from app.domain.items import Hit
from app.domain.search import Found, SearchPlan, SearchReport, Strategy
from app.errors import NotFound
from app.store.errors import translated
from app.store.rows import item_from, vector_from
from app.store.search_statement import SearchStatement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.domain.collections import Collection
    from app.store.database import Database


class SearchStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def search(self, collection: Collection, plan: SearchPlan) -> Found:
        """Run the plan: the best first, by rank and then by age.

        `collection` may be stale: the statement itself makes sure that it is still there, and the
        space still its own. Raises NotFound where it is not.
        """
        started = time.perf_counter()
        statement = SearchStatement(collection, plan)
        with translated(collection):
            rows = await self._database.pool.fetch(statement.text, *statement.values)
        if not rows:
            raise NotFound("collection", collection.id)
        hits = [] if rows[0]["id"] is None else [_hit(row, plan) for row in rows]
        return _found(rows[0], hits, statement.plan, time.perf_counter() - started)

    async def search_all(self, collection: Collection, plans: Sequence[SearchPlan]) -> list[Found]:
        """Run the plans, which ask for no vectors, in one round trip; see `search`."""
        started, values, parts = time.perf_counter(), list[Any](), []
        statements = [SearchStatement(collection, plan) for plan in plans]
        for number, statement in enumerate(statements):
            parts.append(
                f"SELECT {number} AS plan, row_number() OVER () AS place, answer.* "
                f"FROM ({_renumbered(statement.text, len(values))}) AS answer"
            )
            values += statement.values
        query = f"SELECT * FROM ({' UNION ALL '.join(parts)}) AS answers ORDER BY plan, place"
        with translated(collection):
            rows = await self._database.pool.fetch(query, *values)
        seconds = time.perf_counter() - started
        answers: list[list[Mapping[str, Any]]] = [[] for _ in plans]
        for row in rows:
            answers[row["plan"]].append(row)
        if not all(answers):
            raise NotFound("collection", collection.id)
        return [
            _found(
                answer[0], [_hit(row, made.plan) for row in answer if row["id"]], made.plan, seconds
            )
            for made, answer in zip(statements, answers, strict=True)
        ]


def _renumbered(query: str, by: int) -> str:
    """Raise the numbers of a statement's placeholders: others' stand before them."""
    return re.sub(r"\$(\d+)", lambda number: f"${int(number[1]) + by}", query)


def _hit(row: Mapping[str, Any], plan: SearchPlan) -> Hit:
    vector = vector_from(row["embedding"]) if plan.with_vectors else None
    return Hit(item_from(row), row["similarity"], vector)


def _found(row: Mapping[str, Any], hits: list[Hit], plan: SearchPlan, seconds: float) -> Found:
    walked = plan.strategy is not Strategy.EXACT and not row["few"]
    matching = row["matching"]
    report = SearchReport(
        strategy=plan.strategy if walked else Strategy.EXACT,
        rows=row["item_count"],
        matching=matching,
        matching_capped=matching is not None and walked,
        estimated=row["estimated"],
        seconds=seconds,
    )
    return Found(hits, plan, report, complete=not walked or row["walked"] >= plan.depth)

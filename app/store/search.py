"""Search plans as SQL: one statement, one round trip."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from app.domain.collections import IndexKind
from app.domain.items import Hit
from app.domain.search import Branch, Found, SearchPlan, SearchReport, Strategy
from app.errors import NotFound
from app.store.binding import Parameters
from app.store.errors import translated
from app.store.filters import compile_filter, item_scope
from app.store.live import still_there
from app.store.metrics import distance_operator, index_order, similarity_of
from app.store.names import items_table, vectors_table
from app.store.rows import CODES, ITEM_COLUMNS, MODALITIES, item_from, vector_from

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.domain.collections import Collection, Space
    from app.store.database import Database

MAX_EF_SEARCH = 1000  # pgvector's limit
LEAST_SCANNED = 20_000  # rows that a walk may see before it gives up: pgvector's default
SCAN_MEMORY = 8  # times work_mem, for what a walk remembers of them
SAMPLED = 1000  # items that a filter is tried on to estimate how many pass


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
        return _found(rows[0], hits, plan, time.perf_counter() - started)

    async def search_all(self, collection: Collection, plans: Sequence[SearchPlan]) -> list[Found]:
        """Run the plans, which ask for no vectors, in one round trip; see `search`."""
        started, values, parts = time.perf_counter(), list[Any](), []
        for number, plan in enumerate(plans):
            statement = SearchStatement(collection, plan)
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
            _found(answer[0], [_hit(row, plan) for row in answer if row["id"]], plan, seconds)
            for plan, answer in zip(plans, answers, strict=True)
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


class SearchStatement:
    """One plan's SQL. The text depends on the plan's shape alone: values are parameters."""

    def __init__(self, collection: Collection, plan: SearchPlan) -> None:
        self._collection, self._plan = collection, plan
        self._space: Space = plan.space or collection.space
        # The vectors that clients bring are searched as one, whatever their items hold.
        self._raw = self._space.spec.model_id is None
        self._parameters = Parameters()
        self._items = items_table(collection.key)
        self._vectors = vectors_table(self._space.key)
        self._query = self._parameters.bind_vector(self._space, plan.vector)
        self._filter: str | None = None
        if plan.filter is not None:
            self._filter = compile_filter(plan.filter, self._bind, item_scope(collection))
        self.text = self._text()

    @property
    def values(self) -> list[Any]:
        return self._parameters.values

    def _text(self) -> str:
        plan, parts = self._plan, {"live": self._live()}
        matching = few = estimated = "NULL"
        if plan.strategy is Strategy.EXACT or not plan.branches:
            found = self._exact()
        else:
            found = " UNION ALL ".join(f"({self._walk(branch)})" for branch in plan.branches)
            if self._filter is not None:
                parts["sample"] = self._sample()
            if self._filter is not None and plan.filter_first is not None:
                parts |= self._matching()
                found = f"({self._exact(chosen=True)}) UNION ALL {found}"
                matching, few = "(SELECT n FROM counted)", "(SELECT few FROM counted)"
                estimated = "CASE WHEN (SELECT NOT few FROM counted) THEN "
                estimated += "(SELECT share * item_count FROM sample, live) END"
        parts["found"] = found
        parts["best"] = self._best()
        ctes = ", ".join(f"{name} AS MATERIALIZED ({part})" for name, part in parts.items())
        vector = join = ""
        if plan.with_vectors:
            vector, join = ", v.embedding", f"JOIN {self._vectors} AS v ON v.item_seq = i.seq"
        return (
            f"WITH {ctes} SELECT live.item_count, (SELECT count(*) FROM found) AS walked, "
            f"{matching}::bigint AS matching, {few}::boolean AS few, "
            f"{estimated}::bigint AS estimated, hits.* FROM live LEFT JOIN ("
            f"SELECT best.rank, best.similarity, i.seq, {ITEM_COLUMNS}{vector} "
            f"FROM best JOIN {self._items} AS i ON i.seq = best.item_seq {join}) AS hits ON true "
            "ORDER BY hits.rank DESC, hits.seq"
        )

    def _live(self) -> str:
        return (
            "SELECT c.item_count FROM collections AS c "
            f"WHERE {still_there(self._collection, self._parameters)}"
        )

    def _matching(self) -> dict[str, str]:
        """Those that pass the filter, as far as they may be compared one by one."""
        first = self._plan.filter_first
        assert first is not None
        rows, expected, parts = self._bind(first.rows), "true", {}
        if first.sample_first:
            expected = f"(SELECT share * item_count <= {rows} FROM sample, live)"
        parts["matching"] = (
            f"SELECT i.seq FROM {self._items} AS i WHERE {expected} AND ({self._filter}) "
            f"LIMIT {rows} + 1"
        )
        parts["counted"] = (
            f"SELECT count(*) AS n, {expected} AND count(*) <= {rows} AS few FROM matching"
        )
        return parts

    def _sample(self) -> str:
        """The share of the items that pass the filter, from about as many as are to be tried."""
        items = max(self._collection.item_count, 1)
        percent = self._bind(min(100.0, 100.0 * SAMPLED / items))
        # SYSTEM reads whole pages: no more than there are in the sample.
        return (
            f"SELECT greatest(count(*) FILTER (WHERE {self._filter}), 0.5) / greatest(count(*), 1) "
            f"AS share FROM {self._items} AS i TABLESAMPLE SYSTEM ({percent})"
        )

    def _exact(self, *, chosen: bool = False) -> str:
        """All branches in one pass over the vectors, or over those chosen by the filter."""
        conditions = []
        if not self._raw:
            codes = self._bind(sorted(CODES[branch.modality] for branch in self._plan.branches))
            conditions.append(f"v.modality = ANY ({codes}::smallint[])")
        if chosen:
            conditions += ["(SELECT few FROM counted)", "v.item_seq IN (SELECT seq FROM matching)"]
        elif self._filter is not None:
            matching = f"SELECT i.seq FROM {self._items} AS i WHERE {self._filter}"
            conditions.append(f"v.item_seq IN ({matching})")
        conditions += self._exclusion("v.item_seq")
        # OFFSET 0 keeps the distance from being computed once per use.
        scan = (
            f"SELECT v.item_seq, v.modality, {self._similarity('v.embedding')} AS similarity "
            f"FROM {self._vectors} AS v WHERE {' AND '.join(conditions) or 'true'} OFFSET 0"
        )
        order = f"ORDER BY rank DESC, item_seq LIMIT {self._bind(self._plan.depth)}"
        return f"{self._ranked(scan)} {order}"

    def _walk(self, branch: Branch) -> str:
        """The index of one modality, walked until enough rows pass the filter.

        The setting is made by the statement itself, as its first step, and ends with it.
        """
        code, plan = CODES[branch.modality], self._plan
        conditions = [f"(SELECT {self._settings()}) IS NOT NULL"]
        if not self._raw:
            conditions.append(f"v.modality = {int(code)}")
        join = ""
        if self._filter is not None:
            if plan.filter_first is not None:
                conditions.insert(0, "NOT (SELECT few FROM counted)")
            # OFFSET 0 leaves the planner no way but to ask for each row as the index yields it.
            join = (
                f"CROSS JOIN LATERAL (SELECT FROM {self._items} AS i "
                f"WHERE i.seq = v.item_seq AND ({self._filter}) OFFSET 0) AS matching"
            )
        conditions += self._exclusion("v.item_seq")
        kind = IndexKind.BINARY if plan.strategy is Strategy.BINARY else IndexKind.FLOAT16
        order = index_order(self._space.spec, self._query, kind)
        walked = self._bind(max(plan.depth, plan.walked))
        walk = (
            f"SELECT v.item_seq, v.modality, v.embedding FROM {self._vectors} AS v {join} "
            f"WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT {walked}"
        )
        scan = (
            f"SELECT item_seq, modality, {self._similarity('embedding')} AS similarity "
            f"FROM ({walk}) AS walked OFFSET 0"
        )
        return self._ranked(scan)

    def _settings(self) -> str:
        """How far the index is walked: the further, the more a filter thins it out."""
        plan = self._plan
        ef_search = f"{self._bind(min(max(plan.ef_search, 1), MAX_EF_SEARCH))}::int"
        if self._filter is None:
            return f"set_config('hnsw.ef_search', ({ef_search})::text, true)"
        thinned = f"ceil({self._bind(plan.walked)} / (SELECT share FROM sample))::int"
        ef_search = f"greatest({ef_search}, least({MAX_EF_SEARCH}, {thinned}))"
        scanned = f"greatest({LEAST_SCANNED}, 2 * {thinned})"
        return (
            f"set_config('hnsw.ef_search', ({ef_search})::text, true) "
            f"|| set_config('hnsw.max_scan_tuples', ({scanned})::text, true) "
            f"|| set_config('hnsw.scan_mem_multiplier', '{SCAN_MEMORY}', true)"
        )

    def _best(self) -> str:
        cut = ""
        if self._plan.least_rank is not None:
            cut = f"WHERE rank >= {self._bind(float(self._plan.least_rank))}::float8"
        return (
            f"SELECT * FROM found {cut} ORDER BY rank DESC, item_seq "
            f"LIMIT {self._bind(self._plan.limit)} OFFSET {self._bind(self._plan.offset)}"
        )

    def _ranked(self, scan: str) -> str:
        """With its rank: the similarity itself where all branches are ranked alike."""
        rank = "similarity"
        if any((b.slope, b.intercept) != (1.0, 0.0) for b in self._plan.branches):
            slopes, intercepts = [0.0] * len(MODALITIES), [0.0] * len(MODALITIES)
            for branch in self._plan.branches:
                slopes[CODES[branch.modality]] = float(branch.slope)
                intercepts[CODES[branch.modality]] = float(branch.intercept)
            rank = (
                f"({self._bind(slopes)}::float8[])[modality + 1] * similarity "
                f"+ ({self._bind(intercepts)}::float8[])[modality + 1]"
            )
        return f"SELECT item_seq, similarity, {rank} AS rank FROM ({scan}) AS scanned"

    def _similarity(self, embedding: str) -> str:
        return similarity_of(distance_operator(self._space.spec), embedding, self._query)

    def _exclusion(self, column: str) -> list[str]:
        if not self._plan.exclude_ids:
            return []
        ids = self._bind(list(self._plan.exclude_ids))
        return [f"{column} NOT IN (SELECT seq FROM {self._items} WHERE id = ANY ({ids}::text[]))"]

    def _bind(self, value: Any) -> str:
        return self._parameters.bind(value)

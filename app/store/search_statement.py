"""A search plan as SQL: one statement, one round trip."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app.domain.collections import IndexKind
from app.domain.search import Branch, Strategy
from app.store.binding import Parameters
from app.store.filters import compile_filter, item_scope
from app.store.generations import in_no_span, in_span
from app.store.live import still_there
from app.store.metrics import distance_operator, index_order, similarity_of
from app.store.names import items_table, vectors_table
from app.store.rows import CODES, ITEM_COLUMNS, MODALITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.domain.collections import Collection, Space, Span
    from app.domain.search import SearchPlan

MAX_EF_SEARCH = 1000  # pgvector's limit
LEAST_SCANNED = 20_000  # rows that a walk may see before it gives up: pgvector's default
SCAN_MEMORY = 8  # times work_mem, for what a walk remembers of them
SAMPLED = 1000  # items that a filter is tried on to estimate how many pass


class SearchStatement:
    """One plan's SQL. The text depends on the plan's shape alone: values are parameters.

    `plan` is the one given, or an exact one where there is nothing to walk.
    """

    def __init__(self, collection: Collection, plan: SearchPlan) -> None:
        self._space: Space = plan.space or collection.space
        if not (self._space.spans and plan.branches):
            plan = replace(plan, strategy=Strategy.EXACT)
        self._collection, self.plan = collection, plan
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
        plan, parts, walked = self.plan, {"live": self._live()}, "found"
        matching = few = estimated = "NULL"
        if plan.strategy is Strategy.EXACT:
            found = self._exact()
        else:
            walks = [
                self._walk(branch, span) for span in self._space.spans for branch in plan.branches
            ]
            if self._filter is not None:
                parts["sample"] = self._sample()
            found = f"TABLE walked UNION ALL ({self._fresh()})"
            if self._filter is not None and plan.filter_first is not None:
                parts |= self._matching()
                found = f"({self._exact(chosen=True)}) UNION ALL {found}"
                matching, few = "(SELECT n FROM counted)", "(SELECT few FROM counted)"
                estimated = "CASE WHEN (SELECT NOT few FROM counted) THEN "
                estimated += "(SELECT share * item_count FROM sample, live) END"
            # What is fresh does not make up for a walk that ended early: nearer ones may be beyond.
            walked = "walked"
            parts[walked] = " UNION ALL ".join(f"({walk})" for walk in walks)
        parts["found"] = found
        parts["best"] = self._best()
        ctes = ", ".join(f"{name} AS MATERIALIZED ({part})" for name, part in parts.items())
        vector = join = ""
        if plan.with_vectors:
            vector, join = ", v.embedding", f"JOIN {self._vectors} AS v ON v.item_seq = i.seq"
        return (
            f"WITH {ctes} SELECT live.item_count, (SELECT count(*) FROM {walked}) AS walked, "
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
        first = self.plan.filter_first
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
        conditions = self._of_branches()
        if chosen:
            conditions += ["(SELECT few FROM counted)", "v.item_seq IN (SELECT seq FROM matching)"]
        elif self._filter is not None:
            matching = f"SELECT i.seq FROM {self._items} AS i WHERE {self._filter}"
            conditions.append(f"v.item_seq IN ({matching})")
        conditions += self._exclusion("v.item_seq")
        order = f"ORDER BY rank DESC, item_seq LIMIT {self._bind(self.plan.depth)}"
        return f"{self._compared(conditions)} {order}"

    def _of_branches(self) -> list[str]:
        if self._raw:
            return []
        codes = self._bind(sorted(CODES[branch.modality] for branch in self.plan.branches))
        return [f"v.modality = ANY ({codes}::smallint[])"]

    def _compared(self, conditions: Sequence[str]) -> str:
        # OFFSET 0 keeps the distance from being computed once per use.
        return self._ranked(
            f"SELECT v.item_seq, v.modality, {self._similarity('v.embedding')} AS similarity "
            f"FROM {self._vectors} AS v WHERE {' AND '.join(conditions) or 'true'} OFFSET 0"
        )

    def _matching_one(self) -> str:
        # OFFSET 0 leaves the planner no way but to ask about each row as it comes.
        return (
            f"CROSS JOIN LATERAL (SELECT FROM {self._items} AS i "
            f"WHERE i.seq = v.item_seq AND ({self._filter}) OFFSET 0) AS matching"
        )

    def _fresh(self) -> str:
        """What is in no index, in one pass; a filter is asked about the nearest, in their order."""
        conditions = [in_no_span(self._space, "v."), *self._of_branches()]
        conditions += self._exclusion("v.item_seq")
        if self._filter is not None and self.plan.filter_first is not None:
            conditions.insert(0, "NOT (SELECT few FROM counted)")
        order = "ORDER BY rank DESC, item_seq"
        compared, limit = self._compared(conditions), f"LIMIT {self._bind(self.plan.depth)}"
        if self._filter is None:
            return f"{compared} {order} {limit}"
        return (
            f"SELECT v.* FROM ({compared} {order} OFFSET 0) AS v {self._matching_one()} "
            f"{order} {limit}"
        )

    def _walk(self, branch: Branch, span: Span) -> str:
        """The index of one modality in the span, walked until enough rows pass the filter.

        The setting is made by the statement itself, as its first step, and ends with it.
        """
        code, plan = CODES[branch.modality], self.plan
        conditions = [f"(SELECT {self._settings(span)}) IS NOT NULL", in_span(span, "v.")]
        if not self._raw:
            conditions.append(f"v.modality = {int(code)}")
        join = ""
        if self._filter is not None:
            if plan.filter_first is not None:
                conditions.insert(0, "NOT (SELECT few FROM counted)")
            join = self._matching_one()
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

    def _settings(self, span: Span) -> str:
        """How far the index is walked: the further, the more a filter thins it out.

        Half as far where an older one has most of the vectors, and so most of the nearest.
        """
        plan = self.plan
        wanted = plan.ef_search
        if span.after is not None:
            wanted = max(wanted // 2, plan.depth, plan.walked)
        ef_search = f"{self._bind(min(max(wanted, 1), MAX_EF_SEARCH))}::int"
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
        if self.plan.least_rank is not None:
            cut = f"WHERE rank >= {self._bind(float(self.plan.least_rank))}::float8"
        return (
            f"SELECT * FROM found {cut} ORDER BY rank DESC, item_seq "
            f"LIMIT {self._bind(self.plan.limit)} OFFSET {self._bind(self.plan.offset)}"
        )

    def _ranked(self, scan: str) -> str:
        """With its rank: the similarity itself where all branches are ranked alike."""
        rank = "similarity"
        if any((b.slope, b.intercept) != (1.0, 0.0) for b in self.plan.branches):
            slopes, intercepts = [0.0] * len(MODALITIES), [0.0] * len(MODALITIES)
            for branch in self.plan.branches:
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
        if not self.plan.exclude_ids:
            return []
        ids = self._bind(list(self.plan.exclude_ids))
        return [f"{column} NOT IN (SELECT seq FROM {self._items} WHERE id = ANY ({ids}::text[]))"]

    def _bind(self, value: Any) -> str:
        return self._parameters.bind(value)

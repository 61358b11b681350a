"""Search plans as SQL: one statement, one round trip."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from app.domain.collections import Metric, SpaceSpec
from app.domain.items import Hit
from app.domain.search import Branch, SearchPlan, Strategy
from app.store.errors import translated
from app.store.filters import compile_filter, item_scope
from app.store.names import items_table, vectors_table
from app.store.rows import CODES, ITEM_COLUMNS, MODALITIES, VECTOR_TYPES, item_from, vector_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.domain.collections import Collection
    from app.store.database import Database

MAX_EF_SEARCH = 1000  # pgvector's limit
MAX_HNSW_DIMENSIONS = 4000  # of halfvec, which every index is over

_OPERATORS = {Metric.COSINE: "<=>", Metric.DOT: "<#>", Metric.EUCLIDEAN: "<->"}
_OPERATOR_CLASSES = {
    "<=>": "halfvec_cosine_ops",
    "<#>": "halfvec_ip_ops",
    "<->": "halfvec_l2_ops",
}


def distance_operator(spec: SpaceSpec) -> str:
    """Vectors of a model have unit length: their cosine is the cheaper dot product."""
    return "<#>" if spec.model_id is not None else _OPERATORS[spec.metric]


def indexed_expression(spec: SpaceSpec) -> tuple[str, str]:
    """What an HNSW index is over, and its operator class. Queries order by the same expression.

    Half precision in either kind of space: the distances of what it finds are taken in full.
    """
    expression = f"(embedding::halfvec({int(spec.dimensions)}))"
    return expression, _OPERATOR_CLASSES[distance_operator(spec)]


class SearchStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def search(self, collection: Collection, plan: SearchPlan) -> list[Hit]:
        """Run the plan: the best first, by rank and then by age.

        A plan with HNSW may find fewer than exist. Raises NotFound for a deleted collection.
        """
        if not plan.branches or plan.limit <= 0:
            return []
        statement = _Statement(collection, plan)
        query = statement.text()
        with translated(collection):
            rows = await self._database.pool.fetch(query, *statement.values)
        return [
            Hit(
                item=item_from(row),
                similarity=row["similarity"],
                vector=vector_from(row["embedding"]) if plan.with_vectors else None,
            )
            for row in rows
        ]


class _Statement:
    """One plan's SQL. The text depends on the plan's shape alone: values are parameters."""

    def __init__(self, collection: Collection, plan: SearchPlan) -> None:
        self.values: list[Any] = []
        self._plan = plan
        self._collection = collection
        self._items = items_table(collection.key)
        self._vectors = vectors_table(collection.space.key)
        self._spec = collection.space.spec
        self._type = VECTOR_TYPES[self._spec.precision]
        self._operator = distance_operator(self._spec)
        vector = plan.vector
        if self._type == "halfvec":
            with np.errstate(over="ignore"):  # the database refuses infinity by name
                vector = vector.astype(np.float16)
        self._query = f"{self._bind(vector)}::{self._type}"
        self._wanted = self._bind(plan.limit + plan.offset)
        self._slopes = self._per_modality("slope", 0.0)
        self._intercepts = self._per_modality("intercept", 0.0)
        self._cut = any(branch.least_rank is not None for branch in plan.branches)
        self._least = self._per_modality("least_rank", -math.inf) if self._cut else ""

    def text(self) -> str:
        exact = [b for b in self._plan.branches if b.strategy is Strategy.EXACT]
        parts = [self._hnsw(b) for b in self._plan.branches if b.strategy is Strategy.HNSW]
        if exact:
            parts.append(self._exact(exact))
        found = " UNION ALL ".join(f"({part})" for part in parts)
        vector, join = "", ""
        if self._plan.with_vectors:
            vector = ", v.embedding"
            join = f"JOIN {self._vectors} AS v ON v.item_seq = best.item_seq"
        return f"""
        SELECT best.similarity, {ITEM_COLUMNS}{vector} FROM (
            SELECT * FROM ({found}) AS found ORDER BY rank DESC, item_seq
            LIMIT {self._bind(self._plan.limit)} OFFSET {self._bind(self._plan.offset)}
        ) AS best JOIN {self._items} AS i ON i.seq = best.item_seq {join}
        ORDER BY best.rank DESC, best.item_seq
        """

    def _exact(self, branches: Sequence[Branch]) -> str:
        """All exact branches in one pass over the vectors."""
        codes = self._bind(sorted(CODES[branch.modality] for branch in branches))
        conditions = [f"modality = ANY ({codes}::smallint[])"]
        if self._plan.filter is not None:
            matching = f"SELECT i.seq FROM {self._items} AS i WHERE {self._filter()}"
            conditions.append(f"item_seq IN ({matching})")
        conditions += self._exclusion("item_seq")
        # OFFSET 0 keeps the distance from being computed once per use.
        scan = (
            f"SELECT item_seq, modality, {self._similarity('embedding')} AS similarity "
            f"FROM {self._vectors} WHERE {' AND '.join(conditions)} OFFSET 0"
        )
        return f"{self._ranked(scan)} ORDER BY rank DESC, item_seq LIMIT {self._wanted}"

    def _hnsw(self, branch: Branch) -> str:
        """The index of one modality, walked until enough rows pass the filter.

        The setting is made by the statement itself, as its first step, and ends with it.
        """
        code = CODES[branch.modality]
        dimensions = int(self._spec.dimensions)
        ef_search = min(max(self._plan.ef_search, 1), MAX_EF_SEARCH)
        setting = f"set_config('hnsw.ef_search', {self._bind(str(ef_search))}, true)"
        conditions = [
            f"(SELECT {setting}) IS NOT NULL",
            f"v.modality = {int(code)}",
            *self._exclusion("v.item_seq"),
        ]
        join = ""
        if self._plan.filter is not None:
            # OFFSET 0 leaves the planner no way but to ask for each row as the index yields it.
            join = (
                f"CROSS JOIN LATERAL (SELECT FROM {self._items} AS i "
                f"WHERE i.seq = v.item_seq AND ({self._filter()}) OFFSET 0) AS matching"
            )
        walk = (
            f"SELECT v.item_seq, v.modality, v.embedding FROM {self._vectors} AS v {join} "
            f"WHERE {' AND '.join(conditions)} "
            f"ORDER BY v.embedding::halfvec({dimensions}) "
            f"{self._operator} {self._query}::halfvec({dimensions}) LIMIT {self._wanted}"
        )
        scan = (
            f"SELECT item_seq, modality, {self._similarity('embedding')} AS similarity "
            f"FROM ({walk}) AS walked OFFSET 0"
        )
        return self._ranked(scan)

    def _ranked(self, scan: str) -> str:
        index = "[modality + 1]"
        rank = f"({self._slopes}){index} * similarity + ({self._intercepts}){index}"
        ranked = f"SELECT item_seq, similarity, {rank} AS rank, modality FROM ({scan}) AS scanned"
        if self._cut:
            return (
                f"SELECT item_seq, similarity, rank FROM ({ranked} OFFSET 0) AS ranked "
                f"WHERE rank >= ({self._least}){index}"
            )
        return f"SELECT item_seq, similarity, rank FROM ({ranked}) AS ranked"

    def _similarity(self, embedding: str) -> str:
        distance = f"({embedding} {self._operator} {self._query})"
        if self._operator == "<=>":  # not a number for a vector of zeros
            return f"coalesce(nullif(1 - {distance}, 'NaN'), 0)"
        return f"-{distance}"

    def _filter(self) -> str:
        assert self._plan.filter is not None
        return compile_filter(self._plan.filter, self._bind, item_scope(self._collection))

    def _exclusion(self, column: str) -> list[str]:
        if not self._plan.exclude_ids:
            return []
        ids = self._bind(list(self._plan.exclude_ids))
        return [f"{column} NOT IN (SELECT seq FROM {self._items} WHERE id = ANY ({ids}::text[]))"]

    def _per_modality(self, field: str, default: float) -> str:
        """Bind one number per modality, at the place that its code says."""
        numbers = [default] * len(MODALITIES)
        for branch in self._plan.branches:
            value = getattr(branch, field)
            numbers[CODES[branch.modality]] = default if value is None else float(value)
        return f"{self._bind(numbers)}::float8[]"

    def _bind(self, value: Any) -> str:
        self.values.append(value)
        return f"${len(self.values)}"

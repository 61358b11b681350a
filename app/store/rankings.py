"""Rankings as SQL: any number of them in one statement and one round trip."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.domain.collections import SpaceKind
from app.domain.rankings import AtRandom, ByField, ById, ByText, ByVector, Curve, NearestTo, Ranked
from app.errors import NotFound
from app.store.binding import Parameters
from app.store.errors import translated
from app.store.filters import compile_filter, item_scope
from app.store.live import still_there
from app.store.names import items_table, vectors_table
from app.store.rows import CODES, ITEM_COLUMNS, MODALITIES, item_from
from app.store.scores import ScoreExpression
from app.store.words import words_query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.domain.collections import Collection
    from app.domain.rankings import Ranking, Scope
    from app.store.database import Database

MICROSECONDS = 1_000_000


class RankingStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def rank(self, collection: Collection, rankings: Sequence[Ranking]) -> list[list[Ranked]]:
        """Run the rankings together: each one's items in order, ties by age.

        `collection` may be stale: the statement itself makes sure that it is still there, and its
        own space still the same. Raises NotFound for a deleted collection or space, InvalidInput
        for vectors that do not fit theirs.
        """
        if not rankings:
            return []
        parameters = Parameters()
        parts = []
        for number, ranking in enumerate(rankings):
            found = ranking_query(collection, ranking, parameters)
            limits = f"LIMIT {parameters.bind(ranking.limit)} "
            limits += f"OFFSET {parameters.bind(ranking.offset)}"
            parts.append(
                f"SELECT {number} AS ranking, row_number() OVER () AS place, * "
                f"FROM ({found} {limits}) AS ordered"
            )
        live = still_there(collection, parameters)
        query = f"""
        SELECT hits.* FROM (SELECT FROM collections AS c WHERE {live}) AS live LEFT JOIN (
            SELECT found.ranking, found.place, found.score, found.order_value, {ITEM_COLUMNS}
            FROM ({" UNION ALL ".join(parts)}) AS found
            JOIN {items_table(collection.key)} AS i ON i.seq = found.item_seq
        ) AS hits ON true ORDER BY hits.ranking, hits.place
        """
        with translated(collection):
            rows = await self._database.pool.fetch(query, *parameters.values)
        if not rows:
            raise NotFound("collection", collection.id)
        results: list[list[Ranked]] = [[] for _ in rankings]
        for row in rows:
            if row["ranking"] is None:  # nothing is found
                break
            ranked = Ranked(item_from(row), row["score"], row["order_value"])
            results[row["ranking"]].append(ranked)
        return results


def ranking_query(collection: Collection, ranking: Ranking, parameters: Parameters) -> str:
    """Return a SELECT, in order, of `item_seq`, `score` and `order_value`, all there are."""
    items = items_table(collection.key)
    match ranking.by:
        case ByVector() as by:
            scored = vector_query(collection, by, ranking.scope, parameters)
            return (
                f"SELECT item_seq, score, NULL::float8 AS order_value FROM ({scored}) AS scored "
                "ORDER BY score DESC, item_seq"
            )
        case ByText(least=least) as by:
            conditions = item_conditions(collection, ranking.scope, parameters)
            ranked = words_query(collection, by, conditions, parameters)
            cut = "" if least is None else f"WHERE score >= {parameters.bind(least)}::float8 "
            return (
                f"SELECT item_seq, score, NULL::float8 AS order_value FROM ({ranked}) AS ranked "
                f"{cut}ORDER BY score DESC, item_seq"
            )
        case ByField() as by:
            return _field_query(collection, by, ranking.scope, parameters)
        case ById(start=start):
            where = item_conditions(collection, ranking.scope, parameters)
            if start is not None:
                where.append(f"i.id >= {parameters.bind(start)}")
            return f"{_plain(items, where)} ORDER BY i.id"
        case AtRandom(space=space):
            where = item_conditions(collection, ranking.scope, parameters)
            if space is not None:
                where.append(f"i.seq IN (SELECT item_seq FROM {vectors_table(space.key)})")
            return f"{_plain(items, where)} ORDER BY random()"


def vector_query(collection: Collection, by: ByVector, scope: Scope, parameters: Parameters) -> str:
    """Return a SELECT, in no order, of `item_seq`, `score` and `similarity`."""
    table = vectors_table(by.space.key)
    expression = ScoreExpression(by.space, by.score, parameters)
    where = []
    if scope.modalities is not None:
        codes = sorted(CODES[modality] for modality in scope.modalities)
        where.append(f"v.modality = ANY ({parameters.bind(codes)}::smallint[])")
    if scope.filter is not None or scope.only_ids is not None:
        conditions = _chosen(collection, scope, parameters)
        matching = f"SELECT i.seq FROM {items_table(collection.key)} AS i"
        where.append(f"v.item_seq IN ({matching} WHERE {' AND '.join(conditions)})")
    if scope.exclude_ids:
        ids = parameters.bind(list(scope.exclude_ids))
        excluded = f"SELECT seq FROM {items_table(collection.key)} WHERE id = ANY ({ids}::text[])"
        where.append(f"v.item_seq NOT IN ({excluded})")
    rows = f"{table} AS v"
    if by.space.spec.kind is SpaceKind.MULTI:
        rows = f"(SELECT item_seq, modality FROM {table} WHERE place = 0) AS v"
    # OFFSET 0 keeps similarities from being computed once per use.
    compared = (
        f"SELECT v.item_seq, v.modality, {expression.columns} FROM {rows}{where_clause(where)}"
    )
    similar = (
        f"SELECT item_seq, modality, ({expression.text})::float8 AS similarity "
        f"FROM ({compared} OFFSET 0) AS compared OFFSET 0"
    )
    score = "similarity"
    if by.curves is not None:
        curves = [by.curves.get(kind, Curve(0, 0)) for kind in MODALITIES[1:] if kind]
        slopes = [curve.slope for curve in curves]
        bases = [curve.intercept for curve in curves]
        score = (
            f"({parameters.bind(slopes)}::float8[])[modality] * similarity "
            f"+ ({parameters.bind(bases)}::float8[])[modality]"
        )
    cuts = []
    if by.least is not None:
        cuts.append(f"score >= {parameters.bind(by.least)}::float8")
    if by.space.spec.kind is SpaceKind.SPARSE and isinstance(by.score, NearestTo):
        cuts.append("similarity <> 0")  # no number in common, as far as a sum can tell
    scored = f"SELECT item_seq, similarity, {score} AS score FROM ({similar}) AS weighed"
    if not cuts:
        return scored
    return f"SELECT * FROM ({scored} OFFSET 0) AS cut{where_clause(cuts)}"


def item_conditions(collection: Collection, scope: Scope, parameters: Parameters) -> list[str]:
    """Return what a scope asks of a row `i` of the items."""
    conditions = _chosen(collection, scope, parameters)
    if scope.modalities is not None:
        codes = sorted(CODES[modality] for modality in scope.modalities)
        conditions.append(f"i.modality = ANY ({parameters.bind(codes)}::smallint[])")
    if scope.exclude_ids:
        conditions.append(f"i.id <> ALL ({parameters.bind(list(scope.exclude_ids))}::text[])")
    return conditions


def _chosen(collection: Collection, scope: Scope, parameters: Parameters) -> list[str]:
    conditions = []
    if scope.filter is not None:
        compiled = compile_filter(scope.filter, parameters.bind, item_scope(collection))
        conditions.append(f"({compiled})")
    if scope.only_ids is not None:
        conditions.append(f"i.id = ANY ({parameters.bind(list(scope.only_ids))}::text[])")
    return conditions


def where_clause(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _plain(items: str, where: Sequence[str]) -> str:
    return (
        "SELECT i.seq AS item_seq, 0::float8 AS score, NULL::float8 AS order_value "
        f"FROM {items} AS i{where_clause(where)}"
    )


def _field_query(collection: Collection, by: ByField, scope: Scope, parameters: Parameters) -> str:
    direction = "DESC" if by.descending else "ASC"
    text = "(e.value #>> '{}')"
    value = (
        f"CASE jsonb_typeof(e.value) WHEN 'number' THEN {text}::float8 "
        f"WHEN 'string' THEN extract(epoch FROM time_of({text}))::float8 * {MICROSECONDS} END"
    )
    values = (
        f"SELECT DISTINCT i.seq, {value} AS value FROM {items_table(collection.key)} AS i "
        f"CROSS JOIN LATERAL jsonb_path_query(i.metadata, {parameters.bind_path(by.path)}) "
        f"AS e (value){where_clause(item_conditions(collection, scope, parameters))}"
    )
    start = ""
    if by.start is not None:
        bound = "<=" if by.descending else ">="
        start = f" AND value {bound} {parameters.bind(by.start)}::float8"
    return (
        "SELECT seq AS item_seq, 0::float8 AS score, value AS order_value "
        f"FROM ({values}) AS valued WHERE value IS NOT NULL{start} "
        f"ORDER BY value {direction}, seq"
    )

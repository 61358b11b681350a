"""Full-text search: the documents of items, their indexes, and the order of what matches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.domain.rankings import Language
from app.store.errors import translated
from app.store.names import fields_lock, items_table, words_index

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.domain.collections import Collection
    from app.domain.rankings import ByText
    from app.store.binding import Parameters
    from app.store.database import Database

# Items that are put in order: of more that match, some.
MOST_MATCHES = 50_000


class WordIndexStore:
    """The index over the words of a collection's texts, one for each language."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def build(self, collection: Collection, language: Language) -> bool:
        """Build the index while the collection is read and written.

        False where another index on the items is being built. What a crash left is cleared away
        first. Raises NotFound for a deleted collection.
        """
        name = words_index(collection.key, list(Language).index(language))
        connection = await self._database.connect()
        try:
            with translated(collection):
                # Never waited for: a waiting statement's snapshot would hold up the build.
                lock = fields_lock(collection.key)
                if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock):
                    return False
                valid = await connection.fetchval(
                    "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)", name
                )
                if not valid:
                    await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
                    await connection.execute(
                        f"CREATE INDEX CONCURRENTLY {name} ON {items_table(collection.key)} "
                        f"USING gin ({_text_of(language, '')})"
                    )
        finally:
            await connection.close()
        return True


def words_query(
    collection: Collection, by: ByText, conditions: Sequence[str], parameters: Parameters
) -> str:
    """Return a SELECT of `item_seq` and `score` of the items with any of the words.

    Those with more of the words, and nearer to each other, score higher (`ts_rank`).
    """
    language = by.fields.language
    # The words are joined by AND, which the query's text form lets us turn into OR.
    words = f"plainto_tsquery({_configuration(language)}, {parameters.bind(by.text)})"
    query = f"replace({words}::text, ' & ', ' | ')::tsquery"
    parts = [_text_of(language)]
    for path in by.fields.paths:
        values = f"jsonb_path_query_array(i.metadata, {parameters.bind_path(path)})"
        parts.append(f"to_tsvector({_configuration(language)}, coalesce({values}, '[]'))")
    document = " || ".join(parts) if len(parts) > 1 else parts[0]
    matching = " AND ".join([f"({document}) @@ {query}", *conditions])
    return (
        f"SELECT item_seq, ts_rank(document, {query})::float8 AS score FROM ("
        f"SELECT i.seq AS item_seq, {document} AS document "
        f"FROM {items_table(collection.key)} AS i WHERE {matching} LIMIT {MOST_MATCHES}"
        ") AS matching"
    )


def _text_of(language: Language, row: str = "i.") -> str:
    """What the index is over. Queries match by the same expression, with the same constant."""
    return f"to_tsvector({_configuration(language)}, coalesce({row}text, ''))"


def _configuration(language: Language) -> str:
    """Return the literal of a text search configuration."""
    return f"'pg_catalog.{Language(language).value}'::regconfig"

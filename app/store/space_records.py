"""Where it is kept what a space has: in `spaces`, or, while it is filled, with the migration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Record:
    """A table that says what indexes and segments a space has, and its column with the key."""

    table: str
    key: str

    def within(self, statement: str) -> str:
        return statement.format(table=self.table, key=self.key)


IN_USE = Record("spaces", "key")
TO_COME = Record("model_migrations", "space_key")  # while a migration of the model fills it

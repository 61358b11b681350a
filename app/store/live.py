"""Making sure, within a statement, that a collection is as it was when it was looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.domain.collections import Collection
    from app.store.binding import Parameters


def still_there(collection: Collection, parameters: Parameters) -> str:
    """Return a condition on a row `c` of the collections, that of `collection`.

    It is not deleted, its own space is still the same, and no other has been added: keys ascend.
    One that was dropped took its table along, so that no statement can name it.
    """
    newest = max(space.key for space in collection.spaces)
    return (
        f"c.key = {parameters.bind(collection.key)} "
        f"AND c.current_space = {parameters.bind(collection.space.key)} AND "
        "(SELECT max(s.key) FROM spaces AS s WHERE s.collection_key = c.key) "
        f"= {parameters.bind(newest)}"
    )

"""Names of the tables that belong to one collection or space, from our own integer keys."""

from __future__ import annotations

from app.domain.collections import IndexKind


def quoted(prefix: str, key: int, suffix: str = "") -> str:
    """Return an SQL identifier. The only place where one is formatted.

    `prefix` and `suffix` are literals of ours, `key` an integer that the database gave out.
    """
    return f'"{prefix}{int(key)}{suffix}"'


def items_table(collection_key: int) -> str:
    return quoted("items_c", collection_key)


def vectors_table(space_key: int) -> str:
    return quoted("vectors_s", space_key)


def segments_table(space_key: int) -> str:
    return quoted("segments_s", space_key)


def hnsw_index(space_key: int, modality_code: int, kind: IndexKind, until: int) -> str:
    """Of the span of generations that ends with `until`."""
    suffix = "bits" if kind is IndexKind.BINARY else "hnsw"
    return quoted("vectors_s", space_key, f"_m{int(modality_code)}_g{int(until)}_{suffix}")


def generation_index(space_key: int) -> str:
    return quoted("vectors_s", space_key, "_generation")


def field_index(collection_key: int, field_key: int, number: int) -> str:
    return quoted("items_c", collection_key, f"_f{int(field_key)}_{int(number)}")


def metadata_index(index_key: int) -> str:
    return quoted("metadata_", index_key, "_idx")


def words_index(collection_key: int, language: int) -> str:
    return quoted("items_c", collection_key, f"_w{int(language)}")


def forget_trigger(space_key: int) -> str:
    return quoted("forget_vectors_s", space_key)


def migration_trigger(event: str) -> str:
    """`event` is a literal of ours: the same names on every collection's items."""
    return f'"migrate_{event}"'


def forget_segments_trigger(space_key: int) -> str:
    return quoted("forget_segments_s", space_key)


# Advisory locks: one class per kind of thing, the thing's key in the lower 48 bits.
def collection_lock(collection_key: int) -> int:
    """Writers of a collection share this lock; its deletion takes it alone."""
    return (1 << 48) + collection_key


def index_lock(space_key: int) -> int:
    return (2 << 48) + space_key


MIGRATION_LOCK = 3 << 48


def fields_lock(collection_key: int) -> int:
    """Whoever builds or drops indexes on a collection's items: one at a time."""
    return (4 << 48) + collection_key

"""Filters as SQL over an item and its jsonb metadata. Every value and key is a bound parameter."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from app.domain.filters import (
    And,
    AtLeast,
    Equals,
    Filter,
    HasId,
    HasVector,
    Indexed,
    InNamespace,
    Nested,
    Not,
    OfModality,
    OneOf,
    Or,
    Range,
)
from app.store.conditions import compile_condition, value_at
from app.store.field_indexes import serves
from app.store.metadata_conditions import compile_indexed
from app.store.names import vectors_table
from app.store.rows import CODES
from app.store.text import storable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from app.domain.collections import Collection
    from app.domain.fields import FieldIndex


@dataclass(frozen=True, slots=True)
class Scope:
    """What a condition's names mean in the statement around it.

    `item` is the alias of the collection's items table and `document` a jsonb expression: the
    item's metadata, or an element within. `spaces` maps the names of the collection's spaces to
    their tables. Conditions that `indexes` serve are written so that Postgres can use them.
    """

    item: str = "i"
    document: str = "i.metadata"
    spaces: Mapping[str, str] = field(default_factory=dict)
    indexes: Sequence[FieldIndex] = ()
    depth: int = 0


def item_scope(collection: Collection, item: str = "i") -> Scope:
    """Conditions on a row of the collection's items."""
    return Scope(
        item,
        f"{item}.metadata",
        {space.name: vectors_table(space.key) for space in collection.spaces},
        collection.fields,
    )


def compile_filter(  # noqa: PLR0911 (one for each kind of clause)
    clause: Filter, bind: Callable[[Any], str], scope: Scope
) -> str:
    """Return a condition on one item.

    `bind` takes a value and returns its placeholder. The text depends on the shape of the tree
    alone, so that statements of one shape share a prepared plan. The condition may be NULL where
    it does not hold. Raises InvalidInput for numbers that JSON cannot write.
    """
    match clause:
        case Not(inner):
            return f"({compile_filter(inner, bind, scope)}) IS NOT TRUE"
        case And(clauses):
            return _joined("AND", clauses, bind, scope) or "true"
        case Or(clauses):
            return _joined("OR", clauses, bind, scope) or "false"
        case AtLeast(count, clauses):
            held = [f"(({compile_filter(one, bind, scope)}) IS TRUE)::int" for one in clauses]
            return f"({' + '.join(held) or '0'}) >= {bind(count)}::int"
        case Nested():
            return _nested(clause, bind, scope)
        case HasId() | HasVector() | InNamespace() | OfModality():
            return _of_item(clause, bind, scope)
        case Indexed():
            return compile_indexed(clause, bind, f"{scope.item}.indexed")
        case _:
            return compile_condition(clause, bind, scope.document, scope.indexes)


def _of_item(
    clause: HasId | HasVector | InNamespace | OfModality, bind: Callable[[Any], str], scope: Scope
) -> str:
    match clause:
        case HasId(ids):
            return f"{scope.item}.id = ANY ({bind([i for i in ids if storable(i)])}::text[])"
        case HasVector(space):
            if space not in scope.spaces:
                return "false"
            table = scope.spaces[space]
            return f"EXISTS (SELECT FROM {table} AS h WHERE h.item_seq = {scope.item}.seq)"
        case InNamespace(namespace):
            return f"{scope.item}.namespace = {bind(namespace if storable(namespace) else None)}"
        case OfModality(modalities):
            codes = sorted(CODES[modality] for modality in modalities)
            return f"{scope.item}.modality = ANY ({bind(codes)}::smallint[])"


def _joined(
    operator: str, clauses: Sequence[Filter], bind: Callable[[Any], str], scope: Scope
) -> str:
    return f" {operator} ".join(f"({compile_filter(one, bind, scope)})" for one in clauses)


def _nested(clause: Nested, bind: Callable[[Any], str], scope: Scope) -> str:
    array, name = value_at(clause.path, bind, scope.document), f"e{scope.depth}"
    inner = replace(scope, document=f"{name}.value", indexes=(), depth=scope.depth + 1)
    return (
        f"EXISTS (SELECT FROM jsonb_array_elements("
        f"CASE jsonb_typeof({array}) WHEN 'array' THEN {array} END) AS {name} (value) "
        f"WHERE jsonb_typeof({name}.value) = 'object' "
        f"AND ({compile_filter(clause.clause, bind, inner)}))"
    )


def narrowed(clause: Filter, indexes: Sequence[FieldIndex]) -> bool:
    """Tell whether indexes lead to the items that the filter keeps, or to few more."""
    match clause:
        case And(clauses):
            return any(narrowed(one, indexes) for one in clauses)
        case Or(clauses):
            return all(narrowed(one, indexes) for one in clauses)
        case HasId():
            return True
        case Indexed(clause=inner):  # an ordered index over the values, null left out
            return isinstance(inner, Equals | OneOf | Range)
        case Not() | AtLeast() | Nested() | HasVector() | InNamespace() | OfModality():
            return False
        case _:
            return serves(clause, indexes)

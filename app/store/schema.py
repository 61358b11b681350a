"""The tables. Migrations are compared with them: see `tests/store/test_migrations.py`.

`items`, `vectors_*` and `segments` are parents that hold no rows. Each collection has its own child
of `items`, each space its own child of the `vectors_*` of its kind and, once it has a recording, of
`segments` (app/store/names.py), with keys and indexes of its own. Children are made with INHERITS:
a migration of the parent's columns reaches every child, while making or dropping a child costs the
same however many there are (declarative partitions cost time in proportion to their number, and
dropping one locks the parent).
"""

from __future__ import annotations

from typing import Any

from pgvector.sqlalchemy import HALFVEC, SPARSEVEC, VECTOR
from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

ByteOrdered = Text(collation="C")


def _created(name: str = "created_at") -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=text("now()"))


projects = Table(
    "projects",
    metadata,
    Column("id", ByteOrdered, primary_key=True),
    _created(),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", ByteOrdered, primary_key=True),
    Column("project_id", ByteOrdered, ForeignKey(projects.c.id), nullable=False),
    Column("name", Text, nullable=False),
    Column("prefix", ByteOrdered, nullable=False, unique=True),
    Column("secret_hash", LargeBinary, nullable=False, comment="SHA-256 of the whole secret"),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
    _created(),
    Index(None, "project_id"),
)

collections = Table(
    "collections",
    metadata,
    Column("key", BigInteger, Identity(), primary_key=True),
    Column("id", ByteOrdered, nullable=False, unique=True),
    Column("project_id", ByteOrdered, ForeignKey(projects.c.id), nullable=False),
    Column("name", ByteOrdered, nullable=False),
    Column("description", Text),
    Column("config", JSONB, nullable=False, server_default=text("'{}'")),
    Column("current_space", BigInteger, ForeignKey("spaces.key", use_alter=True), nullable=False),
    Column("item_count", BigInteger, nullable=False, server_default=text("0")),
    _created(),
    _created("updated_at"),
    UniqueConstraint("project_id", "name"),
)

spaces = Table(
    "spaces",
    metadata,
    Column("key", BigInteger, Identity(), primary_key=True),
    Column(
        "collection_key",
        BigInteger,
        ForeignKey(collections.c.key, ondelete="CASCADE"),
        nullable=False,
    ),
    Column("name", ByteOrdered, nullable=False, server_default=text("''")),
    Column("model_id", Text, comment="null: vectors that clients bring"),
    Column("dimensions", Integer, nullable=False),
    Column("metric", Text, nullable=False),
    Column("precision", Text, nullable=False),
    Column("index_state", Text, nullable=False, server_default=text("'none'")),
    _created(),
    Column("kind", Text, nullable=False, server_default=text("'dense'")),
    Column("index_kind", Text, nullable=False, server_default=text("'float16'")),
    Column(
        "generation",
        Integer,
        nullable=False,
        server_default=text("1"),
        comment="what is written now belongs to it",
    ),
    Column(
        "indexed",
        ARRAY(Integer),
        nullable=False,
        server_default=text("'{}'"),
        comment="ascending: the generations that the indexes of the space's vectors end with",
    ),
    Column(
        "segmented",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="has a table of segments of its own",
    ),
    UniqueConstraint("collection_key", "name"),
)

item_seq = Sequence("item_seq", data_type=BigInteger, metadata=metadata)

items = Table(
    "items",
    metadata,
    Column("collection_key", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False, unique=True, server_default=item_seq.next_value()),
    Column("modality", SmallInteger, nullable=False, comment="0 none, 1 image, 2 text, 3 audio"),
    Column("id", ByteOrdered, primary_key=True),
    Column("namespace", ByteOrdered, nullable=False, server_default=text("''")),
    Column("text", Text),
    Column("media_key", ByteOrdered),
    Column("media_type", Text),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'")),
    _created(),
    _created("updated_at"),
    Column(
        "indexed",
        JSONB,
        nullable=False,
        server_default=text("'{}'"),
        comment="by key of the metadata index: the value when written, null where it has none of "
        "the kind",
    ),
)


def _vectors(
    name: str,
    kind: type[HALFVEC | SPARSEVEC | VECTOR],
    *,
    multi: bool = False,
    indexable: bool = False,
) -> Table:
    place = [Column("place", Integer, primary_key=True, autoincrement=False)] if multi else []
    generation = Column("generation", Integer, nullable=False, server_default=text("0"))
    return Table(
        name,
        metadata,
        Column("space_key", BigInteger, nullable=False),
        Column("item_seq", BigInteger, primary_key=True, autoincrement=False),
        *place,
        Column("modality", SmallInteger, nullable=False),
        Column("embedding", kind(), nullable=False),
        *([generation] if indexable else []),
    )


vectors_float16 = _vectors("vectors_float16", HALFVEC, indexable=True)
vectors_float32 = _vectors("vectors_float32", VECTOR, indexable=True)
vectors_sparse = _vectors("vectors_sparse", SPARSEVEC)
vectors_multi_float16 = _vectors("vectors_multi_float16", HALFVEC, multi=True)
vectors_multi_float32 = _vectors("vectors_multi_float32", VECTOR, multi=True)

segments = Table(
    "segments",
    metadata,
    Column("space_key", BigInteger, nullable=False),
    Column("item_seq", BigInteger, primary_key=True, autoincrement=False),
    Column("place", SmallInteger, primary_key=True, autoincrement=False),
    Column("starts", REAL, nullable=False, comment="seconds from the beginning, as ends"),
    Column("ends", REAL, nullable=False),
    Column("embedding", HALFVEC(), comment="null: the only segment, whose vector is the item's"),
)

field_indexes = Table(
    "field_indexes",
    metadata,
    Column("key", BigInteger, Identity(), primary_key=True),
    Column(
        "collection_key",
        BigInteger,
        ForeignKey(collections.c.key, ondelete="CASCADE"),
        nullable=False,
    ),
    Column("path", ARRAY(Text), nullable=False),
    Column("type", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'building'")),
    Column("options", JSONB, nullable=False, server_default=text("'{}'")),
    _created(),
    UniqueConstraint("collection_key", "path", name="field_indexes_collection_key_path_key"),
)

metadata_indexes = Table(
    "metadata_indexes",
    metadata,
    Column("key", BigInteger, Identity(), primary_key=True),
    Column(
        "collection_key",
        BigInteger,
        ForeignKey(collections.c.key, ondelete="CASCADE"),
        nullable=False,
    ),
    Column("path", ARRAY(Text), nullable=False),
    Column(
        "kind", Text, nullable=False, comment="string, number or boolean, as jsonb_typeof has it"
    ),
    _created(),
    UniqueConstraint("collection_key", "path", name="metadata_indexes_collection_key_path_key"),
)

mutations = Table(
    "mutations",
    metadata,
    Column(
        "collection_key",
        BigInteger,
        ForeignKey(collections.c.key, ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("id", Uuid, primary_key=True, comment="version 7: in the order of application"),
    Column("applied_at", DateTime(timezone=True), nullable=False),
    Column("caller", Text, nullable=False),
    Column(
        "shown",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="how often it was told to be the last one applied",
    ),
    Column("shown_at", DateTime(timezone=True)),
)

model_migrations = Table(
    "model_migrations",
    metadata,
    Column("key", BigInteger, Identity(), primary_key=True),
    Column("id", ByteOrdered, nullable=False, unique=True),
    Column(
        "collection_key",
        BigInteger,
        ForeignKey(collections.c.key, ondelete="CASCADE"),
        nullable=False,
    ),
    Column("from_model_id", Text, nullable=False),
    Column("model_id", Text, nullable=False),
    Column("dimensions", Integer, nullable=False),
    Column("metric", Text, nullable=False),
    Column("precision", Text, nullable=False),
    Column("from_space", BigInteger, nullable=False),
    Column(
        "space_key",
        BigInteger,
        nullable=False,
        comment="the space that is being filled; a row of spaces from the switch on",
    ),
    Column(
        "generation",
        Integer,
        nullable=False,
        server_default=text("1"),
        comment="until the switch, as in spaces",
    ),
    Column("indexed", ARRAY(Integer), nullable=False, server_default=text("'{}'")),
    Column("index_state", Text, nullable=False, server_default=text("'none'")),
    Column("index_kind", Text, nullable=False, server_default=text("'float16'")),
    Column(
        "segmented",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="until the switch, as in spaces",
    ),
    Column("state", Text, nullable=False, server_default=text("'pending'")),
    Column("reached", BigInteger, nullable=False, server_default=text("0")),
    Column(
        "last",
        BigInteger,
        nullable=False,
        comment="items up to this number are taken one after the other, later writes from the list",
    ),
    Column("total", BigInteger, nullable=False, server_default=text("0")),
    Column("done", BigInteger, nullable=False, server_default=text("0")),
    Column("error", Text),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column(
        "due_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=text("now()"),
        comment="when it may be claimed: the end of a lease or pause",
    ),
    Column("owner", Uuid),
    Column("leftover", BigInteger, comment="the space whose table is still to be dropped"),
    _created(),
    Column("started_at", DateTime(timezone=True)),
    _created("updated_at"),
    Column("finished_at", DateTime(timezone=True)),
    Index(
        "model_migrations_running_idx",
        "collection_key",
        unique=True,
        postgresql_where=text("finished_at IS NULL"),
    ),
    Index(None, "collection_key"),
    Index(None, "leftover", postgresql_where=text("leftover IS NOT NULL")),
)

model_migration_items = Table(
    "model_migration_items",
    metadata,
    Column(
        "migration_key",
        BigInteger,
        ForeignKey(model_migrations.c.key, ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("item_seq", BigInteger, primary_key=True, autoincrement=False),
    Column("item_id", ByteOrdered),
    Column("code", Text),
    Column("message", Text),
    Index(
        "model_migration_items_waiting_idx",
        "migration_key",
        "item_seq",
        postgresql_where=text("code IS NULL"),
    ),
    comment="items written since a migration began, and, with a code, those that cannot be "
    "embedded",
)

media_outbox = Table(
    "media_outbox",
    metadata,
    Column("key", ByteOrdered, primary_key=True),
    Column("due_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column(
        "reserved",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="an item that is being written may still claim this media",
    ),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Index(None, "due_at"),
)

dropped_collections = Table(
    "dropped_collections",
    metadata,
    Column("collection_key", BigInteger, primary_key=True, autoincrement=False),
    Column("space_keys", ARRAY(BigInteger), nullable=False),
    Column("media_queued", Boolean, nullable=False),
    _created("dropped_at"),
    comment="deleted collections whose tables are still to be dropped",
)

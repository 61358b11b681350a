"""Named spaces: several vectors for an item, sparse vectors and multi-vectors.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE spaces ADD COLUMN kind text NOT NULL DEFAULT 'dense';
ALTER TABLE spaces ADD CONSTRAINT spaces_collection_key_name_key UNIQUE (collection_key, name);
DROP INDEX spaces_collection_key_idx;

CREATE TABLE vectors_sparse (
    space_key bigint NOT NULL,
    item_seq  bigint NOT NULL,
    modality  smallint NOT NULL,
    embedding sparsevec NOT NULL,
    CONSTRAINT vectors_sparse_pkey PRIMARY KEY (item_seq)
);
CREATE TABLE vectors_multi_float16 (
    space_key bigint NOT NULL,
    item_seq  bigint NOT NULL,
    place     integer NOT NULL,
    modality  smallint NOT NULL,
    embedding halfvec NOT NULL,
    CONSTRAINT vectors_multi_float16_pkey PRIMARY KEY (item_seq, place)
);
CREATE TABLE vectors_multi_float32 (
    space_key bigint NOT NULL,
    item_seq  bigint NOT NULL,
    place     integer NOT NULL,
    modality  smallint NOT NULL,
    embedding vector NOT NULL,
    CONSTRAINT vectors_multi_float32_pkey PRIMARY KEY (item_seq, place)
);
ALTER TABLE vectors_multi_float16 ALTER embedding SET STORAGE PLAIN;
ALTER TABLE vectors_multi_float32 ALTER embedding SET STORAGE PLAIN;
"""

# A collection's items run this, once for each named space and statement, for what they delete.
FORGET_VECTORS = """
CREATE FUNCTION forget_vectors() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DELETE FROM %I WHERE item_seq IN (SELECT seq FROM gone)', TG_ARGV[0]);
    RETURN NULL;
END
$$
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    op.execute(FORGET_VECTORS)


def downgrade() -> None:
    op.execute("DROP TABLE vectors_sparse, vectors_multi_float16, vectors_multi_float32 CASCADE")
    op.execute("DROP FUNCTION forget_vectors CASCADE")
    op.execute("DELETE FROM spaces WHERE key NOT IN (SELECT current_space FROM collections)")
    op.execute("ALTER TABLE spaces DROP CONSTRAINT spaces_collection_key_name_key")
    op.execute("CREATE INDEX spaces_collection_key_idx ON spaces (collection_key)")
    op.execute("ALTER TABLE spaces DROP COLUMN kind")

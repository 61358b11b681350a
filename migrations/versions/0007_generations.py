"""Vectors know the generation that they were written in, and indexes cover generations.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# A constant default rewrites no table, and reaches every child.
TABLES = """
ALTER TABLE vectors_float16 ADD COLUMN generation integer NOT NULL DEFAULT 0;
ALTER TABLE vectors_float32 ADD COLUMN generation integer NOT NULL DEFAULT 0;
ALTER TABLE spaces ADD COLUMN generation integer NOT NULL DEFAULT 1;
ALTER TABLE spaces ADD COLUMN indexed integer[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN spaces.generation IS 'what is written now belongs to it';
COMMENT ON COLUMN spaces.indexed
    IS 'ascending: the generations that the indexes of the space''s vectors end with';
"""

# The indexes that there are serve on, as those of all generations up to 0, and are replaced in the
# background: they would still take every new vector, one by one.
ADOPT = """
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT c.relname, regexp_replace(c.relname, '_(hnsw|bits)$', '_g0_\\1') AS renamed
        FROM pg_class AS c WHERE c.relkind = 'i' AND c.relname ~ '^vectors_s\\d+_m\\d_(hnsw|bits)$'
    LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', found.relname, found.renamed);
    END LOOP;
    FOR found IN SELECT key FROM spaces WHERE index_state = 'ready'
    LOOP
        EXECUTE format(
            'CREATE INDEX %I ON %I (generation)',
            'vectors_s' || found.key || '_generation', 'vectors_s' || found.key
        );
    END LOOP;
    UPDATE spaces SET indexed = '{0}' WHERE index_state = 'ready';
END
$$
"""

# What covers a part of the vectors alone is of no use to the code before; it builds its own.
DISOWN = """
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT c.relname FROM pg_class AS c
        WHERE c.relkind = 'i' AND c.relname ~ '^vectors_s\\d+_(generation$|m\\d_g\\d+_)'
    LOOP
        EXECUTE format('DROP INDEX %I', found.relname);
    END LOOP;
    UPDATE spaces SET index_state = 'none';
END
$$
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    op.execute(ADOPT)


def downgrade() -> None:
    op.execute(DISOWN)
    op.execute("ALTER TABLE spaces DROP COLUMN indexed")
    op.execute("ALTER TABLE spaces DROP COLUMN generation")
    op.execute("ALTER TABLE vectors_float16 DROP COLUMN generation")
    op.execute("ALTER TABLE vectors_float32 DROP COLUMN generation")

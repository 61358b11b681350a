"""Segments of recordings, and which spaces have any.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE segments (
    space_key bigint NOT NULL,
    item_seq  bigint NOT NULL,
    place     smallint NOT NULL,
    starts    real NOT NULL,
    ends      real NOT NULL,
    embedding halfvec,
    CONSTRAINT segments_pkey PRIMARY KEY (item_seq, place)
);
COMMENT ON COLUMN segments.starts IS 'seconds from the beginning, as ends';
COMMENT ON COLUMN segments.embedding IS 'null: the only segment, whose vector is the item''s';
ALTER TABLE segments ALTER embedding SET STORAGE PLAIN;

ALTER TABLE spaces ADD COLUMN segmented boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN spaces.segmented IS 'has a table of segments of its own';
ALTER TABLE model_migrations ADD COLUMN segmented boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN model_migrations.segmented IS 'until the switch, as in spaces'
"""

# A collection's items run this, once for each space with segments, for each recording that is
# deleted or that another item takes the place of: what that one has is written after it.
FORGET_SEGMENTS = """
CREATE FUNCTION forget_segments() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DELETE FROM %I WHERE item_seq = $1', TG_ARGV[0]) USING OLD.seq;
    RETURN NULL;
END
$$
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        op.execute(statement)
    op.execute(FORGET_SEGMENTS)


def downgrade() -> None:
    op.execute("DROP FUNCTION forget_segments CASCADE")
    op.execute("DROP TABLE segments CASCADE")
    op.execute("ALTER TABLE model_migrations DROP COLUMN segmented")
    op.execute("ALTER TABLE spaces DROP COLUMN segmented")

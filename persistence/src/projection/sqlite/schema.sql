-- The same table as on Postgres (see migrations/postgres/0003_projection.sql), in a file of its own. A row lies where its
-- id does (WITHOUT ROWID), so the file is in the order of the lists, and every index ends in the id. Bind it anew
-- (`SCHEMA` in sqlite.rs) when anything here changes: a file with another number is thrown away and filled again.
CREATE TABLE order_search (
    stream BLOB NOT NULL PRIMARY KEY,
    placed_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    total_minor INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    status INTEGER NOT NULL,
    live INTEGER NOT NULL,
    currency TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    restaurant_id TEXT NOT NULL,
    channel_id TEXT,
    stuck TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX order_search_customer ON order_search (customer_id);
CREATE INDEX order_search_channel ON order_search (channel_id) WHERE channel_id IS NOT NULL;
CREATE INDEX order_search_live ON order_search (stream) WHERE live;
CREATE INDEX order_search_stuck ON order_search (stream) WHERE stuck IS NOT NULL;

-- How far each line is applied, and which row is the last one: if the store has another there, this is not its
-- projection.
CREATE TABLE cursors (
    shard INTEGER PRIMARY KEY,
    position INTEGER NOT NULL,
    stream BLOB NOT NULL,
    seq INTEGER NOT NULL
) STRICT;

-- The same tables as on Postgres (see there for why they are as they are), as far as SQLite has the means. The checks
-- against NUL are here because Postgres has them in its text type.
CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE shards (
    shard INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL DEFAULT 0,
    owner TEXT NOT NULL DEFAULT ''
) STRICT;

-- A table with rowids: rows are wide, and appending them at the end is cheaper than sorting them into the key's tree.
CREATE TABLE event_rows (
    stream BLOB NOT NULL,
    seq INTEGER NOT NULL CHECK (seq > 0),
    position INTEGER NOT NULL CHECK (position > 0),
    at INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    events BLOB NOT NULL,
    PRIMARY KEY (stream, seq),
    UNIQUE (shard, position)
) STRICT;

CREATE TABLE snapshots (
    stream BLOB NOT NULL PRIMARY KEY,
    seq INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    live INTEGER NOT NULL,
    state BLOB NOT NULL
) STRICT;

CREATE INDEX snapshots_live ON snapshots (shard) WHERE live = 1;

CREATE TABLE idempotency_keys (
    shard INTEGER NOT NULL,
    key TEXT NOT NULL CHECK (length(CAST(key AS BLOB)) <= 300 AND instr(key, char(0)) = 0),
    stream BLOB NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    fingerprint TEXT NOT NULL CHECK (instr(fingerprint, char(0)) = 0),
    PRIMARY KEY (shard, key)
) STRICT, WITHOUT ROWID;

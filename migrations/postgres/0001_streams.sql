-- What the store was created with, and what must stay with the data. Names are fixed in the code.
CREATE TABLE settings (
    name text PRIMARY KEY,
    value text NOT NULL
);

-- One row per shard. The epoch is the fencing token: whoever takes the shard increments it, and every batch checks it
-- under FOR SHARE. Nothing that changes often may be added here: a lease that is renewed would wait for the batches.
CREATE TABLE shards (
    shard smallint PRIMARY KEY,
    epoch bigint NOT NULL DEFAULT 0,
    owner text NOT NULL DEFAULT ''
);

-- One row per turn of an actor, its events packed as a JSON array. In position order these rows are the outbox.
-- Two indexes and no third: a third of the database's time goes into them. The payload is bytea because jsonb costs
-- more than twice the processor time and nothing queries inside it. Wide columns first, so that none is padded.
CREATE TABLE event_rows (
    stream uuid NOT NULL,
    seq bigint NOT NULL,
    position bigint NOT NULL,
    at bigint NOT NULL,
    shard smallint NOT NULL,
    kind smallint NOT NULL,
    events bytea NOT NULL,
    CONSTRAINT event_rows_pkey PRIMARY KEY (stream, seq),
    CONSTRAINT event_rows_position_key UNIQUE (shard, position),
    CONSTRAINT event_rows_seq_check CHECK (seq > 0),
    CONSTRAINT event_rows_position_check CHECK (position > 0)
);

-- The folded state of a stream at a version. Updated often: half of each page stays free, so that updates need not
-- touch an index (HOT).
CREATE TABLE snapshots (
    stream uuid NOT NULL,
    seq bigint NOT NULL,
    shard smallint NOT NULL,
    kind smallint NOT NULL,
    live boolean NOT NULL,
    state bytea NOT NULL,
    CONSTRAINT snapshots_pkey PRIMARY KEY (stream)
) WITH (fillfactor = 50);

-- What a shard's new owner must bring back to life.
CREATE INDEX snapshots_live ON snapshots (shard) WHERE live;

-- Used idempotency keys, committed with the row that each one caused.
CREATE TABLE idempotency_keys (
    shard smallint NOT NULL,
    key text NOT NULL,
    stream uuid NOT NULL,
    seq bigint NOT NULL,
    at bigint NOT NULL,
    fingerprint text NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (shard, key),
    CONSTRAINT idempotency_keys_key_check CHECK (octet_length(key) <= 300)
);

-- The same tables as on Postgres (see there), in the file `webhooks.db`.
CREATE TABLE webhook_subscriptions (
    id TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL CHECK (version > 0),
    settings TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE webhook_deliveries (
    committed_at INTEGER,
    next_at INTEGER NOT NULL,
    dead_at INTEGER,
    attempts INTEGER NOT NULL,
    id TEXT NOT NULL PRIMARY KEY,
    subscription TEXT NOT NULL REFERENCES webhook_subscriptions (id) ON DELETE CASCADE,
    event TEXT NOT NULL,
    error TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE INDEX webhook_deliveries_waiting ON webhook_deliveries (subscription, next_at) WHERE dead_at IS NULL;
CREATE INDEX webhook_deliveries_dead ON webhook_deliveries (subscription, id) WHERE dead_at IS NOT NULL;

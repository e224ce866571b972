-- The nodes of a cluster. A lease is compared with the database's clock alone, and lies here and not on `shards`: renewed
-- every second there, it would wait for the batches. Beside its row a node holds a session advisory lock (its lifeline),
-- which ends with its process. Whoever takes shards for a node locks its row first (KEY SHARE), so that a node that is
-- removed takes nothing any more. Updated often: most of the page stays free, so that updates need not touch the index.
CREATE TABLE nodes (
    lease_until timestamptz NOT NULL,
    draining boolean NOT NULL,
    name text COLLATE "C" NOT NULL,
    address text NOT NULL,
    CONSTRAINT nodes_pkey PRIMARY KEY (name),
    CONSTRAINT nodes_name_check CHECK (name <> '')
) WITH (fillfactor = 25);

-- How far each follower of the position lines (the relay, say) has come. One row per follower and shard, updated about
-- once a second.
CREATE TABLE cursors (
    follower TEXT NOT NULL,
    shard INTEGER NOT NULL,
    position INTEGER NOT NULL,
    CONSTRAINT cursors_pkey PRIMARY KEY (follower, shard)
) STRICT, WITHOUT ROWID;

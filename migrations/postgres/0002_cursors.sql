-- How far each follower of the position lines (the relay, say) has come. One row per follower and shard, updated about
-- once a second.
CREATE TABLE cursors (
    follower text NOT NULL,
    shard smallint NOT NULL,
    position bigint NOT NULL,
    CONSTRAINT cursors_pkey PRIMARY KEY (follower, shard)
);

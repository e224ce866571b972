-- Orders as lists and searches show them: a projection of the event rows, fed in batches. It can be emptied at any time
-- (`uoop migrate rebuild-projection`): truncate it, delete the cursors of the follower 'projection', and it is filled again.
--
-- Order ids sort by time, so the primary key is the order of every list. Each index costs 2 to 5 microseconds an order:
-- there is none for restaurants, which are found along the primary key. Names compare bytewise ("C"): a locale's order is
-- of no use here and costs more. A status changes six times in an order's life, so no index may mention it: `live` says
-- whether the status is one that others follow, changes once, and lets all other updates leave the indexes alone (HOT),
-- for which a fifth of each page stays free. Wide columns first, so that none is padded.
CREATE TABLE order_search (
    stream uuid NOT NULL,
    placed_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    total_minor bigint NOT NULL,
    seq bigint NOT NULL,
    status smallint NOT NULL,
    live boolean NOT NULL,
    currency text COLLATE "C" NOT NULL,
    customer_id text COLLATE "C" NOT NULL,
    restaurant_id text COLLATE "C" NOT NULL,
    channel_id text COLLATE "C",
    CONSTRAINT order_search_pkey PRIMARY KEY (stream)
) WITH (fillfactor = 80);

CREATE INDEX order_search_customer ON order_search (customer_id, stream);
CREATE INDEX order_search_channel ON order_search (channel_id, stream) WHERE channel_id IS NOT NULL;
CREATE INDEX order_search_live ON order_search (stream) WHERE live;

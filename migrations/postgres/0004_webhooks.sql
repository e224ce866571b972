-- Who is told of public events over HTTP. `settings` is JSON, secrets included: who reads this table can sign.
CREATE TABLE webhook_subscriptions (
    id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    settings text NOT NULL,
    CONSTRAINT webhook_subscriptions_pkey PRIMARY KEY (id),
    CONSTRAINT webhook_subscriptions_version_check CHECK (version > 0)
);

-- Messages that an endpoint has not taken yet: waiting for their next attempt (`dead_at` is null) or given up. What is
-- taken at the first attempt never comes here.
CREATE TABLE webhook_deliveries (
    committed_at bigint,
    next_at bigint NOT NULL,
    dead_at bigint,
    attempts integer NOT NULL,
    id text COLLATE "C" NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    event text NOT NULL,
    error text NOT NULL,
    body bytea NOT NULL,
    CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (id),
    CONSTRAINT webhook_deliveries_subscription_fkey FOREIGN KEY (subscription)
        REFERENCES webhook_subscriptions (id) ON DELETE CASCADE
);

CREATE INDEX webhook_deliveries_waiting ON webhook_deliveries (subscription, next_at) WHERE dead_at IS NULL;
CREATE INDEX webhook_deliveries_dead ON webhook_deliveries (subscription, id) WHERE dead_at IS NOT NULL;

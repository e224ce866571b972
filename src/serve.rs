//! The composition root: from settings to a serving node, and back down.

use crate::clock::{BusinessClock, RandomIds};
use crate::data_dir::{DataDir, DataDirError};
use crate::demo::{self, DemoError};
use crate::http::{self, AppState, HttpLimits, Submissions};
use crate::inbound::Reports;
use crate::participants::draw::InvalidSetting;
use crate::participants::guard::{GuardConfig, Guarded};
use crate::participants::http::{HttpKitchens, HttpPayments};
use crate::participants::simulated::{SimulatedKitchens, SimulatedPayments};
use crate::participants::wall::{self, WallClock};
use crate::projection;
use crate::settings::{
    CourierKind, KafkaSettings, ParticipantKind, ParticipantSettings, RedisSettings, Settings, StorePlace,
};
use crate::status::Statuses;
use crate::utilisation;
use crate::webhooks::{Delivering, FOLLOWER as WEBHOOKS, Webhooks};
use crate::world::{Roles, World};
use actors::{CallError, ClusterError, Platform, Ports, Readiness};
use domain::ports::{Clock, Kitchens, Membership, OrderObserver, Payments, Store, StoreError};
use domain::shard::ShardId;
use metrics_exporter_prometheus::BuildError;
use persistence::projection::{Projection, Projector};
use persistence::{GroupJournal, InvalidAddress, JournalHandle, MemoryStore, PostgresStore, Redis, Relay, SqliteStore};
use persistence::{Inbound, InboundError, RetentionStore, Sweep, Sweeper};
use persistence::{MemoryWebhooks, PostgresWebhooks, SqliteWebhooks, WebhookStore};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// How long a stopping server still answers after it has said, at `/readyz`, that it stops.
const LINGER: Duration = Duration::from_millis(200);
/// How long a node may take to give its shards away.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the journal may take to commit what it holds.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the relay may take to publish what is committed, once nothing is any more.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the recovery is looked at.
const GLANCE: Duration = Duration::from_millis(5);

/// Why the server does not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data directory is in use or cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The store cannot be opened.
    #[error("the store cannot be opened")]
    Store(#[from] StoreError),
    /// Where Redis is cannot be read.
    #[error("redis cannot be used")]
    Redis(#[from] InvalidAddress),
    /// A participant is configured wrongly.
    #[error("a participant's setting is wrong")]
    Participant(#[from] InvalidSetting),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The HTTP client of webhooks cannot be set up.
    #[error("webhooks cannot be delivered")]
    Webhooks(#[from] reqwest::Error),
    /// The listener broke.
    #[error("the HTTP server ended")]
    Http(#[source] std::io::Error),
    /// The figures cannot be kept.
    #[error("the figures cannot be kept")]
    Figures(#[from] BuildError),
    /// The actors do not start.
    #[error("the actors do not start")]
    Actors(#[from] CallError),
    /// The demonstration data cannot be created.
    #[error("the demonstration data cannot be created")]
    Demo(#[from] DemoError),
    /// What is reported over Kafka cannot be consumed.
    #[error("events cannot be consumed from kafka")]
    Inbound(#[from] InboundError),
    /// The node cannot take part in its cluster.
    #[error("cannot join the cluster")]
    Cluster(#[from] ClusterError),
    /// The store belongs to a cluster, and this server is not a node of it.
    #[error(
        "the store is that of a cluster ({0} is one of its nodes): start with --cluster to be one of them, or stop them \
         first"
    )]
    Clustered(String),
    /// The other nodes removed this one.
    #[error("this node was taken for gone and removed from the cluster: start it again")]
    Expelled,
    /// Another node has taken over.
    #[error("another node took over shard {0}: it writes to the same store, and this one must not any more")]
    Fenced(ShardId),
}

/// Serves until `shutdown` is done or the node is fenced. `announce` gets the address once orders can be taken.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(
    settings: &Settings,
    shutdown: impl Future<Output = ()> + Send + 'static,
    announce: impl FnOnce(SocketAddr, &Platform),
) -> Result<(), ServeError> {
    let _held = match settings.store.place() {
        StorePlace::Sqlite(_) => Some(DataDir::take(&settings.store.data_dir)?),
        StorePlace::Memory | StorePlace::Postgres(_) => None,
    };
    let address = (settings.http.host.as_str(), settings.http.port);
    let listening = |source| ServeError::Listen {
        address: format!("{} port {}", address.0, address.1),
        source,
    };
    // Taken before anything else is done, so that a port in use harms nobody.
    let listener = TcpListener::bind(address).await.map_err(listening)?;
    let bound = listener.local_addr().map_err(listening)?;
    let prometheus = http::figures()?.install_recorder()?;
    let mut node = Node::start(settings).await?;
    node.recovered().await;
    if settings.demo.enabled {
        demo::create(&node.platform).await?;
    }
    node.consume(&settings.kafka)?;
    node.sweep(settings);
    announce(bound, &node.platform);
    let app = AppState {
        platform: node.platform.clone(),
        statuses: Arc::clone(&node.statuses),
        wall: Arc::clone(&node.wall),
        search: node.projector.search(),
        prometheus,
        webhooks: node.webhooks.clone(),
        webhook_secrets: settings.participants.signing_secrets.clone().into(),
        limits: limits(settings),
        cors_origin: Some(settings.http.cors_origin.clone()).filter(|origin| !origin.is_empty()),
    };
    node.serve(listener, app, shutdown).await
}

fn limits(settings: &Settings) -> HttpLimits {
    let request_ms = u64::try_from(settings.http.request_timeout.as_millis()).unwrap_or(u64::MAX);
    HttpLimits {
        body_bytes_max: settings.http.body_bytes_max,
        connections_max: settings.http.connections_max,
        streams_max: settings.http.streams_max,
        request_ms_max: request_ms,
        throttle_limit: settings.http.throttle_limit,
        throttle_ttl_s: settings.http.throttle_ttl.as_secs(),
        ..HttpLimits::default()
    }
}

struct Node {
    platform: Platform,
    journal: JournalHandle,
    statuses: Arc<Statuses>,
    wall: WallClock,
    webhooks: Webhooks,
    delivering: Delivering,
    projector: Projector,
    relay: Option<Relay>,
    inbound: Option<Inbound>,
    aging: Sweep,
    sweeper: Option<Sweeper>,
}

impl Node {
    async fn start(settings: &Settings) -> Result<Self, ServeError> {
        let Opened {
            store,
            kept,
            membership,
        } = Opened::open(settings).await?;
        let time = &settings.time;
        let clock = Arc::new(BusinessClock::of(&store, time.scale, wall::skewed(time.skew_ms)).await?);
        let (wall, clock): (_, Arc<dyn Clock>) = (clock.wall(), clock);
        let cluster = settings.cluster.options(store_now_ms(&*store).await?);
        let part = membership.filter(|_| settings.cluster.enabled);
        let name = match &part {
            Some(_) => cluster.transport.name.clone(),
            None => format!("uoop-{}", std::process::id()),
        };
        let owned = match &part {
            // Its shards come one by one, as the cluster has it.
            Some(_) => Vec::new(),
            None => {
                store
                    .acquire(&name, &store.shard_map().all().collect::<Vec<_>>())
                    .await?
            }
        };
        let journal = GroupJournal::start(&store, &owned, &name, &settings.store.journal(settings.cluster.enabled));
        let redis = redis(&settings.redis)?;
        let statuses = Arc::new(Statuses::start(settings.cache.entries_max, redis.clone()));
        let world = World::new(roles(&settings.participants), Arc::clone(&clock));
        let (payments, kitchens) = participants(&settings.participants, &wall)?;
        let policy = settings.policy().scaled(settings.time.scale);
        let webhooks = webhooks(settings, &wall).await?;
        let delivering = webhooks.start(&journal.tail(), &store).await?;
        let projection = projection::open(settings, &*store).await?;
        let following = settings.projection.options();
        let kafka = settings.kafka.options();
        let aging = aging(settings, kept, &store, &projection, &journal, &clock);
        let projector = Projector::start(projection, &journal.tail(), &store, Arc::clone(&clock), following);
        let relay = kafka.map(|options| Relay::start(&journal.tail(), &store, options));
        let ports = Ports {
            store,
            journal: journal.journal(),
            clock,
            ids: Arc::new(RandomIds::default()),
            payments,
            kitchens,
            front: Arc::new(Submissions),
            // The cache first: what the world does next must not find the status that was.
            observers: vec![Arc::clone(&statuses) as Arc<dyn OrderObserver>, Arc::clone(&world) as _],
            policy,
        };
        let platform = match part {
            Some(membership) => Platform::join(ports, settings.actors(), membership, cluster).await?,
            None => Platform::start(ports, settings.actors()).await?,
        };
        world.join(platform.clone());
        if let Some(redis) = redis {
            tokio::spawn(utilisation::publish(platform.clone(), redis, policy.slot_ms));
        }
        Ok(Self {
            platform,
            journal,
            statuses,
            wall,
            webhooks,
            delivering,
            projector,
            relay,
            inbound: None,
            aging,
            sweeper: None,
        })
    }

    /// Begins to take what is reported over Kafka, if that is configured.
    fn consume(&mut self, settings: &KafkaSettings) -> Result<(), InboundError> {
        if let (Some(kafka), Some(options)) = (settings.options(), settings.inbound()) {
            let reports = Reports::new(self.platform.clone(), settings.channel_events_topic.clone());
            self.inbound = Some(Inbound::start(&kafka, options, reports)?);
        }
        Ok(())
    }

    /// Begins to delete what is old, if anything ever is.
    fn sweep(&mut self, settings: &Settings) {
        let options = settings.store.retention();
        self.sweeper = options.is_needed().then(|| Sweeper::start(self.aging.clone(), options));
    }

    async fn recovered(&self) {
        while self.platform.readiness() == Readiness::Recovering {
            tokio::time::sleep(GLANCE).await;
        }
    }

    async fn serve(
        mut self,
        listener: TcpListener,
        app: AppState,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let platform = self.platform.clone();
        let stopping = async move {
            shutdown.await;
            if platform.is_clustered() {
                // Whoever still asks is answered as before: by the nodes that have the shards then.
                if tokio::time::timeout(LEAVE_TIMEOUT, platform.leave()).await.is_err() {
                    tracing::warn!("not every shard was given away in time; the others take them over");
                }
            } else {
                platform.drain();
            }
            tokio::time::sleep(LINGER).await;
        };
        let threads = http::Threads::start().map_err(ServeError::Http)?;
        let fenced = fenced(&self.platform, &mut self.journal);
        let served = tokio::select! {
            served = http::serve(&threads, listener, app, stopping) => served.map_err(ServeError::Http),
            shard = fenced => Err(ServeError::Fenced(shard)),
            () = self.platform.expelled() => Err(ServeError::Expelled),
        };
        if let Some(inbound) = self.inbound.take() {
            inbound.stop().await;
        }
        self.sweeper.take();
        self.platform.stop().await;
        if tokio::time::timeout(CLOSE_TIMEOUT, self.journal.close()).await.is_err() {
            tracing::warn!("the store did not take what was still to be committed; nobody was told that it had");
        }
        if tokio::time::timeout(CLOSE_TIMEOUT, self.delivering.stop())
            .await
            .is_err()
        {
            tracing::warn!("webhooks did not come to an end; what was under way is delivered again at the next start");
        }
        if let Some(relay) = self.relay
            && !relay.stop(FLUSH_TIMEOUT).await
        {
            tracing::warn!("not all events are published yet: the rest follows at the next start");
        }
        drop(threads);
        served
    }
}

/// Tells the platform of shards that are another node's. Resolves when this node cannot go on without one: by itself, it
/// owns all or nothing.
async fn fenced(platform: &Platform, journal: &mut JournalHandle) -> ShardId {
    loop {
        let Some(shard) = journal.next_fenced().await else {
            return std::future::pending().await;
        };
        platform.fenced(shard);
        if !platform.is_clustered() {
            return shard;
        }
    }
}

/// The store, and who is in its cluster, if it can have one.
struct Opened {
    store: Arc<dyn Store>,
    kept: Arc<dyn RetentionStore>,
    membership: Option<Arc<dyn Membership>>,
}

impl Opened {
    async fn open(settings: &Settings) -> Result<Self, ServeError> {
        let sharding = settings.store.sharding();
        let url = match settings.store.place() {
            StorePlace::Memory => return Ok(Self::alone(MemoryStore::new(sharding.of_a_new_store()))),
            StorePlace::Sqlite(path) => {
                let store = SqliteStore::open(&path, sharding, &settings.store.sqlite()).await?;
                return Ok(Self::alone(store));
            }
            StorePlace::Postgres(url) => url,
        };
        let options = settings.store.postgres();
        let store = Arc::new(PostgresStore::connect(url.expose(), sharding, &options).await?);
        if !settings.cluster.enabled {
            let members = store.view().await?.members;
            if let Some(member) = members.into_iter().find(|member| member.lease_left_ms > 0) {
                return Err(ServeError::Clustered(member.name));
            }
        }
        Ok(Self {
            store: Arc::clone(&store) as Arc<dyn Store>,
            kept: Arc::clone(&store) as Arc<dyn RetentionStore>,
            membership: Some(store),
        })
    }

    /// A store that no nodes share.
    fn alone<S: Store + RetentionStore>(store: S) -> Self {
        let store = Arc::new(store);
        Self {
            store: Arc::clone(&store) as Arc<dyn Store>,
            kept: store,
            membership: None,
        }
    }
}

/// The store's clock if it has one, so that incarnations grow whatever the machines' clocks say.
async fn store_now_ms(store: &dyn Store) -> Result<i64, StoreError> {
    Ok(store.clock_ms().await?.unwrap_or_else(crate::clock::wall_ms))
}

/// Opens the store that the settings name.
pub(crate) async fn open(settings: &Settings) -> Result<Arc<dyn Store>, StoreError> {
    let sharding = settings.store.sharding();
    Ok(match settings.store.place() {
        StorePlace::Memory => Arc::new(MemoryStore::new(sharding.of_a_new_store())),
        StorePlace::Sqlite(path) => Arc::new(SqliteStore::open(&path, sharding, &settings.store.sqlite()).await?),
        StorePlace::Postgres(url) => {
            Arc::new(PostgresStore::connect(url.expose(), sharding, &settings.store.postgres()).await?)
        }
    })
}

/// What is swept of orders that ended long ago, and who must have passed them.
fn aging(
    settings: &Settings,
    kept: Arc<dyn RetentionStore>,
    store: &Arc<dyn Store>,
    projection: &Arc<dyn Projection>,
    journal: &JournalHandle,
    clock: &Arc<dyn Clock>,
) -> Sweep {
    let mut followers = vec![WEBHOOKS];
    followers.extend(settings.kafka.options().map(|_| Relay::FOLLOWER));
    Sweep {
        kept,
        store: Arc::clone(store),
        projection: Arc::clone(projection),
        tail: journal.tail(),
        clock: Arc::clone(clock),
        followers,
    }
}

/// Webhooks, kept beside the orders: on the embedded store in a file of their own.
async fn webhooks(settings: &Settings, wall: &WallClock) -> Result<Webhooks, ServeError> {
    let store: Arc<dyn WebhookStore> = match settings.store.place() {
        StorePlace::Memory => Arc::new(MemoryWebhooks::default()),
        StorePlace::Sqlite(path) => Arc::new(SqliteWebhooks::open(&path.with_file_name("webhooks.db")).await?),
        StorePlace::Postgres(url) => Arc::new(PostgresWebhooks::connect(url.expose())?),
    };
    let ids = Arc::new(RandomIds::default());
    Ok(Webhooks::new(
        store,
        settings.webhooks.options(),
        Arc::clone(wall),
        ids,
    )?)
}

/// The connection to Redis, if there is one. It is made in the background: a start does not wait for it.
fn redis(settings: &RedisSettings) -> Result<Option<Arc<Redis>>, InvalidAddress> {
    if settings.url.is_empty() {
        return Ok(None);
    }
    Redis::connect(settings.url.expose(), &settings.options()).map(Some)
}

fn roles(participants: &ParticipantSettings) -> Roles {
    Roles {
        kitchens: participants.kitchens == ParticipantKind::Simulated && participants.simulated.cooks,
        couriers: participants.couriers == CourierKind::Simulated,
    }
}

type Participants = (Arc<dyn Payments>, Arc<dyn Kitchens>);

fn participants(settings: &ParticipantSettings, wall: &WallClock) -> Result<Participants, ServeError> {
    let simulated = settings.simulated.config();
    let payments: Arc<dyn Payments> = match settings.http_payments() {
        None => Arc::new(SimulatedPayments::new(simulated)),
        Some(config) => Arc::new(HttpPayments::new(&config, Arc::clone(wall))?),
    };
    let kitchens: Arc<dyn Kitchens> = match settings.http_kitchens() {
        // They decide in their answers; who reports the cooking is the world.
        None => Arc::new(SimulatedKitchens::new(simulated, Arc::new(|_, _| {}))),
        Some(config) => Arc::new(HttpKitchens::new(&config, Arc::clone(wall))?),
    };
    let guard = settings.guard();
    // A payment provider serves everybody: its limit is not that of one kitchen.
    let payment_guard = GuardConfig {
        concurrent_max: guard.concurrent_max.saturating_mul(16),
        ..guard
    };
    Ok((
        Arc::new(Guarded::new(payments, payment_guard)),
        Arc::new(Guarded::new(kitchens, guard)),
    ))
}

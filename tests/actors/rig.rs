//! A platform to test, on stores and with participants that can be made to fail.

use crate::fakes::Fakes;
use crate::store::{FaultyJournal, FaultyStore};
use actors::{
    ActorOptions, ActorView, CallError, ClusterOptions, CommandOptions, Platform, Ports, Readiness, Versioned,
};
use domain::channel::{self, Channel, ChannelConfig, ChannelKind};
use domain::geo::Location;
use domain::ids::{ChannelId, OrderId, Seq, StreamId, ZoneId};
use domain::invariants;
use domain::money::Money;
use domain::order::{DeliveryLocation, Details, Item, Order, OrderStatus};
use domain::policy::Policy;
use domain::ports::{Clock, IdSource, Journal, OrderObserver, Store};
use domain::saga::{Command, Step};
use domain::time::{Millis, Timestamp};
use domain::zone::{self, CourierConfig};
use persistence::{GroupJournal, JournalHandle, JournalOptions};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use uoop::world::{Roles, World};

/// When the tests begin.
const T0: i64 = 1_800_000_000_000;
/// How long, of time that stands still, anything that must happen may take. It only bounds how long a failure takes.
const PATIENCE: Duration = Duration::from_hours(8);

/// The tokio clock as business time.
pub(crate) struct TestClock {
    start: Instant,
    /// Whoever reads the clock next panics.
    pub(crate) bomb: AtomicBool,
    pub(crate) reads: AtomicU64,
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        assert!(
            !self.bomb.swap(false, Ordering::SeqCst),
            "the clock was told to explode"
        );
        self.reads.fetch_add(1, Ordering::SeqCst);
        Timestamp(T0 + i64::try_from(self.start.elapsed().as_millis()).expect("a short test"))
    }

    fn scale(&self) -> u64 {
        1
    }
}

/// Numbers that look random and are the same each time (`SplitMix64`).
#[derive(Default)]
struct Numbers(AtomicU64);

impl IdSource for Numbers {
    fn random(&self) -> u64 {
        let mut z = self
            .0
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst)
            .wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// What a platform is started with.
pub(crate) struct Setup {
    pub(crate) shards: u16,
    pub(crate) options: ActorOptions,
    pub(crate) policy: Policy,
    /// Whether kitchens cook and couriers drive by themselves.
    pub(crate) world: bool,
    pub(crate) observers: Vec<Arc<dyn OrderObserver>>,
    /// How it is a member of a cluster, if it is: alone in it.
    pub(crate) member: Option<ClusterOptions>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            shards: 4,
            options: ActorOptions::default(),
            policy: Policy::default(),
            world: true,
            observers: Vec::new(),
            member: None,
        }
    }
}

impl Setup {
    /// Nobody cooks, drives or decides by itself.
    pub(crate) fn silent() -> Self {
        Self {
            world: false,
            ..Self::default()
        }
    }
}

/// A running platform and everything around it.
pub(crate) struct Rig {
    pub(crate) platform: Platform,
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) journal: Arc<FaultyJournal>,
    pub(crate) fakes: Arc<Fakes>,
    pub(crate) clock: Arc<TestClock>,
    ids: Arc<Numbers>,
    setup: Setup,
    handle: JournalHandle,
}

impl Rig {
    /// A platform on an empty store.
    pub(crate) async fn start(setup: Setup) -> Self {
        let rig = Self::begin(setup, |_| {}).await;
        rig.until_ready().await;
        rig
    }

    /// The same, on a store that was changed before, and before it serves.
    pub(crate) async fn begin(setup: Setup, change: impl FnOnce(&FaultyStore)) -> Self {
        let clock = TestClock {
            start: Instant::now(),
            bomb: AtomicBool::new(false),
            reads: AtomicU64::new(0),
        };
        let store = Arc::new(FaultyStore::new(setup.shards));
        change(&store);
        Self::on(store, Arc::new(clock), Arc::default(), Arc::default(), setup).await
    }

    /// The same with one kitchen that has plenty of capacity, and two couriers.
    pub(crate) async fn with_kitchen(setup: Setup) -> Self {
        let rig = Self::start(setup).await;
        rig.open_kitchen(1, 1_000).await;
        rig.hire(2).await;
        rig
    }

    async fn on(
        store: Arc<FaultyStore>,
        clock: Arc<TestClock>,
        ids: Arc<Numbers>,
        fakes: Arc<Fakes>,
        setup: Setup,
    ) -> Self {
        let dynamic: Arc<dyn Store> = Arc::clone(&store) as _;
        // The shards of a member come one by one.
        let (name, owned) = if let Some(member) = &setup.member {
            (member.transport.name.as_str(), Vec::new())
        } else {
            let shards: Vec<_> = store.shard_map().all().collect();
            let owned = store.acquire("test", &shards).await;
            ("test", owned.expect("the store is there"))
        };
        let handle = GroupJournal::start(&dynamic, &owned, name, &JournalOptions::default());
        let journal = Arc::new(FaultyJournal::over(handle.journal()));
        let world = World::new(
            Roles {
                kitchens: setup.world,
                couriers: setup.world,
            },
            Arc::clone(&clock) as _,
        );
        let mut observers = setup.observers.clone();
        observers.push(Arc::clone(&world) as _);
        let ports = Ports {
            store: dynamic,
            journal: Arc::clone(&journal) as Arc<dyn Journal>,
            clock: Arc::clone(&clock) as _,
            ids: Arc::clone(&ids) as _,
            payments: Arc::clone(&fakes) as _,
            kitchens: Arc::clone(&fakes) as _,
            front: Arc::new(uoop::http::Submissions),
            observers,
            policy: setup.policy,
        };
        let platform = match setup.member.clone() {
            Some(member) => Platform::join(ports, setup.options.clone(), Arc::clone(&store) as _, member)
                .await
                .expect("it joins"),
            None => Platform::start(ports, setup.options.clone()).await.expect("it starts"),
        };
        world.join(platform.clone());
        Self {
            platform,
            store,
            journal,
            fakes,
            clock,
            ids,
            setup,
            handle,
        }
    }

    pub(crate) async fn until_ready(&self) {
        self.until("it serves", |rig| rig.platform.readiness() == Readiness::Ready)
            .await;
    }

    /// Stops the platform at once.
    pub(crate) async fn stop(self) -> Stopped {
        self.platform.stop().await;
        self.handle.close().await;
        Stopped {
            store: self.store,
            clock: self.clock,
            ids: self.ids,
            fakes: self.fakes,
            setup: self.setup,
        }
    }

    /// A kitchen that can make everything of `restaurant-1`; the lower the number, the cheaper.
    pub(crate) async fn open_kitchen(&self, n: u16, capacity_per_slot: u32) {
        let command = channel::Command::Configure {
            id: kitchen(n),
            config: Box::new(kitchen_config(n, capacity_per_slot)),
        };
        self.platform
            .channel(command, &kitchen(n), None)
            .await
            .expect("the kitchen is valid");
    }

    pub(crate) async fn hire(&self, couriers: u32) {
        for n in 0..couriers {
            let id = format!("courier-{n}").parse().expect("a name");
            let config = CourierConfig {
                zone: centre(),
                location: Location { lat: 41.0, lng: -87.0 },
                on_at: None,
                off_at: None,
                metres_per_min: 320,
            };
            let command = zone::Command::PutCourier {
                zone: centre(),
                id,
                config: Box::new(config),
            };
            self.platform
                .zone(command, &centre())
                .await
                .expect("the courier is valid");
        }
    }

    pub(crate) async fn place(&self) -> OrderId {
        self.platform
            .place(details(), None)
            .await
            .expect("the order is taken")
            .order
            .state
            .id
    }

    pub(crate) async fn tell(&self, id: OrderId, command: Command) -> Result<Versioned<Order>, CallError> {
        self.platform
            .command(id, command, CommandOptions::default())
            .await
            .map(|applied| applied.entity)
    }

    pub(crate) async fn cancel(&self, id: OrderId) -> Result<Versioned<Order>, CallError> {
        self.tell(
            id,
            Command::Cancel {
                reason: "changed my mind".into(),
            },
        )
        .await
    }

    pub(crate) async fn order(&self, id: OrderId) -> Versioned<Order> {
        self.platform.order(id).await.expect("the order is there")
    }

    pub(crate) fn channel(&self, n: u16) -> Arc<Channel> {
        self.platform
            .directory()
            .channel(&kitchen(n))
            .expect("the kitchen is known")
            .state
    }

    /// The actors of orders, channels and zones: the tree without its trunk.
    pub(crate) fn entities(&self) -> Vec<ActorView> {
        let mut views = self.platform.introspect();
        views.retain(|view| !matches!(view.kind.as_str(), "node" | "shard"));
        views
    }

    /// The actors of a kind.
    pub(crate) fn actors(&self, kind: &str) -> Vec<ActorView> {
        self.platform
            .introspect()
            .into_iter()
            .filter(|view| view.kind == kind)
            .collect()
    }

    /// An order's actor, if it has one.
    pub(crate) fn actor(&self, id: OrderId) -> Option<ActorView> {
        self.actors("order")
            .into_iter()
            .find(|view| view.path.ends_with(&format!("order-{id}")))
    }

    /// Waits for something.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(
                begun.elapsed() < PATIENCE,
                "waited in vain until {what}: {:#?}",
                self.platform.introspect()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for an order to be as wanted.
    pub(crate) async fn until_order(
        &self,
        id: OrderId,
        what: &str,
        is_so: impl Fn(&Order) -> bool,
    ) -> Versioned<Order> {
        let mut changes = self.platform.subscribe(id);
        let begun = Instant::now();
        loop {
            let order = self.order(id).await;
            if is_so(&order.state) {
                return order;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "waited in vain until the order is {what}: {:#?}",
                order.state
            );
            // The time-out is for what changed between the look and the subscription.
            let _ = tokio::time::timeout(Duration::from_secs(1), changes.changed()).await;
        }
    }

    pub(crate) async fn until_settled(&self, id: OrderId) -> Versioned<Order> {
        self.until_order(id, "settled", Order::is_settled).await
    }

    /// The kitchen thinks about the ticket, and nothing else is under way.
    pub(crate) async fn until_pending_ticket(&self, id: OrderId) -> Versioned<Order> {
        use domain::saga::Forward;
        let thinking = |order: &Order| {
            let forward = |step| order.record(step, order.round).map(|record| record.forward);
            matches!(forward(Step::PlaceTicket), Some(Forward::Pending { .. }))
                && forward(Step::ConfirmCapacity) == Some(Forward::Done)
        };
        self.until_order(id, "with a kitchen that thinks about it", thinking)
            .await
    }

    /// The rows of a stream.
    pub(crate) async fn row_count(&self, stream: StreamId) -> usize {
        self.platform
            .rows(stream, Seq(0), 100_000)
            .await
            .expect("the store is there")
            .len()
    }

    /// Settled orders agree with their own books, with those of the participants, with their logs, and with the channels.
    pub(crate) async fn check(&self, ids: &[OrderId]) {
        let deeds = self.fakes.deeds();
        for id in ids {
            let order = self.order(*id).await;
            let mut found = invariants::ledger(&order.state);
            found.extend(invariants::settled(&order.state));
            for step in [Step::Authorize, Step::Capture, Step::PlaceTicket] {
                let of = |(key, _): &(&domain::saga::EffectKey, &invariants::Deed)| key.step == step;
                let deeds = deeds.iter().filter(of).map(|(key, deed)| (*key, *deed)).collect();
                found.extend(invariants::agrees(&order.state, step, &deeds));
            }
            let rows = self
                .platform
                .rows(id.stream(), Seq(0), 10_000)
                .await
                .expect("the store is there");
            let seqs: Vec<Seq> = rows.iter().map(|row| row.seq).collect();
            assert_eq!(seqs.last(), Some(&order.seq));
            found.extend(invariants::gapless(*id, &seqs));
            let parse = |text: &str| serde_json::from_str(text).expect("events");
            let rows: Vec<_> = rows.iter().map(|row| (row.at, parse(&row.events))).collect();
            found.extend(invariants::replays(&rows, &*order.state).err());
            assert_eq!(found, [], "{:#?}", order.state);
        }
        let settled: BTreeSet<OrderId> = ids.iter().copied().collect();
        for channel in self.platform.directory().channels() {
            assert_eq!(invariants::nothing_reserved(&channel.state, &settled), []);
            assert_eq!(
                invariants::capacity(&channel.state, channel.state.config.capacity_per_slot),
                []
            );
        }
    }

    pub(crate) async fn assert_status(&self, ids: &[OrderId], status: OrderStatus) {
        for id in ids {
            assert_eq!(self.until_settled(*id).await.state.status, status);
        }
    }
}

/// What is left of a platform.
pub(crate) struct Stopped {
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) fakes: Arc<Fakes>,
    clock: Arc<TestClock>,
    ids: Arc<Numbers>,
    pub(crate) setup: Setup,
}

impl Stopped {
    pub(crate) async fn start(self) -> Rig {
        let rig = Rig::on(self.store, self.clock, self.ids, self.fakes, self.setup).await;
        rig.until_ready().await;
        rig
    }
}

pub(crate) fn kitchen(n: u16) -> ChannelId {
    format!("kitchen-{n}").parse().expect("a name")
}

pub(crate) fn centre() -> ZoneId {
    "centre".parse().expect("a name")
}

pub(crate) fn kitchen_config(n: u16, capacity_per_slot: u32) -> ChannelConfig {
    ChannelConfig {
        name: format!("Kitchen {n}"),
        kind: ChannelKind::Kitchen,
        serves: vec!["restaurant-1".parse().expect("a name")],
        location: Location { lat: 41.0, lng: -87.0 },
        zone: centre(),
        currency: "USD".parse().expect("a currency"),
        hours: Vec::new(),
        utc_offset_min: 0,
        prep_ms: Millis::from_mins(20),
        capacity_per_slot,
        cost_minor: i64::from(n),
        radius_m: 20_000,
    }
}

pub(crate) fn details() -> Details {
    Details {
        customer_id: "customer-1".parse().expect("a name"),
        restaurant_id: "restaurant-1".parse().expect("a name"),
        items: vec![Item {
            sku: "soup".into(),
            name: "Soup".into(),
            quantity: 5,
            unit_price_minor: 500,
        }],
        total: Money {
            minor: 2_500,
            currency: "USD".parse().expect("a currency"),
        },
        delivery_location: DeliveryLocation {
            lat: 41.02,
            lng: -87.0,
            address: "1 Main Street".into(),
        },
        requested_for: None,
        payment_token: "tok-secret".into(),
        notes: None,
    }
}

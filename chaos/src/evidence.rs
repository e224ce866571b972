//! What a run leaves behind, as it was read: the interface's JSON and the sandbox's ledger, with the fields that are
//! checked and no others.

use domain::ids::{OrderId, StreamId};
use domain::invariants::Deed;
use domain::ports::StreamKind;
use domain::saga::{EffectKey, Refused, Step};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that is checked.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// What the replay was told of each order that it submitted.
    pub submitted: Vec<Submitted>,
    /// What the server says of every order that anybody has mentioned; `None`: it does not know it.
    pub orders: BTreeMap<OrderId, Option<OrderSeen>>,
    /// Everything that payments and kitchens carried out, in their own words.
    pub ledger: Vec<LedgerLine>,
    /// What the channels hold.
    pub channels: Vec<CapacitySeen>,
    /// Whom the couriers carry for.
    pub couriers: Vec<CourierSeen>,
}

impl Evidence {
    /// Every order that the replay, the participants, the channels or the couriers mention.
    pub fn mentioned(&self) -> BTreeSet<OrderId> {
        let submitted = self
            .submitted
            .iter()
            .flat_map(|line| [line.id, line.duplicate_id()])
            .flatten();
        let claims = self
            .channels
            .iter()
            .flat_map(|channel| channel.claims.keys())
            .map(|key| key.order);
        let carried = self.couriers.iter().flat_map(|courier| courier.orders.iter().copied());
        let done = self.ledger.iter().map(|line| line.key.order);
        submitted.chain(claims).chain(carried).chain(done).collect()
    }

    /// The orders that the server knows.
    pub fn known(&self) -> impl Iterator<Item = (OrderId, &OrderSeen)> {
        self.orders
            .iter()
            .filter_map(|(id, seen)| seen.as_ref().map(|seen| (*id, seen)))
    }
}

/// A line of the replay's report.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Submitted {
    /// The order's id in the day.
    pub order: String,
    /// Its `Idempotency-Key`, which is its customer's name, too.
    pub key: String,
    /// Its id, once it was acknowledged.
    pub id: Option<OrderId>,
    /// What its repetition under the same key was answered with.
    #[serde(default, rename = "duplicate_id")]
    pub repeated: Option<String>,
    /// Whether its cancel was granted, if it was cancelled.
    #[serde(default)]
    pub cancel_granted: Option<bool>,
}

impl Submitted {
    /// The id that its repetition gave; `None` without one, or when it gave none.
    pub fn duplicate_id(&self) -> Option<OrderId> {
        self.repeated.as_ref()?.parse().ok()
    }
}

/// An order as the server tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderSeen {
    /// `GET /v1/orders/{id}`.
    pub view: OrderView,
    /// `GET /v1/orders/{id}/events`.
    pub events: Vec<EventView>,
}

/// What is checked of an order's view.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OrderView {
    /// Its version.
    pub version: u64,
    /// Its status.
    pub status: String,
    /// Whether nothing more is to happen.
    pub settled: bool,
    /// Whether an operator must look.
    pub stuck: bool,
    /// Who ordered.
    pub customer_id: String,
    /// The saga's ledger.
    pub steps: Vec<StepView>,
}

/// A step in an order's view.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StepView {
    /// Which.
    pub step: String,
    /// Which round.
    pub round: u32,
    /// How far it is.
    pub state: String,
    /// How far its compensation is, if one is wanted.
    #[serde(default)]
    pub compensation: Option<String>,
}

/// An event of an order's history.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct EventView {
    /// The version whose row holds it.
    pub version: u64,
    /// Its place in that row.
    pub index: usize,
    /// When, in milliseconds of business time since the Unix epoch.
    pub at: i64,
    /// What.
    #[serde(rename = "type")]
    pub kind: String,
    /// The particulars.
    pub data: Map<String, Value>,
}

/// A line of the sandbox's ledger.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LedgerLine {
    /// When, in milliseconds of wall time since the Unix epoch.
    pub at_ms: i64,
    /// Who.
    pub participant: String,
    /// What was asked.
    pub action: String,
    /// The effect's key.
    pub key: EffectKey,
    /// What was done.
    pub outcome: Outcome,
    /// Why not.
    #[serde(default)]
    pub refused: Option<Refused>,
}

/// What a participant did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The action.
    Done,
    /// Its compensation.
    Undone,
    /// The compensation of something it had not seen: a promise never to do it.
    Tombstone,
    /// It said no.
    Refused,
    /// It put the decision off.
    Pending,
    /// It dropped what it had accepted.
    Dropped,
}

/// How often each action of a step was carried out and undone, by the action's key.
pub fn deeds(ledger: &[LedgerLine], step: Step) -> BTreeMap<EffectKey, Deed> {
    let mut deeds: BTreeMap<EffectKey, Deed> = BTreeMap::new();
    for line in ledger.iter().filter(|line| line.key.step == step) {
        let deed = deeds.entry(line.key.action()).or_default();
        match line.outcome {
            Outcome::Done => deed.done += 1,
            Outcome::Undone | Outcome::Dropped => deed.undone += 1,
            Outcome::Tombstone | Outcome::Refused | Outcome::Pending => {}
        }
    }
    deeds.retain(|_, deed| *deed != Deed::default());
    deeds
}

/// The steps that participants outside of the platform carry out.
pub const OUTSIDE: [Step; 3] = [Step::Authorize, Step::Capture, Step::PlaceTicket];

/// A channel's capacity ledger.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CapacitySeen {
    /// The channel.
    pub id: String,
    /// Units each slot has.
    pub capacity_per_slot: u32,
    /// Slots of which something is taken.
    pub slots: Vec<SlotSeen>,
    /// The claims that take capacity, by their hold's key: `held` or `reserved`.
    pub claims: BTreeMap<EffectKey, String>,
}

/// A slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct SlotSeen {
    /// When it begins.
    pub starts_at: i64,
    /// Units taken.
    pub used: u32,
}

/// A courier.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CourierSeen {
    /// Its id.
    pub id: String,
    /// The order it carries, or is to carry.
    #[serde(default)]
    pub orders: Vec<OrderId>,
}

/// What the store holds, as its tables have it: every row of every stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreSeen {
    /// How many shards it has.
    pub shards: u16,
    /// All streams.
    pub streams: BTreeMap<StreamId, StreamSeen>,
    /// All used idempotency keys.
    pub keys: Vec<KeySeen>,
}

/// A stream in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamSeen {
    /// The number of what it is, see [`StreamKind::code`].
    pub kind: i16,
    /// Its rows, by version.
    pub rows: Vec<RowSeen>,
    /// Its folded state, as the platform keeps it.
    pub snapshot: Option<SnapshotSeen>,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowSeen {
    /// Its version.
    pub seq: u64,
    /// The shard it says it is in.
    pub shard: u16,
    /// Its place on that shard's line.
    pub position: u64,
    /// When, in milliseconds of business time since the Unix epoch.
    pub at: i64,
    /// A JSON array of events.
    pub events: String,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSeen {
    /// The version it is of.
    pub seq: u64,
    /// Whether something is still to happen, by its own word.
    pub live: bool,
    /// JSON.
    pub state: String,
}

/// A used idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySeen {
    /// The shard it is in.
    pub shard: u16,
    /// The key, with its scope.
    pub key: String,
    /// The stream that it made or changed.
    pub stream: StreamId,
    /// The version that it made.
    pub seq: u64,
}

impl StoreSeen {
    /// The orders.
    pub fn orders(&self) -> impl Iterator<Item = (OrderId, &StreamSeen)> {
        let of_order = |(_, stream): &(&StreamId, &StreamSeen)| stream.kind == StreamKind::Order.code();
        self.streams
            .iter()
            .filter(of_order)
            .map(|(id, stream)| (OrderId(*id), stream))
    }
}

impl StreamSeen {
    /// Its history in the words of the interface.
    ///
    /// # Errors
    /// A row is no array of events.
    pub fn told(&self) -> Result<Vec<EventView>, serde_json::Error> {
        let mut told = Vec::with_capacity(self.rows.len() * 2);
        for row in &self.rows {
            let events: Vec<Tagged> = serde_json::from_str(&row.events)?;
            told.extend(events.into_iter().enumerate().map(|(index, event)| EventView {
                version: row.seq,
                index,
                at: row.at,
                kind: event.kind,
                data: event.data,
            }));
        }
        Ok(told)
    }
}

#[derive(Deserialize)]
struct Tagged {
    #[serde(rename = "type")]
    kind: String,
    #[serde(flatten)]
    data: Map<String, Value>,
}

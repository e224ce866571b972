//! Orders.

use domain::ids::Seq;
use domain::order::{DeliveryLocation, Draft, DraftItem, Ending, Order};
use domain::saga::{Backward, Candidate, Forward, Record};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// An order to submit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderBody {
    /// Who orders.
    #[schema(example = "c-1042")]
    pub customer_id: String,
    /// From which restaurant.
    #[schema(example = "demo-burgers")]
    pub restaurant_id: String,
    /// What: 1 to 100 lines.
    pub items: Vec<ItemBody>,
    /// ISO 4217.
    #[schema(example = "USD")]
    pub currency: String,
    /// Where to.
    pub delivery_location: DeliveryPlace,
    /// When it should be there, in milliseconds since the Unix epoch; as soon as possible when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_for: Option<i64>,
    /// The payment provider's token for the customer's means of payment.
    #[schema(example = "tok_visa")]
    pub payment_token: String,
    /// A word to the kitchen or the courier; at most 500 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemBody {
    /// The article.
    #[schema(example = "cheeseburger")]
    pub sku: String,
    /// Its name as the customer saw it.
    #[schema(example = "Cheeseburger")]
    pub name: String,
    /// How many, 1 to 1000.
    #[schema(example = 2)]
    pub quantity: i64,
    /// What one costs, in minor units of the currency.
    #[schema(example = 950)]
    pub unit_price_minor: i64,
}

/// Where to deliver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeliveryPlace {
    /// Degrees north.
    #[schema(example = 41.89)]
    pub lat: f64,
    /// Degrees east.
    #[schema(example = -87.63)]
    pub lng: f64,
    /// The address as people write it.
    #[serde(default)]
    pub address: String,
}

impl From<OrderBody> for Draft {
    fn from(body: OrderBody) -> Self {
        let item = |i: ItemBody| DraftItem {
            sku: i.sku,
            name: i.name,
            quantity: i.quantity,
            unit_price_minor: i.unit_price_minor,
        };
        let place = body.delivery_location;
        Self {
            customer_id: body.customer_id,
            restaurant_id: body.restaurant_id,
            items: body.items.into_iter().map(item).collect(),
            currency: body.currency,
            delivery_location: DeliveryLocation {
                lat: place.lat,
                lng: place.lng,
                address: place.address,
            },
            requested_for: body.requested_for,
            payment_token: body.payment_token,
            notes: body.notes,
        }
    }
}

/// An order as it stands. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrderView {
    /// Its id: a UUID of version 8.
    pub id: String,
    /// Its version, also the `ETag`.
    pub version: u64,
    /// `PENDING`, `CONFIRMED`, `PREPARING`, `READY_FOR_PICKUP`, `PICKED_UP`, `IN_TRANSIT`, `DELIVERED`, `CANCELLED` or `FAILED`.
    pub status: String,
    /// Whether nothing more is to happen: terminal, and every effect done or undone.
    pub settled: bool,
    /// Whether an operator must look: see `steps` for what is stuck.
    pub stuck: bool,
    /// How it will end, while everything done is being undone: `CANCELLED` or `FAILED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwinding: Option<String>,
    /// Why it was cancelled or failed: a code such as `NO_AVAILABLE_CHANNEL`, or `CANCELLED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_code: Option<String>,
    /// The same in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// Who ordered.
    pub customer_id: String,
    /// From which restaurant.
    pub restaurant_id: String,
    /// What.
    pub items: Vec<ItemBody>,
    /// ISO 4217.
    pub currency: String,
    /// The sum of the lines, in minor units.
    pub total_minor: i64,
    /// Where to.
    pub delivery_location: DeliveryPlace,
    /// When it should be there, if not as soon as possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_for: Option<i64>,
    /// A word to the kitchen or the courier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// The channel that makes it, or is being asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<String>,
    /// What is promised, once it is routed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<QuoteView>,
    /// When it was to be delivered as it was first quoted, whoever makes it in the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_promised_at: Option<i64>,
    /// The other channels that could make it, in the order in which they are asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternates: Vec<QuoteView>,
    /// The channels that cannot, or rank below those, and why: `channel: reason`. At most a hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub infeasible: Vec<String>,
    /// Who carries it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub courier_id: Option<String>,
    /// When it was accepted.
    pub placed_at: i64,
    /// When it was confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<i64>,
    /// When the food was ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<i64>,
    /// When the courier took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picked_up_at: Option<i64>,
    /// When the customer had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<i64>,
    /// When it was delivered, cancelled or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<i64>,
    /// The saga's ledger: every step that ever began.
    pub steps: Vec<StepView>,
}

/// A channel's quote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuoteView {
    /// Which channel.
    pub channel_id: String,
    /// When the food is ready.
    pub ready_at: i64,
    /// When the customer has it.
    pub delivered_at: i64,
    /// How long cooking takes, in milliseconds of business time.
    #[serde(default)]
    pub prep_ms: u64,
    /// How long it takes by menu and settings, where what the channel has shown so far says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub menu_prep_ms: Option<u64>,
    /// What it costs us, in minor units.
    pub cost_minor: i64,
    /// What the customer's waiting counts, in minor units.
    #[serde(default)]
    pub wait_minor: i64,
    /// What the capacity counts that it takes from others, in minor units: the more, the fuller the slot.
    #[serde(default)]
    pub load_minor: i64,
    /// What the channel's unreliability counts, in minor units.
    #[serde(default)]
    pub risk_minor: i64,
    /// All four together: the least wins.
    #[serde(default)]
    pub total_minor: i64,
    /// Why it is not, or no longer, the one; only of alternates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

impl QuoteView {
    /// An alternate, with why another makes the order. `asked_before`: it had its turn already.
    fn alternate(candidate: &Candidate, chosen: Option<&Candidate>, asked_before: bool) -> Self {
        let why_not = chosen.map(|chosen| {
            let more = candidate.total_minor() - chosen.total_minor();
            if asked_before {
                "it was asked before, and given up".to_owned()
            } else if more < 0 {
                "the chosen one leaves scarce capacity to other orders".to_owned()
            } else if more == 0 {
                "it counts the same".to_owned()
            } else {
                format!("it counts {more} more")
            }
        });
        Self {
            why_not,
            ..Self::from(candidate)
        }
    }
}

/// A step of the saga.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    /// Which step.
    pub step: String,
    /// Which round of it.
    pub round: u32,
    /// `acting`, `pending`, `done`, `refused`, `unknown`, `stuck` or `resolved`.
    pub state: String,
    /// The attempt under way, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The compensation, if one is wanted: `wanted`, `acting`, `done`, `stuck` or `resolved`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<String>,
}

impl From<&Record> for StepView {
    fn from(record: &Record) -> Self {
        let (state, attempt) = match record.forward {
            Forward::Acting(attempt) => ("acting", Some(attempt.number)),
            Forward::Pending { .. } => ("pending", None),
            Forward::Done => ("done", None),
            Forward::Refused => ("refused", None),
            Forward::Unknown => ("unknown", None),
            Forward::Stuck => ("stuck", None),
            Forward::Resolved => ("resolved", None),
        };
        let (compensation, undo_attempt) = match record.backward {
            Backward::Idle => (None, None),
            Backward::Wanted => (Some("wanted"), None),
            Backward::Acting(attempt) => (Some("acting"), Some(attempt.number)),
            Backward::Done => (Some("done"), None),
            Backward::Stuck => (Some("stuck"), None),
            Backward::Resolved => (Some("resolved"), None),
        };
        Self {
            step: record.step.as_str().to_owned(),
            round: record.round,
            state: state.to_owned(),
            attempt: undo_attempt.or(attempt),
            compensation: compensation.map(str::to_owned),
        }
    }
}

impl From<&Candidate> for QuoteView {
    fn from(candidate: &Candidate) -> Self {
        Self {
            channel_id: candidate.channel.to_string(),
            ready_at: candidate.ready_at.0,
            delivered_at: candidate.delivered_at.0,
            prep_ms: candidate.prep_ms.0,
            menu_prep_ms: candidate.menu_prep_ms.map(|length| length.0),
            cost_minor: candidate.cost_minor,
            wait_minor: candidate.drawbacks.wait_minor,
            load_minor: candidate.drawbacks.load_minor,
            risk_minor: candidate.drawbacks.risk_minor,
            total_minor: candidate.total_minor(),
            why_not: None,
        }
    }
}

impl OrderView {
    /// The view of an order at a version. The payment token is left out.
    pub fn new(order: &Order, version: Seq) -> Self {
        let details = &order.details;
        let ending = order.unwinding.as_ref().map(|unwinding| match unwinding.ending {
            Ending::Cancelled => ("CANCELLED", "CANCELLED"),
            Ending::Failed(code) => ("FAILED", code.as_str()),
        });
        let times = &order.milestones;
        let (chosen, round) = (order.candidate(), usize::try_from(order.round).unwrap_or(usize::MAX));
        let others = order.candidates.iter().enumerate().filter(|(n, _)| *n != round);
        Self {
            id: order.id.to_string(),
            version: version.0,
            status: order.status.to_string(),
            settled: order.is_settled(),
            stuck: order.is_stuck(),
            unwinding: ending
                .filter(|_| !order.status.is_terminal())
                .map(|(ending, _)| ending.to_owned()),
            failure_code: ending.map(|(_, code)| code.to_owned()),
            failure_reason: order.unwinding.as_ref().map(|unwinding| unwinding.reason.clone()),
            customer_id: details.customer_id.to_string(),
            restaurant_id: details.restaurant_id.to_string(),
            items: details.items.iter().map(ItemBody::from).collect(),
            currency: details.total.currency.to_string(),
            total_minor: details.total.minor,
            delivery_location: DeliveryPlace {
                lat: details.delivery_location.lat,
                lng: details.delivery_location.lng,
                address: details.delivery_location.address.clone(),
            },
            requested_for: details.requested_for.map(|at| at.0),
            notes: details.notes.clone(),
            channel_id: chosen.map(|candidate| candidate.channel.to_string()),
            quote: chosen.map(QuoteView::from),
            first_promised_at: order.promised_at().map(|at| at.0),
            alternates: others
                .map(|(n, candidate)| QuoteView::alternate(candidate, chosen, n < round))
                .collect(),
            infeasible: order
                .infeasible
                .iter()
                .map(|no| format!("{}: {}", no.channel, no.why))
                .collect(),
            courier_id: order.courier.as_ref().map(ToString::to_string),
            placed_at: order.placed_at.0,
            confirmed_at: times.confirmed_at.map(|at| at.0),
            ready_at: times.ready_at.map(|at| at.0),
            picked_up_at: times.picked_up_at.map(|at| at.0),
            delivered_at: times.delivered_at.map(|at| at.0),
            closed_at: times.closed_at.map(|at| at.0),
            steps: order.ledger.iter().map(StepView::from).collect(),
        }
    }
}

impl From<&domain::order::Item> for ItemBody {
    fn from(item: &domain::order::Item) -> Self {
        Self {
            sku: item.sku.clone(),
            name: item.name.clone(),
            quantity: i64::from(item.quantity),
            unit_price_minor: item.unit_price_minor,
        }
    }
}

/// An order's status alone, with what a customer who waits for it wants to know. Times are milliseconds since the Unix
/// epoch, in business time; null until they are known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusView {
    /// The order.
    pub id: String,
    /// Its status.
    pub status: String,
    /// Its version.
    pub version: u64,
    /// Whether nothing more is to happen to it: then this never changes again.
    pub settled: bool,
    /// When it was last seen to get on: accepted, confirmed, cooking, ready, assigned, picked up, delivered, given up or over.
    pub updated_at: i64,
    /// When the food is to be ready, as it was promised.
    pub promised_ready_at: Option<i64>,
    /// When it is to be delivered, as it was promised.
    pub promised_delivered_at: Option<i64>,
    /// When it was delivered.
    pub delivered_at: Option<i64>,
}

impl StatusView {
    /// The status of an order at a version. Told by the order alone: one version has one view, whoever makes it.
    pub fn new(order: &Order, version: Seq) -> Self {
        let times = &order.milestones;
        let reached = [
            times.confirmed_at,
            times.preparing_at,
            times.ready_at,
            times.assigned_at,
            times.picked_up_at,
            times.delivered_at,
            times.closed_at,
            order.unwinding.as_ref().map(|unwinding| unwinding.since),
        ];
        let updated_at = reached.into_iter().flatten().fold(order.placed_at, Ord::max);
        let promise = order.candidate();
        Self {
            id: order.id.to_string(),
            status: order.status.to_string(),
            version: version.0,
            settled: order.is_settled(),
            updated_at: updated_at.0,
            promised_ready_at: promise.map(|candidate| candidate.ready_at.0),
            promised_delivered_at: promise.map(|candidate| candidate.delivered_at.0),
            delivered_at: times.delivered_at.map(|at| at.0),
        }
    }
}

/// A cancel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelBody {
    /// Why; at most 500 bytes.
    #[serde(default)]
    pub reason: Option<String>,
}

/// An operator's word that something stuck is settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveBody {
    /// Which step, as in the order's `steps`.
    pub step: String,
    /// Which round of it.
    pub round: u32,
    /// How it was settled; 1 to 500 bytes.
    pub note: String,
}

/// An order's whole history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventsView {
    /// The order.
    pub id: String,
    /// Every event, oldest first.
    pub events: Vec<EventView>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// The version whose row holds it.
    pub version: u64,
    /// Its place in that row, from 0.
    pub index: usize,
    /// When, in milliseconds since the Unix epoch.
    pub at: i64,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// The particulars.
    #[schema(value_type = Object)]
    pub data: Value,
}

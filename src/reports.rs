//! What kitchens, partners and couriers report, whichever way it comes: over HTTP or from Kafka.
//!
//! Reports come doubled, late and out of order: one that says nothing new is a duplicate, one of a kind that we do not
//! know is ignored and never an error, and one that the order's state does not allow is refused with the reason.

use crate::api::{CourierEvent, CourierEventKind, KitchenEvent, KitchenEventKind};
use actors::{CallError, CommandOptions, IdempotencyKey, Platform};
use domain::ids::{ChannelId, CourierId, InvalidId, OrderId, ZoneId};
use domain::order::OrderStatus;
use domain::order::limits::DAYS_AHEAD_MAX;
use domain::rejection::FieldError;
use domain::saga::{Command, CourierReport, KitchenReport, Refused, Report};
use domain::time::{Millis, Timestamp};
use domain::zone;

/// Longest text that somebody gives as a reason, in bytes.
const REASON_BYTES_MAX: usize = 500;

/// What a report comes down to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Meaning {
    /// Something about an order.
    Order(OrderId, Report),
    /// Something about a courier itself, for its zone.
    Courier(ZoneId, zone::Command),
    /// Of this kind, which is not known here.
    Unknown(String),
}

/// Why a report means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unclear {
    /// Nobody knows who reports.
    Stranger(String),
    /// A field is not right.
    Field(FieldError),
}

/// What became of a report that means something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Whether it changed anything; `false`: it said nothing new.
    pub(crate) changed: bool,
    /// The order's status now, if it concerned one.
    pub(crate) status: Option<OrderStatus>,
}

impl Unclear {
    fn field(pointer: &str, detail: impl Into<String>) -> Self {
        Self::Field(FieldError::new(pointer, detail))
    }
}

impl From<FieldError> for Unclear {
    fn from(error: FieldError) -> Self {
        Self::Field(error)
    }
}

/// Checks a text that people wrote.
///
/// # Errors
/// It is too long or cannot be kept.
pub(crate) fn check_text(pointer: &str, text: &str) -> Result<(), FieldError> {
    if text.len() > REASON_BYTES_MAX {
        let detail = format!("is {} bytes long; at most {REASON_BYTES_MAX} are allowed", text.len());
        return Err(FieldError::new(pointer, detail));
    }
    if text.contains('\0') {
        return Err(FieldError::new(pointer, "must not contain the character NUL"));
    }
    Ok(())
}

/// What a kitchen or partner says.
///
/// # Errors
/// There is no such channel, or a field is not right.
pub(crate) async fn of_channel(platform: &Platform, id: &ChannelId, event: KitchenEvent) -> Result<Meaning, Unclear> {
    // One that is new elsewhere may not be known here yet; if the store is away, the order will know whose word counts.
    let is_known = platform.directory().channel(id).is_some();
    if !is_known && matches!(platform.channel_now(id).await, Ok(None)) {
        return Err(Unclear::Stranger(format!("there is no channel '{id}'")));
    }
    let order = order_id(&event.order_id)?;
    let reason = event.reason.unwrap_or_default();
    check_text("/reason", &reason)?;
    let report = match event.kind {
        KitchenEventKind::Accepted => KitchenReport::Accepted {
            ready_at: ready_at(event.ready_at, platform.clock().now())?,
        },
        KitchenEventKind::Rejected => KitchenReport::Rejected(Refused::new("rejected", reason)),
        KitchenEventKind::Preparing => KitchenReport::Preparing,
        KitchenEventKind::Ready => KitchenReport::Ready,
        KitchenEventKind::PickedUp => KitchenReport::PickedUp,
        KitchenEventKind::Cancelled => KitchenReport::Cancelled { reason },
        KitchenEventKind::Other(kind) => return Ok(Meaning::Unknown(kind)),
    };
    Ok(Meaning::Order(order, Report::Kitchen(id.clone(), report)))
}

/// An estimate that can be true: one from seconds instead of milliseconds, say, cannot.
fn ready_at(ready_at: Option<i64>, now: Timestamp) -> Result<Option<Timestamp>, Unclear> {
    let around = Millis::from_mins(DAYS_AHEAD_MAX * 24 * 60);
    match ready_at.map(Timestamp) {
        Some(at) if at < now - around || at > now + around => {
            let detail =
                format!("is more than {DAYS_AHEAD_MAX} days from now; it must be milliseconds since the Unix epoch");
            Err(Unclear::field("/ready_at", detail))
        }
        at => Ok(at),
    }
}

/// What a courier says, about itself or about the order it carries.
///
/// # Errors
/// There is no such courier, or a field is not right.
pub(crate) fn of_courier(platform: &Platform, id: &CourierId, event: CourierEvent) -> Result<Meaning, Unclear> {
    let Some(zone) = platform.directory().courier_zone(id) else {
        let text = format!("there is no courier '{id}': PUT /v1/couriers/{id} makes it known");
        return Err(Unclear::Stranger(text));
    };
    let reason = event.reason.unwrap_or_default();
    check_text("/reason", &reason)?;
    let id = id.clone();
    let command = match event.kind {
        online @ (CourierEventKind::Online | CourierEventKind::Offline) => zone::Command::SetOnline {
            id,
            online: online == CourierEventKind::Online,
            said: None,
        },
        CourierEventKind::Position => {
            let missing = || Unclear::field("/location", "is missing: a 'position' says where the courier is");
            zone::Command::Locate {
                id,
                location: event.location.ok_or_else(missing)?.into(),
            }
        }
        CourierEventKind::Other(kind) => return Ok(Meaning::Unknown(kind)),
        about_order => {
            let missing = || Unclear::field("/order_id", "is missing: the report concerns an order");
            let order = order_id(&event.order_id.ok_or_else(missing)?)?;
            let report = match about_order {
                CourierEventKind::PickedUp => CourierReport::PickedUp,
                CourierEventKind::InTransit => CourierReport::InTransit,
                CourierEventKind::Delivered => CourierReport::Delivered,
                _ => CourierReport::Failed { reason },
            };
            return Ok(Meaning::Order(order, Report::Courier(id, report)));
        }
    };
    Ok(Meaning::Courier(zone, command))
}

fn order_id(text: &str) -> Result<OrderId, Unclear> {
    text.parse()
        .map_err(|error: InvalidId| Unclear::field("/order_id", error.to_string()))
}

/// Tells an order what was reported about it. With a key, only once.
///
/// # Errors
/// See [`CallError`].
pub(crate) async fn tell_order(
    platform: &Platform,
    order: OrderId,
    report: Report,
    key: Option<IdempotencyKey>,
) -> Result<Taken, CallError> {
    let options = CommandOptions {
        key,
        ..CommandOptions::default()
    };
    let applied = platform.command(order, Command::Report(report), options).await?;
    Ok(Taken {
        changed: applied.changed,
        status: Some(applied.entity.state.status),
    })
}

/// Tells a zone what a courier reported about itself.
///
/// # Errors
/// See [`CallError`].
pub(crate) async fn tell_zone(platform: &Platform, zone: &ZoneId, command: zone::Command) -> Result<Taken, CallError> {
    let applied = platform.zone(command, zone).await?;
    Ok(Taken {
        changed: applied.changed,
        status: None,
    })
}

/// Notes that a report is of no consequence.
pub(crate) fn ignore(who: &str, id: &str, kind: &str) {
    let kind: String = kind.chars().take(64).collect();
    tracing::info!(who, id, kind, "a report of an unknown kind is ignored");
}

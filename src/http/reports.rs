//! `POST /v1/channels/{id}/events` and `POST /v1/couriers/{id}/events`: what kitchens, partners and couriers report.
//!
//! Reports come doubled, late and out of order: one that says nothing new is a `duplicate`, one of a kind that we do not
//! know is `ignored` (202) and never an error, and one that the order's state does not allow is refused with the reason.

use super::Gateway;
use super::couriers::zone_of;
use super::extract::{Change, Id, RawBody};
use super::json;
use super::orders::check_text;
use super::problem::{AnyProblem, Kind, Problem};
use crate::api::{CourierEvent, CourierEventKind, KitchenEvent, KitchenEventKind, Receipt};
use actors::CommandOptions;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use domain::ids::{ChannelId, CourierId, OrderId};
use domain::order::limits::DAYS_AHEAD_MAX;
use domain::saga::{Command, CourierReport, KitchenReport, Refused, Report};
use domain::time::{Millis, Timestamp};
use domain::zone;

type Received = (StatusCode, Json<Receipt>);

/// Takes a kitchen's or partner's report about an order. If the platform has webhook secrets, the report must be signed
/// (Standard Webhooks 1.0: `webhook-id`, `webhook-timestamp`, `webhook-signature`).
#[utoipa::path(post, path = "/v1/channels/{id}/events", tag = "channels", request_body = KitchenEvent,
    params(("id" = String, Path, description = "the channel that reports")),
    responses((status = 200, description = "it is taken in", body = Receipt),
        (status = 202, description = "of a kind that is not known here: ignored", body = Receipt), AnyProblem))]
pub(super) async fn channel(
    State(gateway): State<Gateway>,
    Id(id): Id<ChannelId>,
    raw: RawBody,
) -> Result<Received, Problem> {
    trust(&gateway, &raw)?;
    let event: KitchenEvent = json::parse(&raw.bytes)?;
    if gateway.platform().directory().channel(&id).is_none() {
        return Err(Problem::new(Kind::NotFound, format!("there is no channel '{id}'")));
    }
    let order = order_id(&event.order_id)?;
    let now = gateway.platform().clock().now();
    match kitchen_report(event, now)? {
        Ok(report) => tell(&gateway, order, Report::Kitchen(id, report)).await,
        Err(kind) => Ok(ignored("channel", id.as_str(), &kind)),
    }
}

/// Whether the report comes from somebody who knows a secret of ours.
fn trust(gateway: &Gateway, raw: &RawBody) -> Result<(), Problem> {
    let Some(keyring) = &gateway.keyring else { return Ok(()) };
    let header = |name: &str| raw.headers.get(name).and_then(|value| value.to_str().ok());
    keyring
        .verify(header, &raw.bytes, (gateway.wall)())
        .map_err(|untrusted| {
            metrics::counter!("http_untrusted_reports_total").increment(1);
            Problem::new(Kind::BadSignature, untrusted.to_string())
        })
}

/// What the event says, or the name of its kind if that is not known.
fn kitchen_report(event: KitchenEvent, now: Timestamp) -> Result<Result<KitchenReport, String>, Problem> {
    let reason = event.reason.unwrap_or_default();
    check_text("/reason", &reason)?;
    Ok(Ok(match event.kind {
        KitchenEventKind::Accepted => KitchenReport::Accepted {
            ready_at: ready_at(event.ready_at, now)?,
        },
        KitchenEventKind::Rejected => KitchenReport::Rejected(Refused::new("rejected", reason)),
        KitchenEventKind::Preparing => KitchenReport::Preparing,
        KitchenEventKind::Ready => KitchenReport::Ready,
        KitchenEventKind::PickedUp => KitchenReport::PickedUp,
        KitchenEventKind::Cancelled => KitchenReport::Cancelled { reason },
        KitchenEventKind::Other(kind) => return Ok(Err(kind)),
    }))
}

/// An estimate that can be true: one from seconds instead of milliseconds, say, cannot.
fn ready_at(ready_at: Option<i64>, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    let around = Millis::from_mins(DAYS_AHEAD_MAX * 24 * 60);
    match ready_at.map(Timestamp) {
        Some(at) if at < now - around || at > now + around => {
            let detail =
                format!("is more than {DAYS_AHEAD_MAX} days from now; it must be milliseconds since the Unix epoch");
            Err(Problem::field("/ready_at", detail))
        }
        at => Ok(at),
    }
}

/// Takes a courier's report, about itself or about the order it carries.
#[utoipa::path(post, path = "/v1/couriers/{id}/events", tag = "couriers", request_body = CourierEvent,
    params(("id" = String, Path, description = "the courier that reports")),
    responses((status = 200, description = "it is taken in", body = Receipt),
        (status = 202, description = "of a kind that is not known here: ignored", body = Receipt), AnyProblem))]
pub(super) async fn courier(
    State(gateway): State<Gateway>,
    Id(id): Id<CourierId>,
    change: Change<CourierEvent>,
) -> Result<Received, Problem> {
    let event = change.body;
    let zone = zone_of(&gateway, &id)?;
    let reason = event.reason.unwrap_or_default();
    check_text("/reason", &reason)?;
    let report = match event.kind {
        CourierEventKind::Online => zone::Command::SetOnline { id, online: true },
        CourierEventKind::Offline => zone::Command::SetOnline { id, online: false },
        CourierEventKind::Position => {
            let missing = || Problem::field("/location", "is missing: a 'position' says where the courier is");
            zone::Command::Locate {
                id,
                location: event.location.ok_or_else(missing)?.into(),
            }
        }
        CourierEventKind::Other(kind) => return Ok(ignored("courier", id.as_str(), &kind)),
        about_order => {
            let missing = || Problem::field("/order_id", "is missing: the report concerns an order");
            let order = order_id(&event.order_id.ok_or_else(missing)?)?;
            let report = match about_order {
                CourierEventKind::PickedUp => CourierReport::PickedUp,
                CourierEventKind::InTransit => CourierReport::InTransit,
                CourierEventKind::Delivered => CourierReport::Delivered,
                _ => CourierReport::Failed { reason },
            };
            return tell(&gateway, order, Report::Courier(id, report)).await;
        }
    };
    let applied = gateway.platform().zone(report, &zone).await?;
    Ok(receipt(applied.changed, None))
}

fn order_id(text: &str) -> Result<OrderId, Problem> {
    text.parse()
        .map_err(|error: domain::ids::InvalidId| Problem::field("/order_id", error.to_string()))
}

async fn tell(gateway: &Gateway, order: OrderId, report: Report) -> Result<Received, Problem> {
    let applied = gateway
        .platform()
        .command(order, Command::Report(report), CommandOptions::default())
        .await?;
    Ok(receipt(applied.changed, Some(applied.entity.state.status.to_string())))
}

fn receipt(changed: bool, status: Option<String>) -> Received {
    let result = if changed { "applied" } else { "duplicate" };
    (
        StatusCode::OK,
        Json(Receipt {
            result: result.to_owned(),
            status,
        }),
    )
}

fn ignored(who: &str, id: &str, kind: &str) -> Received {
    let kind: String = kind.chars().take(64).collect();
    tracing::info!(who, id, kind, "a report of an unknown kind is ignored");
    metrics::counter!("http_ignored_reports_total", "who" => who.to_owned()).increment(1);
    (
        StatusCode::ACCEPTED,
        Json(Receipt {
            result: "ignored".to_owned(),
            status: None,
        }),
    )
}

//! `POST /v1/channels/{id}/events` and `POST /v1/couriers/{id}/events`: what kitchens, partners and couriers report.
//! What it means is decided in [`crate::reports`].

use super::Gateway;
use super::extract::{Change, Id, RawBody};
use super::json;
use super::problem::{AnyProblem, Kind, Problem};
use crate::api::{CourierEvent, KitchenEvent, Receipt};
use crate::reports::{self, Meaning, Taken, Unclear};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use domain::ids::{ChannelId, CourierId};

type Received = (StatusCode, Json<Receipt>);

/// Takes a kitchen's or partner's report about an order. If the platform has webhook secrets, the report must be signed
/// (Standard Webhooks 1.0: `webhook-id`, `webhook-timestamp`, `webhook-signature`).
///
/// The same body can be sent to the Kafka topic `kafka.channel_events_topic` instead, as a `CloudEvent` in binary or
/// structured mode: its subject (or else the message's key) is the channel, and of two with the same source and id only
/// the first counts. What can never be taken goes to `kafka.dead_letters_topic` with the reason.
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
    let meaning = reports::of_channel(gateway.platform(), &id, event).await?;
    take(&gateway, meaning, "channel", id.as_str()).await
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

/// Takes a courier's report, about itself or about the order it carries.
///
/// The same body can be sent to the Kafka topic `kafka.courier_events_topic` instead, as with the events of channels;
/// its subject (or else the message's key) is the courier.
#[utoipa::path(post, path = "/v1/couriers/{id}/events", tag = "couriers", request_body = CourierEvent,
    params(("id" = String, Path, description = "the courier that reports")),
    responses((status = 200, description = "it is taken in", body = Receipt),
        (status = 202, description = "of a kind that is not known here: ignored", body = Receipt), AnyProblem))]
pub(super) async fn courier(
    State(gateway): State<Gateway>,
    Id(id): Id<CourierId>,
    change: Change<CourierEvent>,
) -> Result<Received, Problem> {
    let meaning = reports::of_courier(gateway.platform(), &id, change.body)?;
    take(&gateway, meaning, "courier", id.as_str()).await
}

async fn take(gateway: &Gateway, meaning: Meaning, who: &'static str, id: &str) -> Result<Received, Problem> {
    let taken = match meaning {
        Meaning::Order(order, report) => reports::tell_order(gateway.platform(), order, report, None).await?,
        Meaning::Courier(zone, command) => reports::tell_zone(gateway.platform(), &zone, command).await?,
        Meaning::Unknown(kind) => {
            reports::ignore(who, id, &kind);
            metrics::counter!("http_ignored_reports_total", "who" => who).increment(1);
            return Ok((StatusCode::ACCEPTED, receipt("ignored", None)));
        }
    };
    let Taken { changed, status } = taken;
    let result = if changed { "applied" } else { "duplicate" };
    Ok((StatusCode::OK, receipt(result, status.map(|status| status.to_string()))))
}

fn receipt(result: &str, status: Option<String>) -> Json<Receipt> {
    Json(Receipt {
        result: result.to_owned(),
        status,
    })
}

impl From<Unclear> for Problem {
    fn from(unclear: Unclear) -> Self {
        match unclear {
            Unclear::Stranger(text) => Self::new(Kind::NotFound, text),
            Unclear::Field(error) => Self::invalid(vec![error]),
        }
    }
}

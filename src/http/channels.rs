//! `/v1/channels`: kitchens and partners, their settings, menus and capacity.

use super::conditions::{IfMatch, etag, etag_at, is_unchanged, names};
use super::extract::{Change, Id, QueryOf};
use super::pages::{NextLink, PageQuery};
use super::problem::{AnyProblem, Kind, Problem};
use super::{Gateway, versioned};
use crate::api::{AvailabilityBody, CapacityView, ChannelBody, ChannelList, ChannelView, MenuBody, SoldOutBody};
use actors::{Applied, Versioned};
use axum::Json;
use axum::extract::State;
use axum::http::header::{ETAG, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::channel::{Channel, ChannelConfig, ChannelKind, Command, slot_of};
use domain::ids::{ChannelId, Seq};
use domain::rejection::{FieldError, Rejection};
use domain::time::Millis;
use std::str::FromStr;

/// Channels, by id, a page at a time: `Link: rel="next"` leads to the next one.
#[utoipa::path(get, path = "/v1/channels", tag = "channels", params(PageQuery),
    responses((status = 200, description = "a page of the channels", body = ChannelList), AnyProblem))]
pub(super) async fn list(
    State(gateway): State<Gateway>,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<(NextLink, Json<ChannelList>), Problem> {
    let page = query.page(gateway.platform().directory().channels(), |channel| &channel.state.id)?;
    let link = page.link("/v1/channels");
    let list = ChannelList {
        channels: page.items.iter().map(view).collect(),
        next: page.next,
    };
    Ok((link, Json(list)))
}

fn view(channel: &Versioned<Channel>) -> ChannelView {
    ChannelView::new(&channel.state, channel.seq)
}

async fn find(gateway: &Gateway, id: &ChannelId) -> Result<Versioned<Channel>, Problem> {
    let channel = gateway.platform().channel_now(id).await?;
    channel.ok_or_else(|| Problem::new(Kind::NotFound, format!("there is no channel '{id}'")))
}

/// A channel as it stands.
#[utoipa::path(get, path = "/v1/channels/{id}", tag = "channels",
    params(("id" = String, Path, description = "the channel"),
        ("If-None-Match" = Option<String>, Header, description = "an ETag: 304 if the channel is still at that version")),
    responses((status = 200, description = "the channel", body = ChannelView),
        (status = 304, description = "it is as it was"), AnyProblem))]
pub(super) async fn get(
    State(gateway): State<Gateway>,
    Id(id): Id<ChannelId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let channel = find(&gateway, &id).await?;
    if is_unchanged(&headers, channel.seq) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag(channel.seq))]).into_response());
    }
    Ok(versioned(StatusCode::OK, channel.seq, &view(&channel)))
}

/// A channel's capacity: how full it is, what will be asked of it, what is taken of which slot, and by whom.
#[utoipa::path(get, path = "/v1/channels/{id}/capacity", tag = "channels",
    params(("id" = String, Path, description = "the channel"),
        ("If-None-Match" = Option<String>, Header,
            description = "an ETag: 304 if neither the channel nor the slot under way has changed")),
    responses((status = 200, description = "its ledger, and what will be asked of it", body = CapacityView),
        (status = 304, description = "it is as it was"), AnyProblem))]
pub(super) async fn capacity(
    State(gateway): State<Gateway>,
    Id(id): Id<ChannelId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let channel = find(&gateway, &id).await?;
    let (now, policy) = (gateway.platform().clock().now(), gateway.platform().policy());
    let slot_ms = policy.slot_ms;
    // What is present and what is ahead changes with time alone.
    let tag = etag_at(channel.seq, slot_of(now, slot_ms));
    if names(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
    }
    let view = CapacityView::new(&channel.state, now, slot_ms, policy.capacity_level_pct);
    Ok((StatusCode::OK, [(ETAG, tag)], Json(view)).into_response())
}

/// Creates a channel or changes its settings. `If-None-Match: *` only creates.
#[utoipa::path(put, path = "/v1/channels/{id}", tag = "channels", request_body = ChannelBody,
    params(("id" = String, Path, description = "the channel: 1 to 64 characters of a-z, A-Z, 0-9, '-', '_', '.' and ':'"),
        ("If-Match" = Option<String>, Header, description = "the version it is meant for, or * for any"),
        ("If-None-Match" = Option<String>, Header, description = "*: create, do not change")),
    responses((status = 200, description = "it is changed", body = ChannelView),
        (status = 201, description = "it is created", body = ChannelView), AnyProblem))]
pub(super) async fn put(
    State(gateway): State<Gateway>,
    Id(id): Id<ChannelId>,
    change: Change<ChannelBody>,
) -> Result<Response, Problem> {
    let config = Box::new(config(change.body)?);
    let command = Command::Configure { id: id.clone(), config };
    let Applied { entity, changed, .. } = apply(&gateway, &id, command, change.if_match).await?;
    if !(changed && entity.seq == Seq(1)) {
        return Ok(versioned(StatusCode::OK, entity.seq, &view(&entity)));
    }
    let mut response = versioned(StatusCode::CREATED, entity.seq, &view(&entity));
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/channels/{id}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// Sets all of a channel's articles and prices; without any, nothing is checked against its menu.
#[utoipa::path(put, path = "/v1/channels/{id}/menu", tag = "channels", request_body = MenuBody,
    params(("id" = String, Path, description = "the channel"),
        ("If-Match" = Option<String>, Header, description = "the version it is meant for")),
    responses((status = 200, description = "the channel with its menu", body = ChannelView), AnyProblem))]
pub(super) async fn put_menu(
    State(gateway): State<Gateway>,
    Id(id): Id<ChannelId>,
    change: Change<MenuBody>,
) -> Result<Response, Problem> {
    let command = Command::SetMenu(change.body.items);
    let applied = apply(&gateway, &id, command, change.if_match)
        .await
        .map_err(|problem| problem.under("/items"))?;
    Ok(versioned(StatusCode::OK, applied.entity.seq, &view(&applied.entity)))
}

/// Sets whether a channel takes orders.
#[utoipa::path(put, path = "/v1/channels/{id}/availability", tag = "channels", request_body = AvailabilityBody,
    params(("id" = String, Path, description = "the channel"),
        ("If-Match" = Option<String>, Header, description = "the version it is meant for")),
    responses((status = 200, description = "the channel", body = ChannelView), AnyProblem))]
pub(super) async fn put_availability(
    State(gateway): State<Gateway>,
    Id(id): Id<ChannelId>,
    change: Change<AvailabilityBody>,
) -> Result<Response, Problem> {
    let command = Command::SetAvailability(change.body.into());
    let applied = apply(&gateway, &id, command, change.if_match).await?;
    Ok(versioned(StatusCode::OK, applied.entity.seq, &view(&applied.entity)))
}

/// Sets everything that a channel has run out of.
#[utoipa::path(put, path = "/v1/channels/{id}/sold-out", tag = "channels", request_body = SoldOutBody,
    params(("id" = String, Path, description = "the channel"),
        ("If-Match" = Option<String>, Header, description = "the version it is meant for")),
    responses((status = 200, description = "the channel", body = ChannelView), AnyProblem))]
pub(super) async fn put_sold_out(
    State(gateway): State<Gateway>,
    Id(id): Id<ChannelId>,
    change: Change<SoldOutBody>,
) -> Result<Response, Problem> {
    let command = Command::SetSoldOut(change.body.skus.into_iter().collect());
    let applied = apply(&gateway, &id, command, change.if_match)
        .await
        .map_err(|problem| problem.renamed("/sold_out", "/skus"))?;
    Ok(versioned(StatusCode::OK, applied.entity.seq, &view(&applied.entity)))
}

async fn apply(
    gateway: &Gateway,
    id: &ChannelId,
    command: Command,
    if_match: IfMatch,
) -> Result<Applied<Channel>, Problem> {
    if if_match == IfMatch::Exists && gateway.platform().channel_now(id).await?.is_none() {
        return Err(Problem::new(
            Kind::PreconditionFailed,
            format!("there is no channel '{id}' yet"),
        ));
    }
    let applied = gateway.platform().channel(command, id, if_match.version()).await;
    applied.map_err(|error| match error {
        actors::CallError::Rejected(Rejection::NotFound(_)) => Problem::new(
            Kind::NotFound,
            format!("there is no channel '{id}': PUT /v1/channels/{id} creates it"),
        ),
        error => error.into(),
    })
}

/// Reads what the settings say; whether they make sense is the domain's question.
fn config(body: ChannelBody) -> Result<ChannelConfig, Problem> {
    let mut errors = Vec::new();
    let kind = match body.kind.as_str() {
        "kitchen" => Some(ChannelKind::Kitchen),
        "partner" => Some(ChannelKind::Partner),
        _ => {
            errors.push(FieldError::new("/kind", "must be 'kitchen' or 'partner'"));
            None
        }
    };
    let numbered = body.serves.iter().enumerate();
    let serves = numbered
        .filter_map(|(n, id)| read(id, &format!("/serves/{n}"), &mut errors))
        .collect();
    let zone = read(&body.zone, "/zone", &mut errors);
    let currency = read(&body.currency, "/currency", &mut errors);
    match (kind, zone, currency) {
        (Some(kind), Some(zone), Some(currency)) if errors.is_empty() => Ok(ChannelConfig {
            name: body.name,
            kind,
            serves,
            location: body.location.into(),
            zone,
            currency,
            hours: body.hours,
            utc_offset_min: body.utc_offset_min,
            prep_ms: Millis(body.prep_ms),
            capacity_per_slot: body.capacity_per_slot,
            cost_minor: body.cost_minor,
            radius_m: body.radius_m,
        }),
        _ => Err(Problem::invalid(errors)),
    }
}

/// Reads a field, or notes what is wrong with it.
pub(super) fn read<T: FromStr<Err: ToString>>(text: &str, pointer: &str, errors: &mut Vec<FieldError>) -> Option<T> {
    text.parse()
        .map_err(|error: T::Err| errors.push(FieldError::new(pointer, error.to_string())))
        .ok()
}

//! `/v1/couriers`: couriers, their shifts and where they are.

use super::Gateway;
use super::conditions::IfMatch;
use super::extract::{Change, Id, QueryOf};
use super::pages::{NextLink, PageQuery};
use super::problem::{AnyProblem, Kind, Problem};
use crate::api::{CourierBody, CourierList, CourierView};
use axum::Json;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::ids::{CourierId, ZoneId};
use domain::time::Timestamp;
use domain::zone::{Command, Courier, CourierConfig, Zone};

/// Couriers, by id, a page at a time: `Link: rel="next"` leads to the next one.
#[utoipa::path(get, path = "/v1/couriers", tag = "couriers", params(PageQuery),
    responses((status = 200, description = "a page of the couriers", body = CourierList), AnyProblem))]
pub(super) async fn list(
    State(gateway): State<Gateway>,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<(NextLink, Json<CourierList>), Problem> {
    let zones = gateway.platform().directory().zones();
    let mut couriers: Vec<&Courier> = zones.iter().flat_map(|zone| zone.state.couriers.values()).collect();
    couriers.sort_by(|a, b| a.id.cmp(&b.id));
    let page = query.page(couriers, |courier| &courier.id)?;
    let link = page.link("/v1/couriers");
    let list = CourierList {
        couriers: page.items.into_iter().map(CourierView::from).collect(),
        next: page.next,
    };
    Ok((link, Json(list)))
}

/// A courier as it stands.
#[utoipa::path(get, path = "/v1/couriers/{id}", tag = "couriers",
    params(("id" = String, Path, description = "the courier")),
    responses((status = 200, description = "the courier", body = CourierView), AnyProblem))]
pub(super) async fn get(State(gateway): State<Gateway>, Id(id): Id<CourierId>) -> Result<Json<CourierView>, Problem> {
    let directory = gateway.platform().directory();
    let zone = zone_of(&gateway, &id)?;
    let zone = directory.zones().into_iter().find(|known| known.state.id == zone);
    let view = zone.and_then(|zone| zone.state.couriers.get(&id).map(CourierView::from));
    view.map(Json).ok_or_else(|| unknown(&id))
}

fn unknown(id: &CourierId) -> Problem {
    Problem::new(
        Kind::NotFound,
        format!("there is no courier '{id}': PUT /v1/couriers/{id} makes it known"),
    )
}

/// The zone a courier works in.
pub(super) fn zone_of(gateway: &Gateway, id: &CourierId) -> Result<ZoneId, Problem> {
    gateway
        .platform()
        .directory()
        .courier_zone(id)
        .ok_or_else(|| unknown(id))
}

/// Makes a courier known or changes its settings. A courier has no version: `If-Match` can only be `*`.
#[utoipa::path(put, path = "/v1/couriers/{id}", tag = "couriers", request_body = CourierBody,
    params(("id" = String, Path, description = "the courier: 1 to 64 characters of a-z, A-Z, 0-9, '-', '_', '.' and ':'")),
    responses((status = 200, description = "it is changed", body = CourierView),
        (status = 201, description = "it is known now", body = CourierView), AnyProblem))]
pub(super) async fn put(
    State(gateway): State<Gateway>,
    Id(id): Id<CourierId>,
    change: Change<CourierBody>,
) -> Result<Response, Problem> {
    let known = gateway.platform().directory().courier_zone(&id);
    check(change.if_match, known.is_some())?;
    let config = config(&change.body)?;
    if let Some(zone) = known.as_ref().filter(|zone| **zone != config.zone) {
        let detail = format!("the courier works in zone '{zone}', and couriers do not change zones");
        return Err(Problem::field("/zone", detail));
    }
    let zone = config.zone.clone();
    let command = Command::PutCourier {
        zone: zone.clone(),
        id: id.clone(),
        config: Box::new(config),
    };
    let applied = gateway.platform().zone(command, &zone).await?;
    let view = courier(&applied.entity.state, &id)?;
    if known.is_some() {
        return Ok(Json(view).into_response());
    }
    let mut response = (StatusCode::CREATED, Json(view)).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/couriers/{id}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

fn courier(zone: &Zone, id: &CourierId) -> Result<CourierView, Problem> {
    let found: Option<&Courier> = zone.couriers.get(id);
    found.map(CourierView::from).ok_or_else(|| unknown(id))
}

fn check(if_match: IfMatch, known: bool) -> Result<(), Problem> {
    let text = match (if_match, known) {
        (IfMatch::Unconditional, _) | (IfMatch::Exists, true) | (IfMatch::Absent, false) => return Ok(()),
        (IfMatch::Version(_), _) => "a courier has no ETag: If-Match can only be *",
        (IfMatch::Exists, false) => "there is no such courier yet",
        (IfMatch::Absent, true) => "there is such a courier already",
    };
    Err(Problem::new(Kind::PreconditionFailed, text))
}

fn config(body: &CourierBody) -> Result<CourierConfig, Problem> {
    let zone = body
        .zone
        .parse()
        .map_err(|error: domain::ids::InvalidId| Problem::field("/zone", error.to_string()))?;
    Ok(CourierConfig {
        zone,
        location: body.location.into(),
        on_at: body.on_at.map(Timestamp),
        off_at: body.off_at.map(Timestamp),
        metres_per_min: body.metres_per_min,
    })
}

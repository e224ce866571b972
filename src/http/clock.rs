//! `GET /v1/clock`: the platform's time line.

use super::Gateway;
use super::problem::AnyProblem;
use crate::api::ClockView;
use axum::Json;
use axum::extract::State;

/// The present moment on the platform's time line, and its pace.
#[utoipa::path(get, path = "/v1/clock", tag = "platform",
    responses((status = 200, description = "the time", body = ClockView), AnyProblem))]
pub(super) async fn get(State(gateway): State<Gateway>) -> Json<ClockView> {
    let clock = gateway.platform().clock();
    Json(ClockView {
        now: clock.now().as_ms(),
        time_scale: clock.scale(),
    })
}

//! `/v1/cluster`: the nodes, what each owns, and how one of them is taken out of service for a while.

use super::Gateway;
use super::problem::{AnyProblem, Kind, Problem};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

fn by_itself() -> Problem {
    Problem::new(
        Kind::NotFound,
        "this server is not a node of a cluster: it owns everything there is (uoop serve --cluster makes it one)",
    )
}

/// The cluster as this node sees it: members with their leases and shares, the owner and epoch of every shard, and this
/// node's links with the others.
#[utoipa::path(get, path = "/v1/cluster", tag = "platform",
    responses((status = 200, description = "the cluster", body = Object), AnyProblem))]
pub(super) async fn get(State(gateway): State<Gateway>) -> Result<Json<actors::ClusterStatus>, Problem> {
    gateway.platform().cluster().await?.map(Json).ok_or_else(by_itself)
}

/// Takes this node out of service: its shards go to the others, a few at a time, and it goes on passing on what it is
/// asked. Answered once it owns nothing. Idempotent; `POST /v1/cluster/rebalance` takes it back.
#[utoipa::path(post, path = "/v1/cluster/drain", tag = "platform",
    responses((status = 204, description = "it owns nothing any more"), AnyProblem))]
pub(super) async fn drain(State(gateway): State<Gateway>) -> Result<StatusCode, Problem> {
    if !gateway.platform().is_clustered() {
        return Err(by_itself());
    }
    gateway.platform().leave().await;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes this node back into service after a drain: it gets its share of the shards again, a few at a time. Idempotent.
#[utoipa::path(post, path = "/v1/cluster/rebalance", tag = "platform",
    responses((status = 202, description = "shards are on their way"), AnyProblem))]
pub(super) async fn rebalance(State(gateway): State<Gateway>) -> Result<StatusCode, Problem> {
    if !gateway.platform().is_clustered() {
        return Err(by_itself());
    }
    gateway.platform().stay();
    Ok(StatusCode::ACCEPTED)
}

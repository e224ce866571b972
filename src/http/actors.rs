//! `/v1/actors`: the supervision tree and every actor's observable state. Reading it blocks no actor.

use super::Gateway;
use super::extract::QueryOf;
use super::pages::NextLink;
use super::problem::{AnyProblem, Kind, Problem};
use actors::ActorView;
use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 10_000;

/// Which actors.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only of this kind: `order`, `channel`, `zone` …
    kind: Option<String>,
    /// Only below this path, such as `node/shard-017/`.
    prefix: Option<String>,
    /// Only after this path: the `next` of the page before.
    after: Option<String>,
    /// Of this node of the cluster (see `GET /v1/cluster`); of the one that is asked when absent.
    node: Option<String>,
    /// At most so many, 0 to 10000; 100 when absent.
    limit: Option<usize>,
}

/// Whose actor.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OfNode {
    /// Of this node of the cluster; of the one that is asked when absent.
    node: Option<String>,
}

async fn of_node(gateway: &Gateway, node: Option<&str>, path: Option<&str>) -> Result<Vec<ActorView>, Problem> {
    let platform = gateway.platform();
    Ok(match (node, path) {
        (Some(node), path) => platform.introspect_on(node, path).await?,
        (None, Some(path)) => platform.introspect_at(path).into_iter().collect(),
        (None, None) => platform.introspect(),
    })
}

/// Actors, by path.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ActorList {
    /// How many match, here and on other pages.
    total: usize,
    /// How many match, by kind and by what they are at (an order's status).
    counts: BTreeMap<String, BTreeMap<String, usize>>,
    /// One page of them: `{path, kind, status, mailbox_depth, messages_handled, restarts, age_ms, …}`.
    #[schema(value_type = Vec<Object>)]
    actors: Vec<ActorView>,
    /// What to ask for with `after=` for the next page, if there is one; the same stands in `Link`.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// The actors that live at present, without their states. `Link: rel="next"` leads to the next page.
#[utoipa::path(get, path = "/v1/actors", tag = "platform", params(Filter),
    responses((status = 200, description = "the actors", body = ActorList), AnyProblem))]
pub(super) async fn list(
    State(gateway): State<Gateway>,
    QueryOf(filter): QueryOf<Filter>,
) -> Result<(NextLink, Json<ActorList>), Problem> {
    let limit = filter.limit.unwrap_or(LIMIT_DEFAULT);
    if limit > LIMIT_MAX {
        let text = format!("limit is {limit}; at most {LIMIT_MAX} are shown at a time, and next leads on");
        return Err(Problem::new(Kind::MalformedRequest, text));
    }
    let mut matching = of_node(&gateway, filter.node.as_deref(), None).await?;
    matching.retain(|actor| {
        filter.kind.as_ref().is_none_or(|kind| actor.kind == *kind)
            && filter
                .prefix
                .as_ref()
                .is_none_or(|prefix| actor.path.starts_with(prefix))
    });
    let mut counts: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for actor in &matching {
        // What an order is at is its status; of the others, whether they run is more telling than what they hold.
        let at = actor
            .summary
            .clone()
            .filter(|_| actor.kind == "order")
            .unwrap_or_else(|| actor.status.clone());
        *counts.entry(actor.kind.clone()).or_default().entry(at).or_default() += 1;
    }
    let total = matching.len();
    let mut page: Vec<ActorView> = matching
        .into_iter()
        .filter(|actor| filter.after.as_ref().is_none_or(|after| actor.path > *after))
        .collect();
    let is_last = page.len() <= limit;
    page.truncate(limit);
    let next = page.last().filter(|_| !is_last).map(|actor| actor.path.clone());
    let parameters = [
        ("kind", filter.kind.as_deref()),
        ("prefix", filter.prefix.as_deref()),
        ("node", filter.node.as_deref()),
        ("limit", Some(&*limit.to_string())),
        ("after", next.as_deref()),
    ];
    let link = NextLink::when(next.is_some(), "/v1/actors", &parameters);
    let list = ActorList {
        total,
        counts,
        actors: page,
        next,
    };
    Ok((link, Json(list)))
}

/// One actor with its observable state: what it is at, what is pending, when it wakes.
#[utoipa::path(get, path = "/v1/actors/{path}", tag = "platform",
    params(("path" = String, Path, description = "its path, such as `node/shard-017/channel-demo`"), OfNode),
    responses((status = 200, description = "the actor", body = Object), AnyProblem))]
pub(super) async fn get(
    State(gateway): State<Gateway>,
    Path(path): Path<String>,
    QueryOf(of): QueryOf<OfNode>,
) -> Result<Json<ActorView>, Problem> {
    let none = || {
        Problem::new(
            Kind::NotFound,
            "no actor lives at that path: GET /v1/actors lists those that do",
        )
    };
    let mut found = of_node(&gateway, of.node.as_deref(), Some(&path)).await?;
    found.pop().map(Json).ok_or_else(none)
}

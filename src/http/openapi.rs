//! The routes, and the OpenAPI 3.1 document that is generated from their handlers.

use super::problem::{ProblemBody, ProblemField};
use super::{
    Gateway, actors, channels, clock, cluster, couriers, events, health, orders, reports, search, stream, webhooks,
};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "UOOP",
        description = "Unified order orchestration platform for food delivery. Errors are problems (RFC 9457). \
            Changes take `If-Match` with the `ETag` of a read; orders and commands take an `Idempotency-Key`, which \
            makes asking again safe for at least 24 hours. Times are milliseconds since the Unix epoch."
    ),
    paths(actors::get),
    components(schemas(ProblemBody<'static>, ProblemField<'static>)),
    tags(
        (name = "orders", description = "Orders: submit, read, follow, cancel, repair"),
        (name = "channels", description = "Kitchens and partners, their capacity, menus and reports"),
        (name = "couriers", description = "Couriers, their shifts and reports"),
        (name = "webhooks", description = "Who is told of public events, and what could not be delivered"),
        (name = "platform", description = "The platform itself"),
        (name = "health", description = "Health and figures"),
    )
)]
struct Document;

/// Everything that is subject to admission.
pub(super) fn v1() -> OpenApiRouter<Gateway> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(orders::submit, search::list))
        .routes(routes!(orders::get))
        .routes(routes!(orders::status))
        .routes(routes!(events::get))
        .routes(routes!(stream::get))
        .routes(routes!(orders::cancel))
        .routes(routes!(orders::retry))
        .routes(routes!(orders::resolve))
        .routes(routes!(channels::list))
        .routes(routes!(channels::get, channels::put))
        .routes(routes!(channels::capacity))
        .routes(routes!(channels::put_menu))
        .routes(routes!(channels::put_availability))
        .routes(routes!(channels::put_sold_out))
        .routes(routes!(reports::channel))
        .routes(routes!(couriers::list))
        .routes(routes!(couriers::get, couriers::put))
        .routes(routes!(reports::courier))
        .routes(routes!(webhooks::list))
        .routes(routes!(webhooks::get, webhooks::put, webhooks::delete))
        .routes(routes!(webhooks::dead_letters))
        .routes(routes!(webhooks::replay))
        .routes(routes!(clock::get))
        .routes(routes!(cluster::get))
        .routes(routes!(cluster::drain))
        .routes(routes!(cluster::rebalance))
        .routes(routes!(actors::list))
        // A path of several segments, which OpenAPI has no notation for: its documentation is listed above.
        .route("/v1/actors/{*path}", get(actors::get))
}

/// What is answered whatever the load.
pub(super) fn health() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
}

//! `GET /v1/orders/{id}/events`: an order's whole history, as it was committed.

use super::Gateway;
use super::extract::Id;
use super::problem::{AnyProblem, Kind, Problem};
use crate::api::{EventView, EventsView};
use actors::Platform;
use axum::Json;
use axum::extract::State;
use domain::ids::{OrderId, Seq};
use domain::ports::Row;
use serde_json::{Map, Value};

/// Rows read at a time.
const PAGE_ROWS: usize = 500;

/// Most rows of one order. A saga's attempts and rounds are bounded: an order with more is broken.
const ROWS_MAX: usize = 20_000;

/// Everything that ever happened to an order, oldest first.
#[utoipa::path(get, path = "/v1/orders/{id}/events", tag = "orders",
    params(("id" = String, Path, description = "the order")),
    responses((status = 200, description = "its history", body = EventsView), AnyProblem))]
pub(super) async fn get(State(gateway): State<Gateway>, Id(id): Id<OrderId>) -> Result<Json<EventsView>, Problem> {
    let rows = rows_after(gateway.platform(), id, Seq(0)).await?;
    if rows.is_empty() {
        // Tells what there is not: an order of this id.
        gateway.platform().order(id).await?;
    }
    let mut events = Vec::new();
    for row in &rows {
        events.extend(views(row)?);
    }
    Ok(Json(EventsView {
        id: id.to_string(),
        events,
    }))
}

/// All committed rows of an order after a version.
pub(super) async fn rows_after(platform: &Platform, id: OrderId, after: Seq) -> Result<Vec<Row>, Problem> {
    let mut rows: Vec<Row> = Vec::new();
    while rows.len() < ROWS_MAX {
        let last = rows.last().map_or(after, |row| row.seq);
        let page = platform.rows(id.stream(), last, PAGE_ROWS).await?;
        let is_last = page.len() < PAGE_ROWS;
        rows.extend(page);
        if is_last {
            break;
        }
    }
    Ok(rows)
}

/// The events of a row. The payment token is left out, as everywhere.
fn views(row: &Row) -> Result<Vec<EventView>, Problem> {
    let events: Vec<Map<String, Value>> = serde_json::from_str(&row.events).map_err(|error| {
        tracing::error!(stream = %row.stream, seq = row.seq.0, %error, "a row cannot be read");
        Problem::new(
            Kind::Internal,
            format!(
                "version {} of the history cannot be read; the log has the cause",
                row.seq
            ),
        )
    })?;
    let view = |(index, mut data): (usize, Map<String, Value>)| {
        let kind = data
            .remove("type")
            .and_then(|kind| kind.as_str().map(str::to_owned))
            .unwrap_or_default();
        if let Some(details) = data.get_mut("details").and_then(Value::as_object_mut) {
            details.remove("payment_token");
        }
        EventView {
            version: row.seq.0,
            index,
            at: row.at.as_ms(),
            kind,
            data: Value::Object(data),
        }
    };
    Ok(events.into_iter().enumerate().map(view).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ids::{HashSlot, Position};
    use domain::ports::StreamKind;
    use domain::time::Timestamp;

    fn row(events: &str) -> Row {
        let id = OrderId::mint(Timestamp(1), HashSlot::of(&[b"a"]), 1);
        Row {
            stream: id.stream(),
            kind: StreamKind::Order,
            seq: Seq(3),
            position: Position(9),
            at: Timestamp(70),
            events: events.to_owned(),
        }
    }

    #[test]
    fn a_row_is_told_event_by_event_and_without_the_payment_token() {
        let text = r#"[{"type":"OrderPlaced","details":{"payment_token":"tok_secret","notes":"n"}},{"type":"Routed"}]"#;
        let views = views(&row(text)).expect("readable");
        let told = serde_json::to_string(&views).expect("JSON");
        assert!(!told.contains("tok_secret"), "{told}");
        assert!(told.contains("\"notes\":\"n\""), "{told}");
        let places: Vec<_> = views
            .iter()
            .map(|view| (view.version, view.index, view.kind.as_str(), view.at))
            .collect();
        assert_eq!(places, [(3, 0, "OrderPlaced", 70), (3, 1, "Routed", 70)]);
    }

    #[test]
    fn a_row_that_cannot_be_read_is_a_failure_of_ours() {
        assert!(views(&row("{")).expect_err("refused").status().is_server_error());
    }
}

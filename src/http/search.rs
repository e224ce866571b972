//! `GET /v1/orders`: lists and searches, from the projection.

use super::Gateway;
use super::extract::QueryOf;
use super::pages::NextLink;
use super::problem::{AnyProblem, Kind, Problem};
use crate::api::{OrderList, OrderSummaryView};
use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::ids::{InvalidId, OrderId};
use domain::order::OrderStatus;
use domain::ports::StoreError;
use domain::time::{Millis, Timestamp};
use persistence::projection::Search;
use serde::Deserialize;
use std::str::FromStr;
use uuid::Uuid;

const PATH: &str = "/v1/orders";
const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 200;

/// By how much wall time the acceptance of an order may follow the making of its id: longer than any request waits.
const ID_SLACK: Millis = Millis::from_mins(1);

/// Which orders. All that is given must hold.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SearchQuery {
    /// Only at this status, or at one of several separated by commas: `PENDING,CONFIRMED`.
    status: Option<String>,
    /// Only of this customer.
    customer_id: Option<String>,
    /// Only from this restaurant. For a restaurant with few orders among many, bound the time as well.
    restaurant_id: Option<String>,
    /// Only those that this channel makes.
    channel_id: Option<String>,
    /// Only those of which something waits for an operator (`true`), or nothing does (`false`).
    stuck: Option<bool>,
    /// Only accepted at this moment or later.
    placed_after: Option<i64>,
    /// Only accepted before this moment.
    placed_before: Option<i64>,
    /// At most so many, 1 to 200; 50 when absent.
    limit: Option<usize>,
    /// Where to go on: the `next` of the page before.
    cursor: Option<String>,
}

impl SearchQuery {
    fn read(&self) -> Result<Search, Problem> {
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            let text = format!("limit is {limit}; it must be 1 to {LIMIT_MAX}, and next leads on");
            return Err(malformed(text));
        }
        Ok(Search {
            statuses: self.status.as_deref().map(statuses).transpose()?.unwrap_or_default(),
            customer: id("customer_id", self.customer_id.as_deref())?,
            restaurant: id("restaurant_id", self.restaurant_id.as_deref())?,
            channel: id("channel_id", self.channel_id.as_deref())?,
            stuck: self.stuck,
            placed_after: self.placed_after.map(Timestamp),
            placed_before: self.placed_before.map(Timestamp),
            id_slack: ID_SLACK,
            behind: self.cursor.as_deref().map(read_cursor).transpose()?,
            limit,
        })
    }

    /// The link to the page after this one.
    fn link(&self, limit: usize, next: Option<&str>) -> NextLink {
        let limit = limit.to_string();
        let stuck = self.stuck.map(|stuck| stuck.to_string());
        let [after, before] = [self.placed_after, self.placed_before].map(|at| at.map(|at| at.to_string()));
        let parameters = [
            ("status", self.status.as_deref()),
            ("customer_id", self.customer_id.as_deref()),
            ("restaurant_id", self.restaurant_id.as_deref()),
            ("channel_id", self.channel_id.as_deref()),
            ("stuck", stuck.as_deref()),
            ("placed_after", after.as_deref()),
            ("placed_before", before.as_deref()),
            ("limit", Some(&*limit)),
            ("cursor", next),
        ];
        NextLink::when(next.is_some(), PATH, &parameters)
    }
}

fn malformed(text: impl Into<String>) -> Problem {
    Problem::new(Kind::MalformedRequest, text)
}

fn id<T: FromStr<Err = InvalidId>>(name: &str, text: Option<&str>) -> Result<Option<T>, Problem> {
    let read = |text: &str| {
        text.parse()
            .map_err(|error: InvalidId| malformed(format!("{name}: {error}")))
    };
    text.map(read).transpose()
}

fn statuses(text: &str) -> Result<Vec<OrderStatus>, Problem> {
    let read = |name: &str| {
        let known = OrderStatus::ALL.into_iter().find(|status| status.as_str() == name);
        known.ok_or_else(|| {
            let known: Vec<_> = OrderStatus::ALL.iter().map(|status| status.as_str()).collect();
            let name: String = name.chars().take(64).collect();
            malformed(format!("'{name}' is no status; they are {}", known.join(", ")))
        })
    };
    let mut statuses = text.split(',').map(read).collect::<Result<Vec<_>, _>>()?;
    statuses.sort_unstable();
    statuses.dedup();
    Ok(statuses)
}

/// A cursor is the last order of a page, so whatever is placed meanwhile shifts nothing.
fn cursor_of(order: OrderId) -> String {
    URL_SAFE_NO_PAD.encode(order.0.0.as_bytes())
}

fn read_cursor(text: &str) -> Result<OrderId, Problem> {
    let none = || malformed("the cursor is none of ours: take it from the Link or the next of the page before");
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| none())?;
    let uuid = Uuid::from_slice(&bytes).map_err(|_| none())?;
    uuid.to_string().parse().map_err(|_| none())
}

/// Orders, newest first, a page at a time: `Link: rel="next"` leads to the next one. The list follows the orders at a
/// distance of a second or less; `as_of` says how far it is.
#[utoipa::path(get, path = "/v1/orders", tag = "orders", params(SearchQuery),
    responses((status = 200, description = "a page of the orders that match", body = OrderList), AnyProblem))]
pub(super) async fn list(
    State(gateway): State<Gateway>,
    QueryOf(query): QueryOf<SearchQuery>,
) -> Result<(NextLink, Json<OrderList>), Problem> {
    let mut search = query.read()?;
    let limit = search.limit;
    search.id_slack = search.id_slack.times(gateway.platform().clock().scale());
    // One more than is shown tells whether there are more.
    search.limit = limit + 1;
    // Read before: what is in by then is found.
    // In a cluster this node knows of its own shards only.
    let as_of = gateway
        .app
        .search
        .as_of()
        .filter(|_| !gateway.platform().is_clustered());
    let mut found = gateway.app.search.search(&search).await.map_err(away)?;
    let is_last = found.len() <= limit;
    found.truncate(limit);
    let next = found.last().filter(|_| !is_last).map(|last| cursor_of(last.order));
    let list = OrderList {
        orders: found.iter().map(OrderSummaryView::from).collect(),
        next,
        as_of: as_of.map(|at| at.0),
    };
    Ok((query.link(limit, list.next.as_deref()), Json(list)))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn away(error: StoreError) -> Problem {
    tracing::warn!(%error, "orders cannot be listed");
    let text = "the list of orders is away, or searching it took too long: ask again in a moment, or for a shorter time \
                (placed_after, placed_before)";
    Problem::new(Kind::Unavailable, text).retry_after(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;
    use axum::response::IntoResponse;
    use domain::ids::HashSlot;

    fn order(n: u64) -> OrderId {
        OrderId::mint(Timestamp(1_700_000_000_000), HashSlot::of(&[b"a"]), n)
    }

    #[test]
    fn a_cursor_leads_to_its_order_and_no_other_text_does() {
        assert_eq!(read_cursor(&cursor_of(order(7))).expect("ours"), order(7));
        let foreign = URL_SAFE_NO_PAD.encode(Uuid::from_u128(1).as_bytes());
        let padded = format!("{}==", cursor_of(order(7)));
        for text in ["", "a b", "AAAA", &foreign, &padded, &order(7).to_string()] {
            let problem = read_cursor(text).expect_err("not ours");
            assert_eq!(problem.status(), StatusCode::BAD_REQUEST, "'{text}'");
        }
    }

    #[test]
    fn statuses_are_told_by_name_each_once() {
        let found = statuses("FAILED,PENDING,FAILED").expect("statuses");
        assert_eq!(found, [OrderStatus::Pending, OrderStatus::Failed]);
        for text in ["", "pending", "PENDING,", "PENDING, FAILED", "LOST"] {
            assert!(statuses(text).is_err(), "'{text}'");
        }
    }

    #[test]
    fn limits_are_bounded() {
        for (limit, fine) in [
            (None, true),
            (Some(1), true),
            (Some(200), true),
            (Some(0), false),
            (Some(201), false),
        ] {
            let query = SearchQuery {
                limit,
                ..SearchQuery::default()
            };
            assert_eq!(query.read().is_ok(), fine, "{limit:?}");
        }
    }

    #[test]
    fn the_link_asks_for_the_same_again() {
        let query = SearchQuery {
            status: Some("PENDING,FAILED".into()),
            customer_id: Some("c-1".into()),
            stuck: Some(true),
            placed_after: Some(5),
            limit: Some(2),
            ..SearchQuery::default()
        };
        let response = query.link(2, Some("abc")).into_response();
        assert_eq!(
            response.headers()["link"],
            "</v1/orders?status=PENDING%2CFAILED&customer_id=c-1&stuck=true&placed_after=5&limit=2&cursor=abc>; rel=\"next\""
        );
        assert!(!query.link(2, None).into_response().headers().contains_key("link"));
    }
}

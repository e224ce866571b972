//! `uoop order list`: which orders, and how they are shown.

use super::show::{moment, money, table, text};
use crate::api::{OrderList, OrderSummaryView};
use crate::client::{Client, ClientError};
use clap::Args;
use domain::ids::{ChannelId, CustomerId, RestaurantId};
use domain::order::OrderStatus;

/// Which orders.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only at this status, `confirmed` for instance; several are separated by commas
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = parse_status)]
    status: Vec<OrderStatus>,
    /// Only of this customer
    #[arg(long, value_name = "ID")]
    customer: Option<CustomerId>,
    /// Only from this restaurant
    #[arg(long, value_name = "ID")]
    restaurant: Option<RestaurantId>,
    /// Only those that this channel makes
    #[arg(long, value_name = "ID")]
    channel: Option<ChannelId>,
    /// Only those of which something waits for an operator
    #[arg(long)]
    stuck: bool,
    /// Only accepted then or later: `2026-01-31T23:59:59Z`, or milliseconds since 1970
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment, allow_hyphen_values = true)]
    placed_after: Option<i64>,
    /// Only accepted before
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment, allow_hyphen_values = true)]
    placed_before: Option<i64>,
    /// At most so many, newest first
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

impl ListArgs {
    /// Asks the server, page after page.
    pub(super) async fn read(&self, client: &Client) -> Result<OrderList, ClientError> {
        let statuses: Vec<&str> = self.status.iter().map(|status| status.as_str()).collect();
        let given = [
            ("status", (!statuses.is_empty()).then(|| statuses.join(","))),
            ("customer_id", self.customer.as_ref().map(ToString::to_string)),
            ("restaurant_id", self.restaurant.as_ref().map(ToString::to_string)),
            ("channel_id", self.channel.as_ref().map(ToString::to_string)),
            ("stuck", self.stuck.then(|| true.to_string())),
            ("placed_after", self.placed_after.map(|at| at.to_string())),
            ("placed_before", self.placed_before.map(|at| at.to_string())),
        ];
        let filter: Vec<(&str, &str)> = given
            .iter()
            .filter_map(|(name, value)| Some((*name, value.as_deref()?)))
            .collect();
        client
            .orders(&filter, usize::try_from(self.limit).unwrap_or(usize::MAX))
            .await
    }
}

fn parse_status(text: &str) -> Result<OrderStatus, String> {
    let name = text.trim().to_uppercase().replace('-', "_");
    let known = OrderStatus::ALL.into_iter().find(|status| status.as_str() == name);
    known.ok_or_else(|| {
        let known: Vec<_> = OrderStatus::ALL
            .iter()
            .map(|status| status.as_str().to_lowercase())
            .collect();
        format!("they are {}", known.join(", "))
    })
}

/// Milliseconds, or a moment in UTC as it is shown.
fn parse_moment(text: &str) -> Result<i64, String> {
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    read_moment(text).ok_or_else(|| "it looks like 2026-01-31T23:59:59Z, or is milliseconds since 1970".into())
}

fn read_moment(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once(['T', ' '])?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let mut time = time.splitn(3, ':').map(str::parse::<i64>);
    let next = |parts: &mut dyn Iterator<Item = Result<i64, _>>, range: std::ops::RangeInclusive<i64>| {
        parts.next()?.ok().filter(|part| range.contains(part))
    };
    let (year, month, day) = (
        next(&mut date, 1970..=9999)?,
        next(&mut date, 1..=12)?,
        next(&mut date, 1..=31)?,
    );
    let (h, m, s) = (
        next(&mut time, 0..=23)?,
        next(&mut time, 0..=59)?,
        next(&mut time, 0..=59)?,
    );
    let ms = (days_from_civil(year, month, day) * 86_400 + h * 3_600 + m * 60 + s) * 1_000;
    // The 31st of a shorter month is shown as another day.
    (moment(ms) == text.replace('T', " ")).then_some(ms)
}

/// The day counted from 1 January 1970 (after Hinnant, "chrono-Compatible Low-Level Date Algorithms", 2013).
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Orders for people, a line each.
pub(super) fn shown(list: &OrderList) -> String {
    let filling = "orders that were changed just now may be missing";
    let mut parts = Vec::new();
    if list.orders.is_empty() {
        parts.push("no orders".to_owned());
    } else {
        let mut table = table();
        table.set_header([
            "order",
            "status",
            "placed",
            "customer",
            "restaurant",
            "channel",
            "total",
        ]);
        for order in &list.orders {
            table.add_row(cells(order));
        }
        parts.push(text(&table));
    }
    if list.next.is_some() {
        parts.push("there are more: --limit shows them".to_owned());
    }
    if list.as_of.is_none() {
        parts.push(filling.to_owned());
    }
    parts.join("\n\n")
}

fn cells(order: &OrderSummaryView) -> [String; 7] {
    [
        order.id.clone(),
        if order.stuck {
            format!("{}, stuck", order.status)
        } else {
            order.status.clone()
        },
        moment(order.placed_at),
        order.customer_id.clone(),
        order.restaurant_id.clone(),
        order.channel_id.clone().unwrap_or_default(),
        money(order.total_minor, &order.currency),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_shown() {
        for ms in [
            0,
            951_782_399_000,
            951_782_400_000,
            1_700_000_000_000,
            4_107_542_400_000,
        ] {
            assert_eq!(parse_moment(&moment(ms)), Ok(ms));
            assert_eq!(parse_moment(&moment(ms).replace(' ', "T")), Ok(ms));
            assert_eq!(parse_moment(&ms.to_string()), Ok(ms));
        }
        assert_eq!(parse_moment("-5"), Ok(-5));
        for text in [
            "",
            "yesterday",
            "2026-02-31T00:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T23:59:59",
            "2026-01-31Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T00:00Z",
        ] {
            assert!(parse_moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn statuses_are_read_in_any_case() {
        for text in ["ready_for_pickup", "READY-FOR-PICKUP", " Ready_for_pickup"] {
            assert_eq!(parse_status(text), Ok(OrderStatus::ReadyForPickup));
        }
        assert!(parse_status("lost").expect_err("unknown").contains("in_transit"));
    }

    #[test]
    fn a_list_is_a_line_for_each_order_and_what_is_missing() {
        let order = OrderSummaryView {
            id: "o-1".into(),
            status: "CONFIRMED".into(),
            customer_id: "c-1".into(),
            restaurant_id: "r-1".into(),
            channel_id: Some("k-1".into()),
            currency: "EUR".into(),
            total_minor: 1_100,
            placed_at: 1_700_000_000_000,
            updated_at: 1_700_000_001_000,
            stuck: false,
        };
        let mut list = OrderList {
            orders: vec![order],
            next: None,
            as_of: Some(1),
        };
        let text = shown(&list);
        let line: Vec<&str> = text.lines().last().expect("a line").split_whitespace().collect();
        let expected = [
            "o-1",
            "CONFIRMED",
            "2023-11-14",
            "22:13:20Z",
            "c-1",
            "r-1",
            "k-1",
            "11.00",
            "EUR",
        ];
        assert_eq!(line, expected);
        list.orders[0].stuck = true;
        assert!(shown(&list).contains("CONFIRMED, stuck"));
        (list.next, list.as_of) = (Some("more".into()), None);
        let text = shown(&list);
        assert!(
            text.contains("there are more") && text.contains("may be missing"),
            "{text}"
        );
        assert!(shown(&OrderList::default()).starts_with("no orders"));
    }
}

//! Orders for people.

use crate::api::{EventView, EventsView, OrderView, QuoteView, StepView};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

/// The result of a submission.
pub(super) fn submitted(order: &OrderView) -> String {
    format!("{}\n\nfollow it: uoop order watch {}", text(&facts(order)), order.id)
}

/// The result of a cancel.
pub(super) fn cancelled(order: &OrderView) -> String {
    if order.status == "CANCELLED" {
        return format!("{} is cancelled", order.id);
    }
    format!(
        "{} is being cancelled: what was done is being undone\nfollow it: uoop order watch {0}",
        order.id
    )
}

/// One version of an order, in a line: with the moment it reached its status, where the order tells it.
pub(super) fn version(order: &OrderView) -> String {
    let reached = match order.status.as_str() {
        "PENDING" => Some(order.placed_at),
        "CONFIRMED" => order.confirmed_at,
        "READY_FOR_PICKUP" => order.ready_at,
        "PICKED_UP" => order.picked_up_at,
        "DELIVERED" => order.delivered_at,
        "CANCELLED" | "FAILED" => order.closed_at,
        _ => None,
    };
    let more = [
        reached.map(moment),
        order.unwinding.as_ref().map(|ending| format!("unwinding to {ending}")),
        order.steps.iter().rfind(|step| is_under_way(step)).map(step_in_words),
        order.failure_code.clone().filter(|code| *code != order.status),
        order.settled.then(|| "settled".to_owned()),
    ];
    let more: Vec<String> = more.into_iter().flatten().collect();
    format!("v{:<3} {:<16}  {}", order.version, order.status, more.join(", "))
        .trim_end()
        .to_owned()
}

fn is_under_way(step: &StepView) -> bool {
    matches!(step.state.as_str(), "acting" | "pending" | "stuck")
        || matches!(step.compensation.as_deref(), Some("wanted" | "acting" | "stuck"))
}

fn step_in_words(step: &StepView) -> String {
    match &step.compensation {
        Some(compensation) => format!("undo {}: {compensation}", step.step),
        None => format!("{}: {}", step.step, step.state),
    }
}

/// An order with its steps and its history.
pub(super) fn order(order: &OrderView, events: Option<&EventsView>) -> String {
    let mut parts = vec![facts(order), steps(order)];
    parts.extend(events.map(|events| history(order, events)));
    parts.iter().map(text).collect::<Vec<_>>().join("\n\n")
}

pub(in crate::cli) fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table
}

/// A table's lines without the blanks that pad them.
pub(in crate::cli) fn text(table: &Table) -> String {
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

fn facts(order: &OrderView) -> Table {
    let mut table = table();
    let mut row = |what: &str, value: String| {
        table.add_row([what.to_owned(), value]);
    };
    row("order", order.id.clone());
    row("status", status(order));
    if let Some(reason) = &order.failure_reason {
        row(
            "because",
            format!("{}: {reason}", order.failure_code.as_deref().unwrap_or("UNKNOWN")),
        );
    }
    row("customer", order.customer_id.clone());
    row("restaurant", order.restaurant_id.clone());
    for item in &order.items {
        let price = money(item.unit_price_minor, &order.currency);
        row("item", format!("{} × {} at {price}", item.quantity, item.name));
    }
    row("total", money(order.total_minor, &order.currency));
    for (what, value) in [
        ("channel", &order.channel_id),
        ("courier", &order.courier_id),
        ("notes", &order.notes),
    ] {
        if let Some(value) = value {
            row(what, value.clone());
        }
    }
    if let Some(quote) = &order.quote {
        row("chosen at", reckoning(quote, &order.currency));
    }
    for other in &order.alternates {
        let why_not = other.why_not.as_deref().unwrap_or("an alternate");
        let reckoning = reckoning(other, &order.currency);
        row("or by", format!("{}: {why_not}; {reckoning}", other.channel_id));
    }
    for no in &order.infeasible {
        row("not by", no.clone());
    }
    row("placed", moment(order.placed_at));
    let quote = order.quote.as_ref();
    for (what, at) in [
        ("requested for", order.requested_for),
        ("promised ready", quote.map(|quote| quote.ready_at)),
        ("promised at the door", quote.map(|quote| quote.delivered_at)),
        ("confirmed", order.confirmed_at),
        ("ready", order.ready_at),
        ("picked up", order.picked_up_at),
        ("delivered", order.delivered_at),
        ("closed", order.closed_at),
    ] {
        if let Some(at) = at {
            row(what, format!("{} ({})", moment(at), offset(at - order.placed_at)));
        }
    }
    table
}

/// What speaks against a channel, and its parts.
fn reckoning(quote: &QuoteView, currency: &str) -> String {
    let parts = [
        ("cost", quote.cost_minor),
        ("waiting", quote.wait_minor),
        ("load", quote.load_minor),
        ("risk", quote.risk_minor),
    ];
    let parts = parts.iter().filter(|(_, minor)| *minor != 0);
    let parts: Vec<String> = parts
        .map(|(what, minor)| format!("{what} {}", money(*minor, currency)))
        .collect();
    format!("{} in all: {}", money(quote.total_minor, currency), parts.join(", "))
}

fn status(order: &OrderView) -> String {
    let parts = [
        Some(format!("{} (version {})", order.status, order.version)),
        order.unwinding.as_ref().map(|ending| format!("unwinding to {ending}")),
        order.stuck.then(|| "stuck: an operator must look".to_owned()),
        order.settled.then(|| "settled".to_owned()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn steps(order: &OrderView) -> Table {
    let mut table = table();
    table.set_header(["step", "round", "state", "attempt", "compensation"]);
    for step in &order.steps {
        table.add_row([
            step.step.clone(),
            step.round.to_string(),
            step.state.clone(),
            step.attempt.map(|attempt| attempt.to_string()).unwrap_or_default(),
            step.compensation.clone().unwrap_or_default(),
        ]);
    }
    table
}

fn history(order: &OrderView, events: &EventsView) -> Table {
    let mut table = table();
    table.set_header(["time", "after", "version", "event", ""]);
    for event in &events.events {
        table.add_row([
            moment(event.at),
            offset(event.at - order.placed_at),
            event.version.to_string(),
            event.kind.clone(),
            particulars(event),
        ]);
    }
    table
}

/// The plain values of an event, in a line: the step first, and without the bookkeeping of times and first rounds.
fn particulars(event: &EventView) -> String {
    const BOOKKEEPING: [&str; 6] = ["type", "id", "step", "start_at", "deadline", "saga_version"];
    let Value::Object(fields) = &event.data else {
        return String::new();
    };
    let step = fields.get("step").and_then(Value::as_str).map(str::to_owned);
    let others = fields.iter().filter(|(name, value)| {
        let first_round = *name == "round" && **value == 0;
        !BOOKKEEPING.contains(&name.as_str()) && !first_round
    });
    let others = others.filter_map(|(name, value)| match value {
        Value::String(text) => Some(format!("{name} {text}")),
        Value::Number(at) if name.ends_with("_at") => at.as_i64().map(|at| format!("{name} {}", moment(at))),
        Value::Number(_) | Value::Bool(_) => Some(format!("{name} {value}")),
        _ => None,
    });
    step.into_iter().chain(others).collect::<Vec<_>>().join(", ")
}

/// Minor units as people write them; all currencies the platform trades in have hundredths.
pub(super) fn money(minor: i64, currency: &str) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    let minor = minor.unsigned_abs();
    format!("{sign}{}.{:02} {currency}", minor / 100, minor % 100)
}

/// A length of time as `+1:02:03`.
fn offset(ms: i64) -> String {
    let (sign, s) = (if ms < 0 { '-' } else { '+' }, ms.unsigned_abs() / 1_000);
    if s < 3_600 {
        return format!("{sign}{}:{:02}", s / 60, s % 60);
    }
    format!("{sign}{}:{:02}:{:02}", s / 3_600, s / 60 % 60, s % 60)
}

/// A moment in UTC, as `2026-01-31 23:59:59Z`.
pub(in crate::cli) fn moment(ms: i64) -> String {
    let (days, s) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000) / 1_000);
    let (year, month, day) = civil_from_days(days);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z",
        s / 3_600,
        s / 60 % 60,
        s % 60
    )
}

/// Year, month and day of a day counted from 1 January 1970 (after Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", 2013): years begin in March, so that the leap day is the last.
const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn moments_are_those_of_the_calendar() {
        for (ms, wanted) in [
            (0, "1970-01-01 00:00:00Z"),
            (-1, "1969-12-31 23:59:59Z"),
            (951_782_399_999, "2000-02-28 23:59:59Z"),
            (951_782_400_000, "2000-02-29 00:00:00Z"),
            (1_700_000_000_000, "2023-11-14 22:13:20Z"),
            (4_107_542_400_000, "2100-03-01 00:00:00Z"),
        ] {
            assert_eq!(moment(ms), wanted);
        }
        assert_eq!(
            [offset(0), offset(-61_000), offset(3_723_999)],
            ["+0:00", "-1:01", "+1:02:03"]
        );
        assert_eq!([money(5, "USD"), money(-1_234, "EUR")], ["0.05 USD", "-12.34 EUR"]);
    }

    fn sample(status: &str, version: u64) -> OrderView {
        serde_json::from_value(json!({
            "id": "o-1", "version": version, "status": status, "settled": status == "FAILED", "stuck": false,
            "failure_code": "PAYMENT_DECLINED", "failure_reason": "the card is expired", "customer_id": "c-1",
            "restaurant_id": "r-1", "items": [{"sku": "s", "name": "Soup", "quantity": 2, "unit_price_minor": 550}],
            "currency": "USD", "total_minor": 1_100, "delivery_location": {"lat": 1.0, "lng": 2.0, "address": ""},
            "placed_at": 1_700_000_000_000_i64, "closed_at": 1_700_000_065_000_i64, "infeasible": ["k-2: closed"],
            "quote": {"channel_id": "k-1", "ready_at": 0, "delivered_at": 0, "cost_minor": 150, "wait_minor": 600,
                "total_minor": 750},
            "alternates": [{"channel_id": "k-3", "ready_at": 0, "delivered_at": 0, "cost_minor": 790, "load_minor": 10,
                "total_minor": 800, "why_not": "it counts 50 more"}],
            "steps": [
                {"step": "hold capacity", "round": 0, "state": "done", "compensation": "acting", "attempt": 2},
                {"step": "authorize payment", "round": 0, "state": "refused"},
            ],
        }))
        .expect("an order")
    }

    #[test]
    fn an_order_is_told_with_its_steps_and_its_history() {
        let events = EventsView {
            id: "o-1".into(),
            events: vec![EventView {
                version: 2,
                index: 0,
                at: 1_700_000_005_000,
                kind: "StepStarted".into(),
                data: json!({"type": "StepStarted", "step": "authorize payment", "attempt": 1, "x": {"y": 1},
                    "round": 0, "deadline": 1_700_000_009_000_i64, "ready_at": 1_700_000_008_000_i64}),
            }],
        };
        let text = order(&sample("FAILED", 7), Some(&events));
        for wanted in [
            "FAILED (version 7), settled",
            "PAYMENT_DECLINED: the card is expired",
            "2 × Soup at 5.50 USD",
            "11.00 USD",
            "7.50 USD in all: cost 1.50 USD, waiting 6.00 USD",
            "k-3: it counts 50 more; 8.00 USD in all: cost 7.90 USD, load 0.10 USD",
            "k-2: closed",
            "2023-11-14 22:14:25Z (+1:05)",
            "hold capacity",
            "authorize payment, attempt 1, ready_at 2023-11-14 22:13:28Z",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        assert!(!text.contains("\"y\""), "nested values are left out\n{text}");
    }

    #[test]
    fn a_version_is_a_line() {
        let line = version(&sample("FAILED", 7));
        assert_eq!(
            line,
            "v7   FAILED            2023-11-14 22:14:25Z, undo hold capacity: acting, PAYMENT_DECLINED, settled"
        );
        assert!(cancelled(&sample("PENDING", 1)).contains("is being cancelled"));
        assert!(submitted(&sample("PENDING", 1)).contains("uoop order watch o-1"));
    }
}

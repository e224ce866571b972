//! Reading, projecting, scheduling, summing up.

use super::super::outcome::{End, Outcome};
use super::super::summary::{Frame, percentile};
use super::super::{Day, Duplicates, ORIGIN, Overdue, Schedule, Spread, Summary, TimeLine, Wishes};
use super::{parse, real_day, small_day};
use crate::api::OrderView;
use domain::geo::{Location, Projection};
use domain::ids::ChannelId;
use domain::time::Timestamp;
use routing::mdrp::{Instance, Order, Restaurant};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

const NOTHING: Wishes = Wishes {
    seed: 1,
    cancel_pct: 0.0,
    duplicate_pct: 0.0,
    orders_max: None,
};

fn check_projection(instance: &Instance) {
    let projection = Projection { origin: ORIGIN };
    let orders = instance.orders.iter().map(|order| (order.x, order.y));
    let restaurants = instance
        .restaurants
        .iter()
        .map(|restaurant| (restaurant.x, restaurant.y));
    for (x, y) in orders.chain(restaurants) {
        // Through the text of a request, as it travels.
        let place = projection.place(x.into(), y.into());
        let text = |degrees: f64| {
            serde_json::to_string(&degrees)
                .expect("a number")
                .parse()
                .expect("a number")
        };
        let (east, north) = projection.plane(Location {
            lat: text(place.lat),
            lng: text(place.lng),
        });
        assert!(
            (east - f64::from(x)).abs() < 0.5 && (north - f64::from(y)).abs() < 0.5,
            "{x}, {y}: {east}, {north}"
        );
    }
}

#[test]
fn places_survive_the_map_to_the_metre() {
    check_projection(&parse(&small_day(40)));
    if let Some(day) = real_day("7o100t100s1p100") {
        check_projection(&day);
        assert_eq!(
            (day.orders.len(), day.restaurants.len(), day.couriers.len()),
            (3_213, 254, 404)
        );
        assert_eq!(day.parameters.click_to_door_target_min, 40);
    }
}

#[test]
fn every_order_finds_its_article_with_its_preparation_time() {
    let instance = parse(&small_day(40));
    let day = Day::new(&instance, "run".into(), ORIGIN);
    for order in &instance.orders {
        let body = day.order(order);
        let restaurant = instance
            .restaurants
            .iter()
            .find(|known| known.id == order.restaurant)
            .expect("known");
        assert_eq!(day.channel(restaurant).serves, [body.restaurant_id]);
        let menu = day.menu(restaurant).expect("a menu").items;
        let article = menu
            .iter()
            .find(|article| article.sku == body.items[0].sku)
            .expect("the article is on the menu");
        assert_eq!(
            article.prep_ms.map(|prep| prep.0),
            Some(u64::from(order.prep_minutes()) * 60_000)
        );
        assert_eq!(article.price_minor, body.items[0].unit_price_minor);
        assert_eq!(
            menu.iter().filter(|other| other.sku == article.sku).count(),
            1,
            "each article once"
        );
    }
    let shortest = instance.orders.iter().map(Order::prep_minutes).min().expect("orders");
    let channel = day.channel(&instance.restaurants[0]);
    assert!(
        channel.prep_ms > u64::from(shortest) * 60_000,
        "the mean, not the least: {}",
        channel.prep_ms
    );
    let idle = Restaurant {
        id: "r99".into(),
        x: 0,
        y: 0,
    };
    assert_eq!((day.menu(&idle), day.channel(&idle).prep_ms), (None, 600_000));
}

#[test]
fn the_longest_names_are_names_of_the_platform() {
    // Business time of the year 6000, and the largest process id.
    let run = format!("replay-{:x}-{:x}", 127_000_000_000_000_i64, u32::MAX);
    let day = Day::new(&parse(&small_day(4)), run, ORIGIN);
    let name = day.name(&"x".repeat(32));
    name.parse::<ChannelId>().expect(&name);
}

#[test]
fn the_schedule_follows_the_clock_and_the_seed() {
    let instance = parse(&small_day(200));
    let wishes = Wishes {
        cancel_pct: 20.0,
        duplicate_pct: 10.0,
        ..NOTHING
    };
    let schedule = Schedule::new(&instance, &wishes);
    assert!(schedule.orders.is_sorted_by_key(|planned| planned.order.placed_minute));
    assert_eq!(schedule.first_minute, schedule.orders[0].order.placed_minute);
    assert_eq!(
        schedule,
        Schedule::new(&instance, &wishes),
        "the same wishes give the same schedule"
    );
    assert_ne!(schedule, Schedule::new(&instance, &Wishes { seed: 2, ..wishes }));

    let cancels: Vec<_> = schedule
        .orders
        .iter()
        .filter_map(|p| Some((p.cancel_minute?, p.order.placed_minute)))
        .collect();
    assert!((20..=60).contains(&cancels.len()), "about 40 of 200: {}", cancels.len());
    assert!(
        cancels
            .iter()
            .all(|(cancel, placed)| (1..=30).contains(&(cancel - placed)))
    );
    let duplicates = schedule.orders.iter().filter(|planned| planned.duplicate).count();
    assert!((8..=35).contains(&duplicates), "about 20 of 200: {duplicates}");

    let few = Schedule::new(
        &instance,
        &Wishes {
            orders_max: Some(7),
            ..wishes
        },
    );
    assert_eq!(
        few.orders,
        schedule.orders[..7],
        "what happens to an order does not depend on the others"
    );
    let all = |pct| Wishes {
        cancel_pct: pct,
        duplicate_pct: pct,
        ..NOTHING
    };
    let every = Schedule::new(&instance, &all(100.0)).orders;
    assert!(
        every
            .iter()
            .all(|planned| planned.duplicate && planned.cancel_minute.is_some())
    );
    let none = Schedule::new(&instance, &all(0.0)).orders;
    assert!(
        none.iter()
            .all(|planned| !planned.duplicate && planned.cancel_minute.is_none())
    );
}

#[test]
fn minutes_fall_on_their_wall_moments() {
    let (anchor, at) = (Instant::now(), Timestamp(1_700_000_000_000));
    let line = TimeLine::new(anchor, at, 240, Duration::from_secs(2), 600);
    assert_eq!(
        line.at(600).as_ms(),
        at.as_ms() + 480_000,
        "two seconds ahead are eight minutes"
    );
    assert_eq!(line.at(660).as_ms() - line.at(600).as_ms(), 3_600_000);
    assert_eq!(
        line.at(0).as_ms(),
        line.at(600).as_ms() - 36_000_000,
        "before the first order"
    );
    assert_eq!(line.wall(line.at(600)), anchor + Duration::from_secs(2));
    assert_eq!(line.wall(line.at(660)), anchor + Duration::from_secs(17));
    assert_eq!(line.wall(line.at(0)), anchor, "what is past is due at once");
    assert_eq!(line.business(anchor + Duration::from_secs(17)), line.at(660));
    assert_eq!(
        [line.minute(anchor), line.minute(anchor + Duration::from_secs(17))],
        [600, 660]
    );
    assert_eq!(line.wall_between(line.at(600), line.at(604)), Duration::from_secs(1));
    assert_eq!(line.wall_between(line.at(604), line.at(600)), Duration::ZERO);
}

#[test]
fn percentiles_are_those_of_the_nearest_rank() {
    let values: Vec<u64> = (1..=10).collect();
    assert_eq!(
        [50, 90, 91, 99, 100].map(|percent| percentile(&values, percent)),
        [5, 9, 10, 10, 10].map(Some)
    );
    assert_eq!(
        [percentile(&[7], 0), percentile(&[7], 50), percentile(&[], 50)],
        [Some(7), Some(7), None]
    );
}

pub(super) fn view(status: &str, delivered_min: Option<i64>, settled: bool) -> OrderView {
    serde_json::from_value(json!({
        "id": "id", "version": 1, "status": status, "settled": settled, "stuck": status == "PREPARING",
        "failure_code": (status == "FAILED").then_some("NO_COURIER"), "customer_id": "c", "restaurant_id": "r",
        "items": [], "currency": "USD", "total_minor": 1, "delivery_location": {"lat": 0.0, "lng": 0.0},
        "placed_at": 60_000, "ready_at": 600_000, "picked_up_at": 660_000,
        "delivered_at": delivered_min.map(|minutes| 60_000 + minutes * 60_000), "steps": [],
    }))
    .expect("an order")
}

fn outcome(end: End) -> Outcome {
    let accepted = !matches!(end, End::NotAccepted(_));
    Outcome {
        order: "o".into(),
        key: "run-o".into(),
        id: accepted.then(|| "id".to_owned()),
        end,
        submit: Duration::from_micros(1_500),
        lag: Duration::ZERO,
        duplicate_id: None,
        cancel_granted: None,
    }
}

fn settled(status: &str, delivered_min: Option<i64>) -> Outcome {
    outcome(End::Settled(Box::new(view(status, delivered_min, true))))
}

fn summary(outcomes: &[Outcome]) -> Summary {
    let wall = Duration::from_millis(1_234);
    Summary::new(
        outcomes,
        Frame {
            run: "run".into(),
            target_min: 40,
            retries: 3,
            wall,
            polls: None,
        },
    )
}

/// Thirteen delivered, two failed, one cancelled.
fn settled_outcomes() -> Vec<Outcome> {
    let minutes = (21..=30).chain([40, 41, 43]);
    let mut outcomes: Vec<_> = minutes.map(|minutes| settled("DELIVERED", Some(minutes))).collect();
    outcomes.extend([
        settled("FAILED", None),
        settled("FAILED", None),
        settled("CANCELLED", None),
    ]);
    outcomes
}

#[test]
fn the_summary_counts_and_measures_what_is_settled() {
    let mut outcomes = settled_outcomes();
    outcomes[0].duplicate_id = Some("id".into());
    outcomes[1].cancel_granted = Some(false);
    let complete = summary(&outcomes);
    assert!(complete.is_complete());
    assert_eq!(
        [complete.orders, complete.placed, complete.delivered, complete.failed],
        [16, 16, 13, 2]
    );
    assert_eq!((complete.cancelled, complete.missing), (1, 0));
    assert_eq!(complete.failed_by, BTreeMap::from([("NO_COURIER".to_owned(), 2)]));
    let doors = Spread {
        p50: Some(27.0),
        p90: Some(41.0),
        mean: Some(29.15),
    };
    assert_eq!(complete.click_to_door_min, doors);
    assert_eq!(complete.ready_to_pickup_min.p50, Some(1.0));
    assert_eq!(
        complete.overdue,
        Overdue {
            target_min: 40,
            count: 2,
            mean_min: Some(2.0)
        }
    );
    assert_eq!(
        (complete.submit_ms.p99, complete.retries, complete.wall_s),
        (Some(1.5), 3, 1.23)
    );
    assert_eq!(
        (complete.duplicates, complete.cancels_refused),
        (Duplicates { sent: 1, wrong: 0 }, 1)
    );

    outcomes[0].duplicate_id = Some("another".into());
    assert!(!summary(&outcomes).is_complete(), "one key, two orders");
}

#[test]
fn what_is_not_settled_is_missing_for_its_reason() {
    let mut outcomes = settled_outcomes();
    outcomes.extend([
        outcome(End::Unknown),
        outcome(End::NotAccepted("the store is away (HTTP 503)".into())),
        outcome(End::Open(Box::new(view("DELIVERED", Some(5), false)))),
        outcome(End::Open(Box::new(view("PREPARING", None, false)))),
    ]);
    let incomplete = summary(&outcomes);
    assert!(!incomplete.is_complete());
    assert_eq!(
        [
            incomplete.orders,
            incomplete.placed,
            incomplete.delivered,
            incomplete.missing
        ],
        [20, 19, 13, 4]
    );
    let reasons: Vec<&str> = incomplete.missing_by.keys().map(String::as_str).collect();
    let wanted = ["DELIVERED, not settled", "PREPARING, stuck", "accepted, then unknown"];
    assert_eq!(reasons[..3], wanted);
    assert_eq!(reasons[3], "not accepted: the store is away (HTTP 503)");
    let text = incomplete.to_string();
    for wanted in [
        "19 of 20",
        "NO_COURIER",
        "PREPARING, stuck",
        "27.0 / 41.0 / 29.1 min",
        "2, by 2.0 min",
        "1.2 s",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
}

#[test]
fn an_empty_day_has_no_figures() {
    let summary = summary(&[]);
    assert!(summary.is_complete());
    let json = serde_json::to_value(&summary).expect("JSON");
    assert_eq!(
        json["click_to_door_min"],
        json!({"p50": null, "p90": null, "mean": null})
    );
    assert!(summary.to_string().contains("- / - / - min"));
}

#[test]
fn a_line_of_the_report_says_what_a_checker_needs() {
    let mut missing = outcome(End::Unknown);
    missing.cancel_granted = Some(true);
    let line = serde_json::to_value(missing.report()).expect("JSON");
    assert_eq!(
        line,
        json!({
            "order": "o", "key": "run-o", "id": "id", "acknowledged": true, "settled": false, "status": null,
            "failure_code": null, "placed_at": null, "delivered_at": null, "duplicate_id": null,
            "cancel_granted": true, "missing": "accepted, then unknown",
        })
    );
    let line = settled("DELIVERED", Some(4)).report();
    assert_eq!(
        (line.status.as_deref(), line.placed_at, line.delivered_at),
        (Some("DELIVERED"), Some(60_000), Some(300_000))
    );
    let refused = outcome(End::NotAccepted("no".into())).report();
    assert_eq!((refused.acknowledged, refused.id), (false, None));
}

//! What `GET /v1/channels/{id}/capacity` says of the time to come, and how long its answer holds.

mod support;

use serde_json::{Value, json};
use std::time::Duration;
use support::{PATIENCE, Server, body, burger};
use tokio::time::{Instant, sleep};

const PATH: &str = "/v1/channels/kitchen-1/capacity";

async fn open(server: &Server) {
    let channel = json!({
        "name": "Kitchen", "kind": "kitchen", "serves": ["noodles"], "location": {"lat": 41.886, "lng": -87.63},
        "currency": "USD", "prep_ms": 600_000, "capacity_per_slot": 1_000,
    });
    let request = server.request("PUT", "/v1/channels/kitchen-1").json(&channel);
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    assert_eq!(status, 201, "{}", body(answer).await);
}

fn noodles() -> Value {
    let mut order = burger();
    order["restaurant_id"] = json!("noodles");
    order["items"] = json!([{"sku": "ramen", "name": "Ramen", "quantity": 1, "unit_price_minor": 1_200}]);
    order
}

/// A day takes 0.9 seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_foretells_its_slots_once_three_of_its_days_are_over() {
    let server = Server::start(&["--set", "time.scale=100000", "--set", "policy.capacity_level_pct=90"]);
    open(&server).await;
    let new = server.read(PATH).await["forecast"].clone();
    assert_eq!(new, json!({"days": 0, "days_min": 3, "level_pct": 90}));
    let begun = Instant::now();
    let capacity = loop {
        server.place(&noodles()).await;
        let capacity = server.read(PATH).await;
        let forecast = &capacity["forecast"];
        let enough = forecast["days"].as_u64() >= Some(3);
        assert_eq!(forecast["slots"].is_array(), enough, "{forecast}");
        if enough {
            break capacity;
        }
        assert!(begun.elapsed() < PATIENCE, "it never learns: {capacity}");
        sleep(Duration::from_millis(20)).await;
    };
    let slots = capacity["forecast"]["slots"].as_array().expect("slots");
    let starts: Vec<&Value> = slots.iter().map(|slot| &slot["starts_at"]).collect();
    let usage = &capacity["utilisation"];
    let ahead = usage["ahead"].as_array().expect("a list");
    let both: Vec<&Value> = std::iter::once(&usage["present"])
        .chain(ahead)
        .map(|slot| &slot["starts_at"])
        .collect();
    assert_eq!(starts, both);
    let expected: f64 = slots.iter().filter_map(|slot| slot["expected"].as_f64()).sum();
    assert!(expected > 0.0, "{capacity}");
    for slot in slots {
        let (expected, suggested) = (slot["expected"].as_f64(), slot["suggested"].as_u64());
        assert!(expected >= Some(0.0) && suggested >= Some(1), "{slot}");
    }
}

/// The tag of the capacity, and the answer's status, for who has this one.
async fn tag(server: &Server, known: Option<&str>) -> (u16, String) {
    let mut request = server.request("GET", PATH);
    if let Some(known) = known {
        request = request.header("if-none-match", known);
    }
    let answer = request.send().await.expect("an answer");
    let tag = answer.headers()["etag"].to_str().expect("text").to_owned();
    (answer.status().as_u16(), tag)
}

/// A slot takes 0.9 seconds, and nobody orders.
#[tokio::test(flavor = "multi_thread")]
async fn the_tag_of_a_capacity_holds_as_long_as_the_slot() {
    let server = Server::start(&["--set", "time.scale=1000"]);
    open(&server).await;
    let (status, first) = tag(&server, None).await;
    assert_eq!(status, 200);
    let begun = Instant::now();
    loop {
        let (status, now) = tag(&server, Some(&first)).await;
        if now != first {
            assert_eq!(status, 200, "{first} became {now}");
            break;
        }
        assert_eq!(status, 304);
        assert!(begun.elapsed() < PATIENCE, "time passes, and {first} does not");
        sleep(Duration::from_millis(20)).await;
    }
}

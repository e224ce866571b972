//! What an order tells of the choice of its channel, and what becomes of what it was promised.

mod support;

use serde_json::{Value, json};
use std::time::Duration;
use support::{PATIENCE, Server, body, burger};
use tokio::time::{Instant, sleep};

async fn open(server: &Server, id: &str, cost_minor: u32, capacity_per_slot: u32) {
    let channel = json!({
        "name": id, "kind": "kitchen", "serves": ["noodles"], "location": {"lat": 41.886, "lng": -87.63},
        "currency": "USD", "prep_ms": 600_000, "capacity_per_slot": capacity_per_slot, "cost_minor": cost_minor,
    });
    let request = server.request("PUT", &format!("/v1/channels/{id}")).json(&channel);
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    assert!(status == 200 || status == 201, "{status}: {}", body(answer).await);
}

fn noodles() -> Value {
    let mut order = burger();
    order["restaurant_id"] = json!("noodles");
    order["items"] = json!([{"sku": "ramen", "name": "Ramen", "quantity": 1, "unit_price_minor": 1_200}]);
    order
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_tells_why_each_other_channel_was_not_chosen() {
    let server = Server::start(&[]);
    for n in 0..7 {
        open(&server, &format!("kitchen-{n}"), 100 * n, 1_000).await;
    }
    let paused = server
        .request("PUT", "/v1/channels/kitchen-0/availability")
        .json(&json!({"state": "PAUSED"}));
    paused.send().await.expect("an answer");
    let order = server.place(&noodles()).await;
    let quote = &order["quote"];
    assert_eq!(
        (&order["channel_id"], &quote["cost_minor"]),
        (&json!("kitchen-1"), &json!(100))
    );
    let parts = ["cost_minor", "wait_minor", "load_minor", "risk_minor"].map(|part| quote[part].as_i64().expect(part));
    assert_eq!(quote["total_minor"], json!(parts.iter().sum::<i64>()), "{quote}");
    let why_not: Vec<_> = order["alternates"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|a| a["why_not"].clone())
        .collect();
    assert_eq!(
        why_not,
        [100, 200, 300, 400].map(|more| format!("it counts {more} more"))
    );
    let total = quote["total_minor"].as_i64().expect("a sum");
    let others = [
        "kitchen-0: takes no orders at present".to_owned(),
        format!("kitchen-6: could make it, but counts {} against {total}", total + 500),
    ];
    assert_eq!(order["infeasible"], json!(others));
    assert_eq!(order["first_promised_at"], quote["delivered_at"]);
}

/// What an order taught, and whether it came as promised.
#[tokio::test(flavor = "multi_thread")]
async fn delivered_orders_teach_their_channel_and_count_as_promises() {
    let server = Server::start(&["--set", "time.scale=1000"]);
    open(&server, "kitchen-1", 0, 100).await;
    let first = server.place(&noodles()).await;
    let path = format!("/v1/orders/{}/status", first["id"].as_str().expect("an id"));
    let begun = Instant::now();
    loop {
        let status = server.read(&path).await;
        if status["settled"] == json!(true) {
            assert_eq!(status["status"], json!("DELIVERED"));
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it never ends: {status}");
        sleep(Duration::from_millis(50)).await;
    }
    let learned = server.read("/v1/channels/kitchen-1").await["learned"].clone();
    let tickets: Vec<u64> = learned["hours"]
        .as_array()
        .expect("hours")
        .iter()
        .map(|hour| hour["tickets"].as_u64().expect("a number"))
        .collect();
    assert_eq!((tickets, &learned["lost_pm"]), (vec![1], &json!(0)), "{learned}");
    let figures = server.request("GET", "/metrics").send().await.expect("an answer");
    let figures = figures.text().await.expect("text");
    let promises: Vec<&str> = figures
        .lines()
        .filter(|line| line.starts_with("uoop_promises_total{"))
        .collect();
    assert!(promises.len() == 1 && promises[0].ends_with(" 1"), "{promises:?}");
    assert!(
        figures.contains("uoop_channel_choices_total{how=\"alone\"} 1"),
        "{figures}"
    );
}

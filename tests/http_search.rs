//! The list of orders, over HTTP and from the command line: it follows the orders, page by page.

mod support;

use reqwest::Response;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;
use support::{PATIENCE, Server, body, burger};

const PATH: &str = "/v1/orders";

/// The list, once it shows all that is committed by now.
async fn level(server: &Server) -> Value {
    let now = server.read("/v1/clock").await["now"].as_i64().expect("a moment");
    let level = async {
        loop {
            let list = server.read(PATH).await;
            if list["as_of"].as_i64() > Some(now) {
                return list;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, level)
        .await
        .expect("the list catches up")
}

fn order_of(customer: &str) -> Value {
    let mut order = burger();
    order["customer_id"] = json!(customer);
    order
}

fn ids(list: &Value) -> Vec<String> {
    let orders = list["orders"].as_array().expect("a list");
    let id = |order: &Value| order["id"].as_str().expect("an id").to_owned();
    orders.iter().map(id).collect()
}

fn next(response: &Response) -> Option<String> {
    let link = response.headers().get("link")?.to_str().expect("text");
    let (path, relation) = link.split_once('>').expect("a link");
    assert_eq!(relation, "; rel=\"next\"");
    Some(path.trim_start_matches('<').to_owned())
}

async fn search(server: &Server, query: &str) -> Vec<String> {
    ids(&server.read(&format!("{PATH}?{query}")).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_follows_the_orders() {
    let server = Server::start(&[]);
    let empty = level(&server).await;
    assert_eq!((ids(&empty), &empty["next"]), (Vec::new(), &Value::Null));
    let mut placed = Vec::new();
    for customer in ["c-1", "c-2", "c-1", "c-1"] {
        let order = server.place(&order_of(customer)).await;
        assert_eq!(order["status"], "CONFIRMED");
        placed.push(order["id"].as_str().expect("an id").to_owned());
    }
    let cancelled = server
        .request("POST", &format!("{PATH}/{}/cancel", placed[2]))
        .send()
        .await
        .expect("an answer");
    assert!(cancelled.status().is_success());
    // Being undone takes as long as it takes.
    let undone = async {
        while server.read(&format!("{PATH}/{}/status", placed[2])).await["status"] != "CANCELLED" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, undone).await.expect("cancelled");

    let list = level(&server).await;
    let newest_first: Vec<String> = placed.iter().rev().cloned().collect();
    assert_eq!(ids(&list), newest_first);
    for shown in list["orders"].as_array().expect("a list") {
        let order = server
            .read(&format!("{PATH}/{}", shown["id"].as_str().expect("an id")))
            .await;
        // Read later, so what the world does to an order may have gone on.
        let same = [
            "customer_id",
            "restaurant_id",
            "channel_id",
            "currency",
            "total_minor",
            "placed_at",
        ];
        for field in same {
            assert_eq!(shown[field], order[field], "{field}");
        }
    }
    filters(&server, &list, &placed).await;
    assert!(!list.to_string().contains("tok_visa"));
    let figures = server
        .request("GET", "/metrics")
        .send()
        .await
        .expect("an answer")
        .text()
        .await;
    let figures = figures.expect("text");
    for name in [
        "uoop_projection_lag_seconds",
        "uoop_projection_rows_total",
        "uoop_orders_stuck 0",
        "uoop_follower_lag_rows{follower=\"projection\"}",
    ] {
        assert!(figures.contains(name), "{name}");
    }
}

/// Of four orders, the second is another customer's and the third is cancelled.
async fn filters(server: &Server, list: &Value, placed: &[String]) {
    assert_eq!(search(server, "status=CANCELLED").await, [placed[2].clone()]);
    assert_eq!(search(server, "customer_id=c-2").await, [placed[1].clone()]);
    assert_eq!(
        search(server, "customer_id=c-1&status=CANCELLED,FAILED").await,
        [placed[2].clone()]
    );
    assert_eq!(search(server, "restaurant_id=nowhere").await, [""; 0]);
    let channel = list["orders"][0]["channel_id"].as_str().expect("a channel");
    assert!(
        search(server, &format!("channel_id={channel}"))
            .await
            .contains(&placed[3])
    );
    let third = list["orders"][1]["placed_at"].as_i64().expect("a moment");
    assert!(search(server, &format!("placed_after={}", third + 1)).await.len() < 3);
    assert!(
        search(server, &format!("placed_before={}", third + 1))
            .await
            .contains(&placed[2])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other_whatever_is_placed_meanwhile() {
    let server = Server::start(&[]);
    let mut placed = Vec::new();
    for _ in 0..5 {
        placed.push(
            server.place(&order_of("c-1")).await["id"]
                .as_str()
                .expect("an id")
                .to_owned(),
        );
    }
    level(&server).await;
    let (mut path, mut seen) = (format!("{PATH}?customer_id=c-1&limit=2"), Vec::new());
    let mut pages = 0;
    loop {
        let page = server.request("GET", &path).send().await.expect("an answer");
        assert_eq!(page.status(), 200);
        let (link, page) = (next(&page), body(page).await);
        assert_eq!(link.is_some(), page["next"].is_string());
        seen.extend(ids(&page));
        pages += 1;
        server.place(&order_of("c-1")).await;
        level(&server).await;
        match link {
            Some(link) => path = link,
            None => break,
        }
    }
    placed.reverse();
    assert_eq!((seen, pages), (placed, 3));

    let json = list_of(&server, &["--customer", "c-1", "--limit", "3", "--json"]);
    let list: Value = serde_json::from_str(json.trim_end()).expect("one JSON object");
    assert_eq!(ids(&list), search(&server, "limit=3").await);
    assert!(list["next"].is_string() && list["as_of"].is_i64(), "{list}");
    let table = list_of(&server, &["--status", "cancelled"]);
    assert_eq!(table, "no orders\n");
    let table = list_of(&server, &["--placed-after", "2001-01-01T00:00:00Z"]);
    assert_eq!(
        table.lines().filter(|line| line.contains("demo-burgers")).count(),
        8,
        "{table}"
    );
}

/// What `uoop order list` prints.
fn list_of(server: &Server, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_uoop"))
        .args(["order", "list", "--url", &server.at("")])
        .args(arguments)
        .output()
        .expect("the binary runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_searched_is_told() {
    let server = Server::start(&[]);
    for query in [
        "cursor=broken",
        "cursor=",
        "cursor=AAAAAAAAAAAAAAAAAAAAAA",
        "limit=0",
        "limit=201",
        "limit=many",
        "status=LOST",
        "status=",
        "customer_id=a%20b",
        "channel_id=",
        "placed_after=yesterday",
        "stuck=perhaps",
        "colour=red",
        "limit=1&limit=2",
    ] {
        let answer = server
            .request("GET", &format!("{PATH}?{query}"))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 400, "{query}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{query}");
        let problem = body(answer).await;
        assert_eq!(problem["type"], "urn:uoop:problem:malformed-request", "{query}");
        assert_eq!(problem["instance"], PATH);
    }
    let documented = server.read("/api/docs-json").await;
    let parameters = documented["paths"][PATH]["get"]["parameters"]
        .as_array()
        .expect("parameters");
    assert_eq!(parameters.len(), 9);
    assert!(documented["paths"][PATH]["post"].is_object(), "beside the submission");
}

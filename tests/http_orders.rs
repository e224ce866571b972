//! What HTTP promises about orders that go well: durable and addressable when created, versioned, followed to their end.

mod support;

use reqwest::Response;
use serde_json::{Value, json};
use support::{PATIENCE, Server, body, burger};
use uoop::participants::signature::{ID, Keyring, SIGNATURE, Secret, TIMESTAMP};
use uoop::participants::wall;

fn header(response: &Response, name: &str) -> String {
    let value = response
        .headers()
        .get(name)
        .unwrap_or_else(|| panic!("no {name} in {:?}", response.headers()));
    value.to_str().expect("text").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_created_where_location_says_and_read_by_version() {
    let server = Server::start(&[]);
    let request = server
        .request("POST", "/v1/orders")
        .header("prefer", "respond-async, wait=20")
        .header("x-request-id", "r-1");
    let created = request.json(&burger()).send().await.expect("an answer");
    assert_eq!(created.status(), 201);
    assert_eq!(header(&created, "preference-applied"), "wait=20");
    assert_eq!(header(&created, "x-request-id"), "r-1");
    let (location, etag) = (header(&created, "location"), header(&created, "etag"));
    let order = body(created).await;
    assert_eq!(
        (&order["status"], &order["total_minor"]),
        (&json!("CONFIRMED"), &json!(1_900))
    );
    assert_eq!(location, format!("/v1/orders/{}", order["id"].as_str().expect("an id")));
    assert_eq!(etag, format!("\"{}\"", order["version"]));
    assert!(
        !order.to_string().contains("tok_visa"),
        "the payment token is nobody's business"
    );

    let read = server.request("GET", &location).send().await.expect("an answer");
    let (now, version) = (header(&read, "etag"), body(read).await["version"].clone());
    assert_eq!(now, format!("\"{version}\""));
    let status = server.read(&format!("{location}/status")).await;
    assert_eq!(status["id"], order["id"]);
    let unchanged = server
        .request("GET", &location)
        .header("if-none-match", format!("\"0\", W/{now}"))
        .send()
        .await;
    let unchanged = unchanged.expect("an answer");
    // A courier may have been found meanwhile; then it is a newer version, and sent.
    match unchanged.status().as_u16() {
        304 => assert_eq!((header(&unchanged, "etag"), body(unchanged).await), (now, Value::Null)),
        other => assert_eq!((other, header(&unchanged, "etag") != now), (200, true)),
    }
    let history = server.read(&format!("{location}/events")).await;
    let events = history["events"].as_array().expect("a list");
    assert_eq!(events[0]["type"], "OrderPlaced");
    assert!(!history.to_string().contains("tok_visa"), "not in the history either");
    let versions: Vec<u64> = events
        .iter()
        .map(|event| event["version"].as_u64().expect("a version"))
        .collect();
    assert!(
        versions
            .windows(2)
            .all(|pair| pair[1] == pair[0] || pair[1] == pair[0] + 1),
        "gapless: {versions:?}"
    );
}

/// The versions and statuses that a stream tells, until it ends.
async fn told(response: Response) -> Vec<(u64, String)> {
    let text = tokio::time::timeout(PATIENCE, response.text())
        .await
        .expect("the stream ends")
        .expect("text");
    let blocks = text.split("\n\n").filter(|block| block.contains("data:"));
    let event = |block: &str| {
        let field = |name: &str| {
            block
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let order: Value = serde_json::from_str(&field("data:")).expect("an order");
        assert_eq!(field("event:"), "order");
        assert_eq!(field("id:"), order["version"].to_string());
        (
            order["version"].as_u64().expect("a version"),
            order["status"].as_str().expect("a status").to_owned(),
        )
    };
    blocks.map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_every_version_to_the_end_and_resumes_anywhere() {
    let server = Server::start(&[]);
    let placed = server
        .request("POST", "/v1/orders")
        .json(&burger())
        .send()
        .await
        .expect("an answer");
    let location = header(&placed, "location");
    let stream = server
        .request("GET", &format!("{location}/stream"))
        .header("last-event-id", "0")
        .send()
        .await
        .expect("an answer");
    assert!(header(&stream, "content-type").starts_with("text/event-stream"));
    assert_eq!(header(&stream, "x-accel-buffering"), "no");
    let following = tokio::spawn(told(stream));
    let cancelled = server
        .request("POST", &format!("{location}/cancel"))
        .send()
        .await
        .expect("an answer");
    assert!(cancelled.status().is_success(), "{}", cancelled.status());
    let told_live = following.await.expect("no panic");
    let numbers: Vec<u64> = told_live.iter().map(|(version, _)| *version).collect();
    assert_eq!(
        numbers,
        (1..=numbers.len() as u64).collect::<Vec<_>>(),
        "each version once, in order"
    );
    assert_eq!(told_live.first().map(|(_, status)| status.as_str()), Some("PENDING"));
    assert_eq!(told_live.last().map(|(_, status)| status.as_str()), Some("CANCELLED"));

    let resume = |after: u64| {
        server
            .request("GET", &format!("{location}/stream"))
            .header("last-event-id", after.to_string())
    };
    let rest = told(resume(2).send().await.expect("an answer")).await;
    assert_eq!(rest, told_live[2..], "what was told live is told again from the log");
    let nothing = resume(numbers.len() as u64).send().await.expect("an answer");
    assert_eq!(nothing.status(), 204, "there is nothing more to come");
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_and_couriers_are_put_once_and_changed_by_version() {
    let server = Server::start(&[]);
    let mut channel = json!({
        "name": "New kitchen", "kind": "kitchen", "serves": ["new"], "location": {"lat": 41.9, "lng": -87.6},
        "currency": "USD", "prep_ms": 600_000, "capacity_per_slot": 5,
    });
    let put = |channel: &Value| server.request("PUT", "/v1/channels/new").json(channel);
    let created = put(&channel)
        .header("if-none-match", "*")
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        (created.status().as_u16(), header(&created, "location")),
        (201, "/v1/channels/new".to_owned())
    );
    let etag = header(&created, "etag");
    channel["capacity_per_slot"] = json!(6);
    let changed = put(&channel).header("if-match", &etag).send().await.expect("an answer");
    assert_eq!(changed.status(), 200);
    assert_ne!(header(&changed, "etag"), etag);
    let stale = put(&channel).header("if-match", &etag).send().await.expect("an answer");
    assert_eq!(stale.status(), 412);
    let paused = server
        .request("PUT", "/v1/channels/new/availability")
        .json(&json!({"state": "PAUSED"}))
        .send()
        .await;
    assert_eq!(
        body(paused.expect("an answer")).await["availability"],
        json!({"state": "PAUSED"})
    );
    let sold_out = server
        .request("PUT", "/v1/channels/new/sold-out")
        .json(&json!({"skus": ["ramen"]}))
        .send()
        .await;
    assert_eq!(body(sold_out.expect("an answer")).await["sold_out"], json!(["ramen"]));
    assert_eq!(server.read("/v1/channels/new").await["capacity_per_slot"], 6);

    let courier = json!({"location": {"lat": 41.9, "lng": -87.6}});
    let put = || server.request("PUT", "/v1/couriers/new").json(&courier);
    assert_eq!(put().send().await.expect("an answer").status(), 201);
    assert_eq!(put().send().await.expect("an answer").status(), 200);
    let report = |event: Value| server.request("POST", "/v1/couriers/new/events").json(&event);
    let offline = report(json!({"type": "offline"})).send().await.expect("an answer");
    assert_eq!(body(offline).await["result"], "applied");
    let again = report(json!({"type": "offline"})).send().await.expect("an answer");
    assert_eq!(body(again).await["result"], "duplicate");
    let unknown = report(json!({"type": "on_a_break", "since": 5}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        (unknown.status().as_u16(), body(unknown).await["result"].clone()),
        (202, json!("ignored"))
    );
    assert_eq!(server.read("/v1/couriers/new").await["online"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_secrets_only_signed_reports_are_believed() {
    const SECRET: &str = "0123456789abcdef0123456789";
    let server = Server::start(&["--set", &format!("participants.signing_secrets={SECRET}")]);
    let report = r#"{"order_id":"00000000-0001-8000-8000-000000000000","type":"stirring"}"#;
    let post = || {
        let request = server.request("POST", "/v1/channels/downtown-kitchen/events");
        request.header("content-type", "application/json").body(report)
    };
    let unsigned = post().send().await.expect("an answer");
    assert_eq!(unsigned.status(), 401);
    assert!(body(unsigned).await["detail"].as_str().expect("a detail").contains(ID));
    let now_s = wall::system()().div_euclid(1_000);
    let signed = |secret: &str, at_s: i64| {
        let keyring = Keyring::new(&[secret.parse::<Secret>().expect("a secret")]);
        let signature = keyring.sign("msg-1", at_s, report.as_bytes());
        post()
            .header(ID, "msg-1")
            .header(TIMESTAMP, at_s.to_string())
            .header(SIGNATURE, signature)
    };
    assert_eq!(
        signed("another-secret-of-somebody", now_s)
            .send()
            .await
            .expect("an answer")
            .status(),
        401
    );
    assert_eq!(
        signed(SECRET, now_s - 3_600).send().await.expect("an answer").status(),
        401,
        "too old"
    );
    assert_eq!(
        signed(SECRET, now_s).send().await.expect("an answer").status(),
        202,
        "believed, and of no known kind"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_documents_itself_and_tells_how_it_is() {
    let server = Server::start(&["--set", "http.cors_origin=https://shop.example"]);
    assert_eq!(server.read("/livez").await["status"], "alive");
    assert_eq!(server.read("/readyz").await["status"], "ready");
    assert_eq!(server.read("/v1/clock").await["time_scale"], 1);
    let api = server.read("/api/docs-json").await;
    assert!(
        api["openapi"].as_str().expect("a version").starts_with("3.1"),
        "{}",
        api["openapi"]
    );
    let paths: Vec<&String> = api["paths"].as_object().expect("paths").keys().collect();
    for path in [
        "/v1/orders",
        "/v1/orders/{id}/stream",
        "/v1/channels/{id}/events",
        "/v1/actors/{path}",
        "/readyz",
    ] {
        assert!(paths.iter().any(|known| *known == path), "{path} is not in {paths:?}");
    }
    let references = api.to_string();
    for (at, _) in references.match_indices("#/components/schemas/") {
        let name = references[at + 21..].split('"').next().expect("a name");
        assert!(!api["components"]["schemas"][name].is_null(), "{name} is not described");
    }
    for page in ["/", "/api/docs/"] {
        let page = server.request("GET", page).send().await.expect("an answer");
        assert_eq!(page.status(), 200);
        assert!(header(&page, "content-type").starts_with("text/html"));
    }
    let preflight = server
        .request("OPTIONS", "/v1/orders")
        .header("origin", "https://shop.example");
    let preflight = preflight
        .header("access-control-request-method", "POST")
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        header(&preflight, "access-control-allow-origin"),
        "https://shop.example"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_and_actors_tell_what_goes_on() {
    let server = Server::start(&[]);
    server.place(&burger()).await;
    let figures = server
        .request("GET", "/metrics")
        .send()
        .await
        .expect("an answer")
        .text()
        .await
        .expect("text");
    for figure in [
        "order_processing_duration_bucket{le=\"10\"} 1",
        "http_requests_total{method=\"POST\",route=\"/v1/orders\",status=\"201\"} 1",
        "http_request_duration_seconds_bucket{method=\"POST\",route=\"/v1/orders\",le=",
    ] {
        assert!(figures.contains(figure), "'{figure}' is not in\n{figures}");
    }
    let actors = server.read("/v1/actors?kind=channel&limit=2").await;
    assert_eq!(
        (actors["total"].as_u64(), actors["actors"].as_array().map(Vec::len)),
        (Some(3), Some(2))
    );
    let next = actors["next"].as_str().expect("another page");
    let linked = server.request("GET", "/v1/actors?kind=channel&limit=2").send().await;
    assert_eq!(
        header(&linked.expect("an answer"), "link"),
        format!("</v1/actors?kind=channel&limit=2&after={next}>; rel=\"next\"")
    );
    let rest = server
        .read(&format!("/v1/actors?kind=channel&limit=2&after={next}"))
        .await;
    assert_eq!(
        (rest["actors"].as_array().map(Vec::len), &rest["next"]),
        (Some(1), &Value::Null)
    );
    let path = rest["actors"][0]["path"].as_str().expect("a path").to_owned();
    let actor = server.read(&format!("/v1/actors/{path}")).await;
    assert!(actor["state"]["config"].is_object(), "{actor}");
}

/// The ids on a page, and where its `Link` leads.
async fn page(server: &Server, list: &str, path: &str) -> (Vec<String>, Option<String>) {
    let response = server.request("GET", path).send().await.expect("an answer");
    assert_eq!(response.status(), 200, "{path}");
    let link = response.headers().get("link").map(|link| {
        let link = link.to_str().expect("text").strip_prefix('<');
        let path = link.and_then(|link| link.strip_suffix(">; rel=\"next\""));
        path.expect("a link to the next page").to_owned()
    });
    let page = body(response).await;
    assert_eq!(page["next"].is_null(), link.is_none(), "{path}: both or none");
    let items = page[list].as_array().expect("a list").iter();
    let ids = items.map(|item| item["id"].as_str().expect("an id").to_owned());
    (ids.collect(), link)
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_that_stay_right_while_things_are_added() {
    let server = Server::start(&[]);
    let place = json!({"lat": 41.9, "lng": -87.6});
    let channel = json!({
        "name": "New kitchen", "kind": "kitchen", "serves": ["new"], "location": place,
        "currency": "USD", "prep_ms": 600_000, "capacity_per_slot": 5,
    });
    let courier = json!({"location": place});
    for (list, thing) in [("channels", channel), ("couriers", courier)] {
        let put = async |id: &str| {
            let request = server.request("PUT", &format!("/v1/{list}/{id}")).json(&thing);
            assert_eq!(request.send().await.expect("an answer").status(), 201, "{id}");
        };
        let (before, more) = page(&server, list, &format!("/v1/{list}")).await;
        assert!(before.len() >= 3 && before.is_sorted() && more.is_none(), "{before:?}");
        let (mut seen, mut next) = page(&server, list, &format!("/v1/{list}?limit=2")).await;
        assert_eq!(seen, before[..2]);
        // One that sorts before what was seen, one that sorts behind everything.
        put("a:first").await;
        put("zz:last").await;
        while let Some(path) = next {
            let (ids, more) = page(&server, list, &path).await;
            assert!((1..=2).contains(&ids.len()), "{ids:?}");
            seen.extend(ids);
            next = more;
        }
        assert_eq!(
            seen,
            [&before[..], &["zz:last".to_owned()]].concat(),
            "each once, and nothing twice"
        );
        let (all, _) = page(&server, list, &format!("/v1/{list}?limit=1000")).await;
        assert_eq!(all.len(), before.len() + 2);
    }
}

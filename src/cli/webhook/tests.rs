//! What is asked of the server, and how its answers are shown.

use super::*;
use crate::api::{DeadLetterList, WebhookList, WebhookView};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use clap::Parser;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: WebhookArgs,
}

fn parse(words: &[&str]) -> Result<WebhookArgs, String> {
    let line = Line::try_parse_from(std::iter::once("webhook").chain(words.iter().copied()));
    line.map(|line| line.args).map_err(|error| error.to_string())
}

/// Every request in a line: method, path, query, whether it only creates, body.
type Asked = Arc<Mutex<Vec<String>>>;

async fn hear(
    State(asked): State<Asked>,
    method: Method,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: String,
) -> Response {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let creates = headers.get("if-none-match").map_or("", |_| " if none");
    let line = format!("{method} {path}{query}{creates} {body}");
    asked.lock().expect("whole").push(line.trim().to_owned());
    match (method, path.as_str()) {
        (Method::GET, "webhooks") => {
            let is_first = query == "?limit=1000";
            let next = is_first.then_some("more");
            Json(json!({"webhooks": [view(if is_first { "a" } else { "b" })], "next": next})).into_response()
        }
        (Method::GET, "dead-letters") => Json(json!({"dead_letters": [letter("m.1"), letter("m/2")]})).into_response(),
        (Method::DELETE, _) => StatusCode::NO_CONTENT.into_response(),
        (Method::POST, _) => StatusCode::ACCEPTED.into_response(),
        (Method::GET, "webhooks/nobody") => {
            let problem = json!({"title": "no", "detail": "there is no webhook 'nobody'", "status": 404});
            (StatusCode::NOT_FOUND, Json(problem)).into_response()
        }
        _ => Json(view("shop")).into_response(),
    }
}

fn view(id: &str) -> Value {
    json!({"id": id, "version": 1, "url": "https://shop.example/hooks", "enabled": true, "description": ""})
}

fn letter(id: &str) -> Value {
    json!({"id": id, "webhook_id": "shop", "type": "order.confirmed", "attempts": 10, "died_at": 1_700_000_000_000_i64,
        "error": "HTTP 500", "message": {}})
}

/// Runs command lines against a server, and says what it was asked.
async fn asked(lines: &[&[&str]]) -> Vec<String> {
    let asked = Asked::default();
    let router = Router::new()
        .route("/v1/{*path}", any(hear))
        .with_state(Arc::clone(&asked));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    for line in lines {
        let words: Vec<&str> = line.iter().copied().chain(["--url", &url, "--json"]).collect();
        let done = parse(&words).expect("fine").run().await;
        assert_eq!(done.expect("done"), ExitCode::SUCCESS, "{line:?}");
    }
    let asked = asked.lock().expect("whole");
    asked.clone()
}

#[tokio::test]
async fn each_command_asks_what_it_is_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let secrets = folder.path().join("secrets");
    std::fs::write(&secrets, "\n a-new-secret-of-24-bytes \nan-old-secret-of-24-bytes\n\n").expect("written");
    let secrets = secrets.to_str().expect("text");
    let endpoint = "https://shop.example/hooks";
    let lines: [&[&str]; 9] = [
        &["create", "shop", endpoint],
        &[
            "create",
            "shop",
            endpoint,
            "--events",
            "order.confirmed, order.delivered",
            "--secrets",
            secrets,
        ],
        &["create", "shop", endpoint, "--disabled", "--description", "the shop"],
        &["list"],
        &["show", "shop"],
        &["delete", "shop"],
        &["dead-letters", "--webhook", "shop", "--limit", "5"],
        &["replay", "m.1", "m/2"],
        &["replay", "--all", "shop"],
    ];
    let expected = [
        r#"PUT webhooks/shop if none {"url":"https://shop.example/hooks","enabled":true}"#,
        r#"PUT webhooks/shop if none {"url":"https://shop.example/hooks","event_types":["order.confirmed","order.delivered"],"secrets":["a-new-secret-of-24-bytes","an-old-secret-of-24-bytes"],"enabled":true}"#,
        r#"PUT webhooks/shop if none {"url":"https://shop.example/hooks","enabled":false,"description":"the shop"}"#,
        "GET webhooks?limit=1000",
        "GET webhooks?limit=1000&cursor=more",
        "GET webhooks/shop",
        "DELETE webhooks/shop",
        "GET dead-letters?limit=5&webhook_id=shop",
        "POST dead-letters/m.1/replay",
        "POST dead-letters/m/2/replay",
        "GET webhooks/shop",
        "GET dead-letters?limit=1000&webhook_id=shop",
        "POST dead-letters/m.1/replay",
        "POST dead-letters/m/2/replay",
    ];
    assert_eq!(asked(&lines).await, expected);
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_asked() {
    for (words, said) in [
        (&["show", "a.b"][..], "must be 1 to 64 characters"),
        (&["create", "shop"], "<ENDPOINT>"),
        (&["replay"], "<ID>"),
        (&["replay", "m.1", "--all", "shop"], "cannot be used with"),
        (&["dead-letters", "--limit", "0"], "0 is not in"),
    ] {
        let error = parse(words).expect_err("not meant");
        assert!(error.contains(said), "{words:?}: {error}");
    }
    let empty = parse(&["create", "shop", "https://x.example", "--secrets", "/dev/null"]).expect("fine");
    let WebhookCommand::Create(create) = empty.command else {
        panic!("another command")
    };
    let error = create.read().err().expect("no secrets").to_string();
    assert_eq!(error, "there are no secrets in /dev/null");
}

#[test]
fn subscriptions_are_shown_with_their_state() {
    let mut webhook: WebhookView = serde_json::from_value(view("shop")).expect("a view");
    let shown = show::webhook(&webhook);
    for text in ["shop", "https://shop.example/hooks", "all", "on"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    assert!(!show::created(&webhook).contains("secret"));
    webhook.secret = Some("whsec_once".into());
    assert!(show::created(&webhook).ends_with("not shown again:\nwhsec_once"));
    webhook.event_types = Some(vec!["order.failed".into(), "order.cancelled".into()]);
    (webhook.enabled, webhook.disabled_reason) = (false, Some("the endpoint said 410".into()));
    let list = WebhookList {
        webhooks: vec![webhook],
        next: None,
    };
    let shown = show::list(&list);
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(
        shown.contains("off: the endpoint said 410") && shown.contains("order.failed, order.cancelled"),
        "{shown}"
    );
    let none = WebhookList {
        webhooks: Vec::new(),
        next: None,
    };
    assert_eq!(show::list(&none), "no webhooks");
}

#[test]
fn dead_letters_are_shown_with_their_cause() {
    let mut list: DeadLetterList = serde_json::from_value(json!({"dead_letters": [letter("m.1")]})).expect("a list");
    let shown = show::dead_letters(&list);
    let line: Vec<&str> = shown.lines().last().expect("a line").split_whitespace().collect();
    let expected = [
        "m.1",
        "shop",
        "order.confirmed",
        "2023-11-14",
        "22:13:20Z",
        "10",
        "HTTP",
        "500",
    ];
    assert_eq!(line, expected);
    list.next = Some("more".into());
    assert!(show::dead_letters(&list).ends_with("there are more: --limit shows them"));
    list.dead_letters.clear();
    assert_eq!(show::dead_letters(&list), "no dead letters");
    assert_eq!(show::replayed(2), "2 messages are attempted again");
}

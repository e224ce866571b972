//! Participants over HTTP: one `POST` with JSON for each effect, with the effect's key as its idempotency key, signed.
//!
//! `POST {base_url}/payments/{authorize|void|capture|refund}` with a [`PaymentRequest`];
//! `POST {base_url}/kitchens/{channel}/tickets` and `…/tickets/cancel` with a [`TicketRequest`].
//! What the answers mean is in [`super::wire`].

use super::ask::Verb;
use super::draw::InvalidSetting;
use super::signature::{self, Keyring, Secret};
use super::wall::WallClock;
use super::wire::interpret;
use async_trait::async_trait;
use domain::ports::{Kitchens, Payments};
use domain::saga::{Answer, EffectKey, PaymentRequest, TicketAction, TicketRequest};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The header with the effect's key.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// How a participant is reached over HTTP.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where it is, such as `http://127.0.0.1:9090`.
    pub base_url: String,
    /// The secret that requests are signed with; none: they are not signed.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// How long a call may take in all, in wall milliseconds. The caller's own time-out usually comes first.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// How many idle connections are kept open.
    #[serde(default = "connections_idle_max")]
    pub connections_idle_max: usize,
    /// Most bytes of an answer that are read; a longer one counts as a failure.
    #[serde(default = "answer_bytes_max")]
    pub answer_bytes_max: usize,
}

const fn timeout_ms() -> u64 {
    10_000
}

const fn connections_idle_max() -> usize {
    256
}

const fn answer_bytes_max() -> usize {
    16 * 1_024
}

impl HttpConfig {
    /// Someone at this address, with the usual limits and no signature.
    pub fn at(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            secret: None,
            timeout_ms: timeout_ms(),
            connections_idle_max: connections_idle_max(),
            answer_bytes_max: answer_bytes_max(),
        }
    }
}

/// Sends effects to one address. Clones share its connections.
#[derive(Clone)]
struct Sender {
    client: reqwest::Client,
    base_url: String,
    keyring: Option<Keyring>,
    wall: WallClock,
    answer_bytes_max: usize,
}

impl Sender {
    fn new(config: &HttpConfig, wall: WallClock) -> Result<Self, InvalidSetting> {
        let invalid = |problem: String| InvalidSetting(format!("'{}' {problem}", config.base_url));
        let url = reqwest::Url::parse(&config.base_url).map_err(|e| invalid(format!("is not a URL: {e}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(invalid(
                "is not a URL of HTTP, such as http://127.0.0.1:9090".to_owned(),
            ));
        }
        let client = reqwest::Client::builder()
            .timeout(Duration::from_millis(config.timeout_ms))
            .pool_max_idle_per_host(config.connections_idle_max)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|e| InvalidSetting(format!("no HTTP client: {}", chain(&e))))?;
        Ok(Self {
            client,
            base_url: config.base_url.trim_end_matches('/').to_owned(),
            keyring: config
                .secret
                .as_ref()
                .map(|secret| Keyring::new(std::slice::from_ref(secret))),
            wall,
            answer_bytes_max: config.answer_bytes_max,
        })
    }

    async fn send(&self, path: &str, verb: Verb, key: &EffectKey, request: &impl Serialize) -> Answer {
        match self.exchange(path, key, request).await {
            Ok((status, body)) => interpret(verb, status, &body),
            Err(detail) => Answer::Failed(detail),
        }
    }

    async fn exchange(&self, path: &str, key: &EffectKey, request: &impl Serialize) -> Result<(u16, Vec<u8>), String> {
        let body = serde_json::to_vec(request).map_err(|e| format!("the request is no JSON: {e}"))?;
        let key = key.to_string();
        let mut post = self
            .client
            .post(format!("{}{path}", self.base_url))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(IDEMPOTENCY_KEY, &key);
        if let Some(keyring) = &self.keyring {
            let timestamp_s = (self.wall)().div_euclid(1_000);
            let signature = keyring.sign(&key, timestamp_s, &body);
            post = post
                .header(signature::ID, &key)
                .header(signature::TIMESTAMP, timestamp_s);
            post = post.header(signature::SIGNATURE, signature);
        }
        let mut response = post.body(body).send().await.map_err(|e| chain(&e))?;
        let status = response.status().as_u16();
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| chain(&e))? {
            if answer.len() + chunk.len() > self.answer_bytes_max {
                return Err(format!(
                    "answered {status} with more than {} bytes",
                    self.answer_bytes_max
                ));
            }
            answer.extend_from_slice(&chunk);
        }
        Ok((status, answer))
    }
}

/// An error with its causes. The outermost text of a client error names only the URL.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A payment provider over HTTP.
#[derive(Clone)]
pub struct HttpPayments(Sender);

impl HttpPayments {
    /// The provider at an address. Nothing is sent yet.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(config: &HttpConfig, wall: WallClock) -> Result<Self, InvalidSetting> {
        Sender::new(config, wall).map(Self)
    }
}

#[async_trait]
impl Payments for HttpPayments {
    async fn request(&self, request: &PaymentRequest) -> Answer {
        let verb = Verb::from(request.action);
        self.0
            .send(&format!("/payments/{}", verb.as_str()), verb, &request.key, request)
            .await
    }
}

/// Kitchens and partners over HTTP.
#[derive(Clone)]
pub struct HttpKitchens(Sender);

impl HttpKitchens {
    /// The kitchens at an address. Nothing is sent yet.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(config: &HttpConfig, wall: WallClock) -> Result<Self, InvalidSetting> {
        Sender::new(config, wall).map(Self)
    }
}

#[async_trait]
impl Kitchens for HttpKitchens {
    async fn request(&self, request: &TicketRequest) -> Answer {
        let path = match request.action {
            TicketAction::Place => format!("/kitchens/{}/tickets", request.channel),
            TicketAction::Cancel => format!("/kitchens/{}/tickets/cancel", request.channel),
        };
        self.0.send(&path, request.action.into(), &request.key, request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::participants::ask::tests::payment;
    use domain::saga::PaymentAction;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn payments(config: &HttpConfig) -> HttpPayments {
        HttpPayments::new(config, Arc::new(|| 1_700_000_000_999)).expect("a client")
    }

    /// Answers one request with these bytes and returns what was asked.
    async fn answering(answer: String) -> (String, tokio::task::JoinHandle<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let asked = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("a client");
            let mut asked = Vec::new();
            while !asked.ends_with(b"}") {
                let read = socket.read_buf(&mut asked).await.expect("a request");
                assert!(read > 0, "the request ended early");
            }
            socket.write_all(answer.as_bytes()).await.expect("answered");
            String::from_utf8(asked).expect("text")
        });
        (url, asked)
    }

    fn response(status: u16, body: &str) -> String {
        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn an_effect_is_one_signed_post_with_its_key() {
        let (url, asked) = answering(response(200, r#"{"result":"done","receipt":{"until":5}}"#)).await;
        let secret = Some("0123456789abcdef01234567".parse().expect("a secret"));
        let request = payment(1, PaymentAction::Authorize);
        let answer = payments(&HttpConfig {
            secret,
            ..HttpConfig::at(url)
        })
        .request(&request)
        .await;
        assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
        let asked = asked.await.expect("asked");
        let (head, body) = asked.split_once("\r\n\r\n").expect("a body");
        assert!(head.starts_with("POST /payments/authorize HTTP/1.1\r\n"), "{head}");
        assert_eq!(
            serde_json::from_str::<PaymentRequest>(body).expect("the request"),
            request
        );
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        assert_eq!(header(IDEMPOTENCY_KEY), Some(request.key.to_string().as_str()));
        assert_eq!(header(signature::TIMESTAMP), Some("1700000000"));
        let keyring = Keyring::new(&["0123456789abcdef01234567".parse().expect("a secret")]);
        assert_eq!(keyring.verify(header, body.as_bytes(), 1_700_000_000_000), Ok(()));
    }

    #[tokio::test]
    async fn what_says_nothing_is_a_failure() {
        let endless = format!("HTTP/1.1 409 X\r\ncontent-length: 100000\r\n\r\n{}", " ".repeat(20_000));
        let moved = "HTTP/1.1 307 X\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".to_owned();
        let cut_off = "HTTP/1.1 200 X\r\ncontent-length: 50\r\n\r\n{\"result\"".to_owned();
        for answer in [
            endless,
            moved,
            cut_off,
            response(500, "oops"),
            response(200, "fine!"),
            String::new(),
        ] {
            let (url, asked) = answering(answer.clone()).await;
            let said = payments(&HttpConfig::at(url))
                .request(&payment(1, PaymentAction::Capture))
                .await;
            assert!(matches!(said, Answer::Failed(_)), "{answer:?}: {said:?}");
            asked.await.expect("asked");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_a_failure_that_says_so() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        drop(listener);
        match payments(&HttpConfig::at(url))
            .request(&payment(1, PaymentAction::Void))
            .await
        {
            Answer::Failed(detail) => assert!(detail.to_lowercase().contains("refused"), "{detail}"),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn silence_ends_with_the_time_out() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let config = HttpConfig {
            timeout_ms: 50,
            ..HttpConfig::at(url)
        };
        let said = payments(&config).request(&payment(1, PaymentAction::Void)).await;
        assert!(matches!(said, Answer::Failed(_)), "{said:?}");
        drop(listener);
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        for wrong in ["", "localhost:9090", "ftp://example.org", "/payments"] {
            let error = HttpPayments::new(&HttpConfig::at(wrong), Arc::new(|| 0))
                .err()
                .expect(wrong)
                .to_string();
            assert!(error.contains("URL"), "{error}");
        }
    }
}

//! One keep-alive connection, cheap: hyper's own, driven by whoever sends on it, without a task beside.

use super::load::Failure;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest answer that is read, in bytes: the figures of a busy server are some hundred kilobytes.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

type Driver = Pin<Box<Connection<TokioIo<TcpStream>, Full<Bytes>>>>;

/// Where the server is.
#[derive(Clone, Debug)]
pub(super) struct Target {
    address: SocketAddr,
    host: HeaderValue,
}

impl Target {
    /// The server at an `http://` address; `None` when that is none, or its host has no address.
    pub(super) async fn resolve(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        if uri.scheme_str() != Some("http") {
            return None;
        }
        let (host, port) = (uri.host()?, uri.port_u16().unwrap_or(80));
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let address = tokio::net::lookup_host((name, port)).await.ok()?.next()?;
        let host = HeaderValue::from_str(uri.authority()?.as_str()).ok()?;
        Some(Self { address, host })
    }

    /// A request to it.
    pub(super) fn request(&self, method: Method, uri: Uri, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        request.headers_mut().insert(HOST, self.host.clone());
        request
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A connection that carries one request at a time.
pub(super) struct Line {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once the connection is over.
    driver: Option<Driver>,
}

impl Line {
    pub(super) async fn open(target: &Target) -> Result<Self, Failure> {
        let opened = timeout(CONNECT_TIMEOUT, async {
            let stream = TcpStream::connect(target.address).await.ok()?;
            stream.set_nodelay(true).ok()?;
            handshake(TokioIo::new(stream)).await.ok()
        });
        let (sender, connection) = opened.await.ok().flatten().ok_or(Failure::Connect)?;
        Ok(Self {
            sender,
            driver: Some(Box::pin(connection)),
        })
    }

    /// Sends a request and reads its whole answer. After any failure the connection is of no more use.
    ///
    /// # Errors
    /// [`Failure::Stale`] when the server had closed the connection before: nothing was sent.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Reply, Failure> {
        let Self { sender, driver } = self;
        let exchange = async {
            sender.ready().await.map_err(|_| Failure::Stale)?;
            let response = sender.send_request(request).await.map_err(|_| Failure::Broken)?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            Ok(Reply {
                status: parts.status.as_u16(),
                headers: parts.headers,
                body: body.map_err(|_| Failure::Broken)?.to_bytes(),
            })
        };
        driven(driver, exchange).await
    }

    /// Sends a request whose answer comes bit by bit, and hands each bit to `take` until that says to stop. Returns the
    /// answer's status.
    ///
    /// # Errors
    /// As [`Self::send`]; also when the answer ends by itself.
    pub(super) async fn follow(
        &mut self,
        request: Request<Full<Bytes>>,
        mut take: impl FnMut(u16, &[u8]) -> ControlFlow<()>,
    ) -> Result<u16, Failure> {
        let Self { sender, driver } = self;
        let exchange = async {
            sender.ready().await.map_err(|_| Failure::Stale)?;
            let response = sender.send_request(request).await.map_err(|_| Failure::Broken)?;
            let status = response.status().as_u16();
            let mut body = response.into_body();
            // What was answered is worth telling, even before anything more comes.
            if take(status, &[]).is_break() {
                return Ok(status);
            }
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|_| Failure::Broken)?;
                if let Some(data) = frame.data_ref()
                    && take(status, data).is_break()
                {
                    return Ok(status);
                }
            }
            Err(Failure::Broken)
        };
        driven(driver, exchange).await
    }
}

/// Drives the connection until the exchange on it is done.
async fn driven<F: Future>(driver: &mut Option<Driver>, exchange: F) -> F::Output {
    let mut exchange = pin!(exchange);
    poll_fn(|cx| {
        if let Poll::Ready(output) = exchange.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        if let Some(connection) = driver
            && connection.as_mut().poll(cx).is_ready()
        {
            *driver = None;
        }
        // What the connection has just read need not wait for another turn.
        exchange.as_mut().poll(cx)
    })
    .await
}

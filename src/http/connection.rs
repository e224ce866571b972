//! Connections: how many, and how long one may be silent or take its time with a request.

use super::HttpLimits;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};

/// A listener that accepts so many connections at a time and no more; the others wait in the system's backlog.
pub(super) struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    idle_max: Duration,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener, limits: &HttpLimits) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(limits.connections_max.clamp(1, Semaphore::MAX_PERMITS))),
            idle_max: Duration::from_millis(limits.connection_idle_ms_max),
        }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // Answers are written whole: waiting for more to send would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY cannot be set");
        }
        (Connection::new(stream, self.idle_max, place), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub SocketAddr);

impl Connected<IncomingStream<'_, Bounded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// A connection with a deadline: it moves on when something is sent, and once when a request begins to arrive. So
/// neither a silent client nor one that sends a byte now and then keeps its place for ever.
pub(super) struct Connection<S = TcpStream> {
    stream: S,
    idle_max: Duration,
    deadline: Instant,
    /// Whether nothing was received since something was last sent.
    quiet: bool,
    /// Fires at the deadline or before; a deadline that moved on is looked at only then.
    alarm: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl<S> Connection<S> {
    fn new(stream: S, idle_max: Duration, place: Option<OwnedSemaphorePermit>) -> Self {
        let deadline = Instant::now() + idle_max;
        let alarm = Box::pin(sleep_until(deadline));
        Self {
            stream,
            idle_max,
            deadline,
            quiet: true,
            alarm,
            _place: place,
        }
    }

    fn move_on(&mut self, quiet: bool) {
        self.deadline = Instant::now() + self.idle_max;
        self.quiet = quiet;
    }

    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            ready!(self.alarm.as_mut().poll(cx));
            if self.alarm.deadline() >= self.deadline {
                return Poll::Ready(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the client was silent for too long",
                ));
            }
            let deadline = self.deadline;
            self.alarm.as_mut().reset(deadline);
        }
    }

    fn sent(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.move_on(true);
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buffer) {
            if buffer.filled().len() > filled && self.quiet {
                self.move_on(false);
            }
            return Poll::Ready(read);
        }
        self.poll_overdue(cx).map(Err)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.sent(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.sent(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const IDLE: Duration = Duration::from_secs(10);

    fn pair() -> (tokio::io::DuplexStream, Connection<tokio::io::DuplexStream>) {
        let (client, server) = duplex(64);
        (client, Connection::new(server, IDLE, None))
    }

    /// Not a runtime with paused time (tokio's `test-util` is not among our features): a deadline in the past.
    fn let_it_pass<S>(connection: &mut Connection<S>) {
        connection.deadline = Instant::now();
        connection.alarm.as_mut().reset(connection.deadline);
    }

    #[tokio::test]
    async fn a_silent_client_loses_its_place() {
        let (_client, mut connection) = pair();
        let_it_pass(&mut connection);
        let error = connection.read_u8().await.expect_err("overdue");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_trickle_does_not_move_the_deadline_and_an_answer_does() {
        let (mut client, mut connection) = pair();
        client.write_all(b"ab").await.expect("room");
        connection.read_u8().await.expect("the first byte");
        let begun = connection.deadline;
        connection.read_u8().await.expect("the second byte");
        assert_eq!(
            connection.deadline, begun,
            "a further byte of the same request changes nothing"
        );
        let_it_pass(&mut connection);
        connection.write_all(b"answer").await.expect("room");
        assert!(connection.deadline > Instant::now(), "the answer moves it on");
        client.write_all(b"c").await.expect("room");
        assert_eq!(connection.read_u8().await.expect("the next request"), b'c');
    }
}

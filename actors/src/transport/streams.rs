//! Connections as `ractor_cluster` takes them from outside.
//!
//! They are made here, and not by its own listener and client, because its listener shakes hands with one TLS client
//! after the other, without a time limit (a silent one would lock all others out), and because a writer that is stuck in
//! a dead connection would outlive its session.

use futures::task::AtomicWaker;
use ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;

/// Frames are read length first; without a buffer each would cost two calls of the system.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// A connection that is ready to carry a session. Its label names the connection in the session's description.
pub(super) struct Connection {
    reader: BoxRead,
    writer: BoxWrite,
    label: String,
}

impl Connection {
    pub(super) fn plain(stream: TcpStream, label: String) -> Self {
        let (reader, writer) = stream.into_split();
        Self::new(reader, writer, label)
    }

    pub(super) fn encrypted(stream: impl AsyncRead + AsyncWrite + Send + 'static, label: String) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self::new(reader, writer, label)
    }

    fn new(
        reader: impl AsyncRead + Unpin + Send + 'static,
        writer: impl AsyncWrite + Unpin + Send + 'static,
        label: String,
    ) -> Self {
        let ended = Arc::new(Ended::default());
        Self {
            reader: Box::new(Reader {
                inner: BufReader::with_capacity(READ_BUFFER_BYTES, reader),
                ended: Arc::clone(&ended),
            }),
            writer: Box::new(Writer { inner: writer, ended }),
            label,
        }
    }
}

impl ClusterBidiStream for Connection {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        (self.reader, self.writer)
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.label.clone())
    }
}

/// The reader goes with its session, and tells the writer.
#[derive(Default)]
struct Ended {
    is: AtomicBool,
    waker: AtomicWaker,
}

struct Reader<R> {
    inner: R,
    ended: Arc<Ended>,
}

impl<R> Drop for Reader<R> {
    fn drop(&mut self) {
        self.ended.is.store(true, Ordering::Release);
        self.ended.waker.wake();
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Reader<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

struct Writer<W> {
    inner: W,
    ended: Arc<Ended>,
}

impl<W> Writer<W> {
    /// Fails once the session is over, and has the task woken when that happens.
    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        self.ended.waker.register(cx.waker());
        if self.ended.is.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the session is over"));
        }
        Ok(())
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Writer<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

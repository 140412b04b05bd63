//! A TCP stream whose first bytes were read already and are given out again.

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A TCP stream that first repeats what was looked at before; then it costs one word more than the
/// stream alone.
#[derive(Debug)]
pub struct Replay {
    tcp: TcpStream,
    unread: Option<Box<Unread>>,
}

#[derive(Debug)]
struct Unread {
    bytes: Vec<u8>,
    given: usize,
}

impl Replay {
    pub(super) fn new(tcp: TcpStream, bytes: Vec<u8>) -> Self {
        let unread = (!bytes.is_empty()).then(|| Box::new(Unread { bytes, given: 0 }));
        Self { tcp, unread }
    }

    /// The stream itself, for its addresses and options.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }
}

impl AsyncRead for Replay {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(unread) = &mut self.unread {
            let rest = unread.bytes.get(unread.given..).unwrap_or_default();
            let now = rest.get(..buf.remaining()).unwrap_or(rest);
            buf.put_slice(now);
            unread.given = unread.given.saturating_add(now.len());
            if unread.given >= unread.bytes.len() {
                self.unread = None;
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Replay {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

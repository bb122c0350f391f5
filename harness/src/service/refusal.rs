//! Why a TLS connection broke, for those above it who are only told that it did.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What the TLS of one side refused about the other's, once it is known.
pub(super) type Refusal = Arc<OnceLock<String>>;

/// A TLS stream that keeps the first refusal that it sees.
///
/// A server refuses a client's certificate after the client's side of the handshake is done, with an alert, and closes.
/// Whether the client then reads the alert or finds first that it cannot write any more is a race, and HTTP/2 keeps
/// either reason to itself. So a write that fails reads on for an alert first: what came before the close is still there.
pub(super) struct Refusable<S> {
    stream: S,
    refusal: Refusal,
    /// Why nothing can be written any more, while the rest is read.
    broken: Option<io::Error>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Refusable<S> {
    pub(super) fn new(stream: S, refusal: Refusal) -> Self {
        Self { stream, refusal, broken: None }
    }

    fn read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if let Err(error) = &read {
            // The kind of all errors that rustls itself finds, and of none that a socket has.
            if error.kind() == io::ErrorKind::InvalidData {
                let _ = self.refusal.set(error.to_string());
            }
        }
        Poll::Ready(read)
    }

    fn write<T>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.broken.is_none() {
            match ready!(write(Pin::new(&mut self.stream), context)) {
                Ok(written) => return Poll::Ready(Ok(written)),
                Err(error) => self.broken = Some(error),
            }
        }
        loop {
            let mut ignored = [0; 256];
            let mut buffer = ReadBuf::new(&mut ignored);
            if ready!(self.read(context, &mut buffer)).is_err() || buffer.filled().is_empty() {
                let broken = self.broken.take();
                return Poll::Ready(Err(broken.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Refusable<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Refusable<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

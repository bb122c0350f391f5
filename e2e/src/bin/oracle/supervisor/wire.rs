//! The way to a service: the name, the connection, the TLS handshake, and what came over it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore};

use super::SHORTEST;
use crate::orders::{Kind, Orders, Target};

/// Why there is no connection to talk over.
pub(super) enum Trouble {
    /// Nobody is there, or nobody answers.
    Nobody(String),
    /// Somebody took the connection and closed it.
    Closed(String),
    /// Somebody else is there.
    Other(String),
}

/// A connection, with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection and the beginning of what comes over it.
pub(super) type Opened = (Recorded<Box<dyn Stream>>, Seen);

/// Resolves the name as the container does, connects, and shakes hands where the service has TLS. Each has that time.
pub(super) async fn open(orders: &Orders, target: &Target, time: Duration) -> Result<Opened, Trouble> {
    let stream = connect(&orders.alias, target.port, time).await.map_err(Trouble::Nobody)?;
    let stream: Box<dyn Stream> = match (target.kind, &orders.tls) {
        (Kind::GrpcTls, Some(tls)) => {
            let connector =
                connector(tls).map_err(|error| Trouble::Nobody(format!("certificates: {error}")))?;
            let silent = |_| Trouble::Nobody(format!("TLS: no answer within {time:?}"));
            timeout(time, shake_hands(&connector, &orders.alias, stream)).await.map_err(silent)??
        }
        _ => Box::new(stream),
    };
    Ok(Recorded::new(stream))
}

/// Every address of the name, one after the other. They share the time, as hyper's connector has it.
pub(super) async fn connect(alias: &str, port: u16, time: Duration) -> Result<TcpStream, String> {
    let resolved = match timeout(time, tokio::net::lookup_host((alias, port))).await {
        Ok(resolved) => resolved.map_err(|error| format!("resolve {alias}: {error}"))?,
        Err(_) => return Err(format!("resolve {alias}: no answer within {time:?}")),
    };
    let addresses: Vec<_> = resolved.collect();
    let share = share(time, addresses.len());
    let mut trouble = format!("resolve {alias}: no address");
    for address in addresses {
        trouble = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => format!("connect to {address}: {error}"),
            Err(_) => format!("connect to {address}: no answer within {share:?}"),
        };
    }
    Err(trouble)
}

/// What one of so many addresses has of an attempt's time. Never too little to show a lost packet as what it is, unless the
/// whole attempt has no more.
fn share(time: Duration, addresses: usize) -> Duration {
    (time / u32::try_from(addresses.max(1)).unwrap_or(u32::MAX)).max(SHORTEST.min(time))
}

fn connector(tls: &crate::orders::Tls) -> Result<TlsConnector, Box<dyn std::error::Error>> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(tls.authority.as_bytes()) {
        roots.add(authority?)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// As the gateway's certificate has to have the name that sandboxes dial.
async fn shake_hands(
    connector: &TlsConnector,
    alias: &str,
    stream: TcpStream,
) -> Result<Box<dyn Stream>, Trouble> {
    let name = ServerName::try_from(alias.to_owned());
    let name = name.map_err(|error| Trouble::Nobody(format!("{alias}: {error}")))?;
    match connector.connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        // What rustls itself finds is about what the other side said. All else is the socket's.
        Err(error) if error.get_ref().is_some_and(|inner| inner.is::<Error>()) => {
            Err(Trouble::Other(format!("TLS: {error}")))
        }
        Err(error) => Err(Trouble::Closed(format!("TLS: {error}"))),
    }
}

/// The first bytes that came, shared with whoever judges them.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Vec<u8>>>);

impl Seen {
    /// More than the first frame's header and the first line of an answer have.
    const LIMIT: usize = 64;

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn add(&self, bytes: &[u8]) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = Self::LIMIT.saturating_sub(seen.len());
        seen.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// A stream that shows what came over it.
pub(super) struct Recorded<S> {
    stream: S,
    seen: Seen,
}

impl<S> Recorded<S> {
    fn new(stream: S) -> (Self, Seen) {
        let seen = Seen::default();
        (Self { stream, seen: seen.clone() }, seen)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Recorded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.seen.add(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Recorded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_no_more_than_the_attempt() {
        let long = Duration::from_secs(10);
        assert_eq!(share(long, 1), long);
        assert_eq!(share(long, 4), Duration::from_millis(2500));
        assert_eq!(share(SHORTEST, 2), SHORTEST, "too short for a second SYN");
        let short = Duration::from_millis(200);
        assert_eq!(share(short, 1), short, "an attempt after the first is as long as it is scaled");
        assert_eq!(share(short, 2), short);
    }
}

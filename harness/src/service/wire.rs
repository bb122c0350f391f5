//! One connection to a service, and one exchange over it.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Collected, Limited};
use hyper::Response;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::client::{CheckError, Identity};
use super::tls;

/// More than any answer of a service has.
const ANSWER_LIMIT: usize = 64 * 1024;

/// A response and all of its body.
pub(super) type Whole = (hyper::http::response::Parts, Collected<Bytes>);

/// A way to a service, owned by the thread that takes it.
pub(super) struct Wire {
    pub(super) address: SocketAddr,
    pub(super) tls: Option<Identity>,
    /// Where the gateway's certificates are, as the machine sees it.
    pub(super) folder: PathBuf,
}

/// A connection, with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Wire {
    /// Connects and, where the service has TLS, shakes hands for that protocol.
    pub(super) async fn open(&self, protocol: &[u8]) -> Result<Box<dyn Stream>, CheckError> {
        let address = self.address;
        let stream =
            TcpStream::connect(address).await.map_err(|source| CheckError::Connect { address, source })?;
        let Some(identity) = self.tls else { return Ok(Box::new(stream)) };
        let connector = tls::connector(&self.folder, identity == Identity::Client, protocol)
            .map_err(CheckError::Certificates)?;
        let connected = connector.connect(ServerName::from(address.ip()), stream).await;
        Ok(Box::new(connected.map_err(|error| CheckError::Tls { address, message: error.to_string() })?))
    }

    /// Drives a connection until the exchange over it is done. When the connection breaks, it alone knows why.
    pub(super) async fn exchange(
        &self,
        connection: impl Future<Output = hyper::Result<()>>,
        exchange: impl Future<Output = Result<Whole, Box<dyn Error + Send + Sync>>>,
    ) -> Result<Whole, CheckError> {
        let (connection, mut exchange) = (pin!(connection), pin!(exchange));
        let done = tokio::select! {
            biased;
            ended = connection => match (ended, exchange.as_mut().now_or_never()) {
                (_, Some(Ok(whole))) => Ok(whole),
                (Err(error), _) => Err(error.into()),
                (Ok(()), Some(Err(error))) => Err(error),
                (Ok(()), None) => exchange.await,
            },
            done = &mut exchange => done,
        };
        done.map_err(|error| self.broken(&*error))
    }

    /// What went wrong once there was a connection. A server refuses a client's certificate only after the client's side
    /// of the handshake is done, so such an error arrives wrapped in those of HTTP. Of what was wrapped only the kind
    /// and the text are left; the kind is that of every error of rustls and of no other of a connection.
    pub(super) fn broken(&self, error: &(dyn Error + 'static)) -> CheckError {
        let is_tls = |error: &(dyn Error + 'static)| {
            let error = error.downcast_ref::<io::Error>();
            error.is_some_and(|error| error.kind() == io::ErrorKind::InvalidData)
        };
        if self.tls.is_some() && causes(error).any(is_tls) {
            return CheckError::Tls { address: self.address, message: message(error) };
        }
        wrong(self.address, error)
    }
}

/// Reads all of a response.
pub(super) async fn whole(response: Response<Incoming>) -> Result<Whole, Box<dyn Error + Send + Sync>> {
    let (head, body) = response.into_parts();
    Ok((head, Limited::new(body, ANSWER_LIMIT).collect().await?))
}

/// An exchange that is not HTTP as it should be.
pub(super) fn wrong(address: SocketAddr, error: &(dyn Error + 'static)) -> CheckError {
    CheckError::Http { address, message: message(error) }
}

fn causes<'error>(
    error: &'error (dyn Error + 'static),
) -> impl Iterator<Item = &'error (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

fn message(error: &(dyn Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

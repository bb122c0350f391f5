//! One connection to a service, and one exchange over it.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Collected, Limited};
use hyper::Response;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::client::{CheckError, Identity};
use super::refusal::{Refusable, Refusal};
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
    pub(super) refusal: Refusal,
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
        let stream = connected.map_err(|error| CheckError::Tls { address, message: error.to_string() })?;
        Ok(Box::new(Refusable::new(stream, Arc::clone(&self.refusal))))
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

    /// What went wrong once there was a connection.
    pub(super) fn broken(&self, error: &(dyn Error + 'static)) -> CheckError {
        match self.refusal.get() {
            Some(refusal) => CheckError::Tls { address: self.address, message: refusal.clone() },
            None => wrong(self.address, error),
        }
    }
}

/// Reads all of a response.
pub(super) async fn whole(response: Response<Incoming>) -> Result<Whole, Box<dyn Error + Send + Sync>> {
    let (head, body) = response.into_parts();
    Ok((head, Limited::new(body, ANSWER_LIMIT).collect().await?))
}

/// An exchange that is not HTTP as it should be.
pub(super) fn wrong(address: SocketAddr, error: &(dyn Error + 'static)) -> CheckError {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    let message = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    CheckError::Http { address, message }
}

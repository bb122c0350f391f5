//! A TLS handshake that the probe begins, and the dialer carries: its ClientHello goes to the service from the sandbox's
//! place, and what comes back tells whose certificate the service has. It is never finished, so nothing is asked of the
//! service, and no certificate of a client is needed.

use std::fmt;
use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use sha2::{Digest as _, Sha256};

use super::{Authority, Certificate, Signed};

/// A handshake of which the first message is known.
pub(crate) struct Handshake {
    connection: ClientConnection,
    hello: Vec<u8>,
    seen: Arc<Seen>,
}

impl Handshake {
    /// One with a service that sandboxes call `name`. Without a name or randomness there is none, and then nothing is
    /// verified.
    pub(crate) fn begin(name: &str) -> Option<Self> {
        let provider = Arc::new(ring::default_provider());
        let seen = Arc::new(Seen { provider: Arc::clone(&provider), presented: Mutex::default() });
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .ok()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&seen) as _)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from(name.to_owned()).ok()?;
        let mut connection = ClientConnection::new(Arc::new(config), name).ok()?;
        let mut hello = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut hello).ok()?;
        }
        Some(Self { connection, hello, seen })
    }

    /// What the service is told.
    pub(crate) fn hello(&self) -> &[u8] {
        &self.hello
    }

    /// Holds what the service answered against the known authority.
    pub(crate) fn judge(mut self, flight: &[u8], authority: &Authority) -> Certificate {
        let mut rest = flight;
        let mut trouble = "the service did not present it".to_owned();
        while !rest.is_empty() {
            let read = self.connection.read_tls(&mut rest);
            match read
                .map_err(|error| error.to_string())
                .and_then(|_| self.connection.process_new_packets().map_err(|error| error.to_string()))
            {
                Ok(_) => {}
                Err(error) => {
                    trouble = error;
                    break;
                }
            }
        }
        let presented = self.seen.take();
        let Some(Presented { chain, possession }) = presented else {
            return Certificate {
                signed: Signed::Unknown,
                sha256: None,
                detail: crate::sanitize::sanitize(&trouble),
            };
        };
        let Some((own, others)) = chain.split_first() else {
            return Certificate { signed: Signed::Unknown, sha256: None, detail: trouble };
        };
        let sha256 = Sha256::digest(own).iter().map(|byte| format!("{byte:02x}")).collect();
        let (signed, detail) = match (authority.signed(own, others), possession) {
            // Anybody may present the certificate of another.
            ((Signed::KnownAuthority, _), false) => {
                (Signed::Unknown, "the service did not prove that it has the certificate's key".to_owned())
            }
            (judged, _) => judged,
        };
        Certificate { signed, sha256: Some(sha256), detail }
    }
}

/// What was presented in the handshake.
struct Presented {
    chain: Vec<CertificateDer<'static>>,
    /// The service signed the handshake with the certificate's key.
    possession: bool,
}

/// Takes whatever is presented, for [`Handshake::judge`] to look at: nothing is ever sent over this connection.
struct Seen {
    provider: Arc<CryptoProvider>,
    presented: Mutex<Option<Presented>>,
}

impl Seen {
    fn take(&self) -> Option<Presented> {
        self.presented.lock().ok()?.take()
    }

    fn possessed(
        &self,
        valid: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        if valid.is_ok()
            && let Ok(mut presented) = self.presented.lock()
            && let Some(presented) = presented.as_mut()
        {
            presented.possession = true;
        }
        valid
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Seen")
    }
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = [own].into_iter().chain(others).map(|one| one.clone().into_owned()).collect();
        if let Ok(mut presented) = self.presented.lock() {
            *presented = Some(Presented { chain, possession: false });
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.possessed(verify_tls12_signature(message, own, signed, algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.possessed(verify_tls13_signature(message, own, signed, algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;

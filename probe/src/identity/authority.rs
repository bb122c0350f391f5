//! The authority that must have signed a service's certificate.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

use super::Signed;
use crate::sanitize::sanitize;

/// No file of certificates is longer: that of every authority there is has 0.3 MB.
const MOST: u64 = 4 * 1024 * 1024;
/// A chain's certificates are valid at different times, and the time is moved once for each.
const MOST_MOVES: usize = 16;

/// The certificates of a known authority.
#[derive(Clone)]
pub struct Authority {
    certificates: Arc<[CertificateDer<'static>]>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Authority({} certificates)", self.certificates.len())
    }
}

/// Why a file is no authority's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// It cannot be read.
    #[error("failed to read {file}: {reason}")]
    Unreadable {
        /// Its path, safe to print.
        file: String,
        /// What the system said.
        reason: String,
    },
    /// No certificate is in it.
    #[error(
        "{file} has no certificate: give a PEM file with '-----BEGIN CERTIFICATE-----', such as the gateway's ca.crt"
    )]
    Empty {
        /// Its path, safe to print.
        file: String,
    },
    /// Something in it is no certificate.
    #[error("{file}: its {number}. certificate cannot be read: {reason}")]
    Malformed {
        /// Its path, safe to print.
        file: String,
        /// Which one, from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl Authority {
    /// Reads the PEM file of an authority: one certificate or several, any of which may have signed.
    ///
    /// # Errors
    /// When it cannot be read, or is not such a file.
    pub fn read(path: &Path) -> Result<Self, AuthorityError> {
        let file = sanitize(&path.to_string_lossy());
        let unreadable = |reason: String| AuthorityError::Unreadable { file: file.clone(), reason };
        let known = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
        if !known.is_file() {
            return Err(unreadable("it is no file".to_owned()));
        }
        if known.len() > MOST {
            return Err(unreadable("it is too long for certificates".to_owned()));
        }
        let text = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
        Self::parse(&text, &file)
    }

    fn parse(text: &[u8], file: &str) -> Result<Self, AuthorityError> {
        let mut certificates = Vec::new();
        for (index, found) in CertificateDer::pem_slice_iter(text).enumerate() {
            let malformed = |reason: String| AuthorityError::Malformed {
                file: file.to_owned(),
                number: index + 1,
                reason,
            };
            let certificate = found.map_err(|error| malformed(sanitize(&error.to_string())))?;
            anchor_from_trusted_cert(&certificate).map_err(|error| malformed(error.to_string()))?;
            certificates.push(certificate);
        }
        if certificates.is_empty() {
            return Err(AuthorityError::Empty { file: file.to_owned() });
        }
        Ok(Self { certificates: certificates.into() })
    }

    /// Whether it signed `certificate`, with the others that the service presents between them, and why that is said.
    /// Neither names nor times decide: a client looks at those, and they are no proof of another service.
    pub(super) fn signed(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
    ) -> (Signed, String) {
        if self.certificates.iter().any(|known| known == certificate) {
            return (Signed::KnownAuthority, "it is the known certificate itself".to_owned());
        }
        let unknown = |error: Error| (Signed::Unknown, format!("it cannot be judged: {error}"));
        let leaf = match EndEntityCert::try_from(certificate) {
            Ok(leaf) => leaf,
            Err(error) => return unknown(error),
        };
        let anchors: Vec<TrustAnchor<'_>> =
            self.certificates.iter().filter_map(|known| anchor_from_trusted_cert(known).ok()).collect();
        let another = || (Signed::AnotherAuthority, "the known authority did not sign it".to_owned());
        match path(&leaf, &anchors, others) {
            Ok(()) => (Signed::KnownAuthority, "the known authority signed it".to_owned()),
            Err(Error::UnknownIssuer | Error::InvalidSignatureForPublicKey) => another(),
            // One that calls itself an authority and names itself as its issuer, as `openssl req -x509` makes them.
            Err(Error::CaUsedAsEndEntity)
                if leaf.issuer() == leaf.subject()
                    && anchors.iter().all(|anchor| anchor.subject.as_ref() != leaf.subject()) =>
            {
                another()
            }
            Err(error) => unknown(error),
        }
    }
}

/// Looks for a path of signatures from `leaf` to one of `anchors`, at a time when all of it was valid.
fn path(
    leaf: &EndEntityCert<'_>,
    anchors: &[TrustAnchor<'_>],
    others: &[CertificateDer<'_>],
) -> Result<(), Error> {
    let mut time =
        UnixTime::since_unix_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    let others: Vec<CertificateDer<'_>> = others.to_vec();
    let mut moves = 0;
    loop {
        let found = leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            anchors,
            &others,
            time,
            KeyUsage::server_auth(),
            None,
            None,
        );
        time = match found.map(drop) {
            Err(Error::CertExpired { not_after, .. }) if moves < MOST_MOVES => not_after,
            Err(Error::CertNotValidYet { not_before, .. }) if moves < MOST_MOVES => not_before,
            ended => return ended,
        };
        moves += 1;
    }
}

#[cfg(test)]
mod tests;

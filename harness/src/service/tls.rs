//! The gateway's certificates: made when it starts, left where clients of the host find them.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Where in a host the gateway leaves `ca.crt`, `client/tls.crt` and `client/tls.key`, PEM each: the layout that
/// OpenShell's local TLS folder has.
pub const TLS_FOLDER: &str = "/etc/openshell/tls";

const CA_CERTIFICATE: &str = "ca.crt";
const CLIENT_CERTIFICATE: &str = "client/tls.crt";
const CLIENT_KEY: &str = "client/tls.key";

/// What the gateway offers in a handshake, best first.
const SERVER_PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Makes an authority, a certificate for the gateway and one for its clients, leaves what clients need in
/// [`TLS_FOLDER`], and takes handshakes with the rest. The authority's key is not kept.
pub(super) fn acceptor(
    addresses: impl Iterator<Item = IpAddr>,
    clients_identify: bool,
) -> Result<TlsAcceptor, String> {
    let made = Certificates::make(addresses).map_err(|error| format!("make certificates: {error}"))?;
    made.leave_in(Path::new(TLS_FOLDER)).map_err(|error| format!("write {TLS_FOLDER}: {error}"))?;
    made.acceptor(clients_identify).map_err(|error| format!("set TLS up: {error}"))
}

/// Shakes hands with a gateway whose files `folder` has; with the client's certificate when `identified`.
pub(super) fn connector(folder: &Path, identified: bool, protocol: &[u8]) -> io::Result<TlsConnector> {
    let unreadable = |file: &'static str| {
        move |error| io::Error::other(format!("{}: {error}", Path::new(TLS_FOLDER).join(file).display()))
    };
    let authority =
        CertificateDer::from_pem_file(folder.join(CA_CERTIFICATE)).map_err(unreadable(CA_CERTIFICATE))?;
    let mut roots = RootCertStore::empty();
    roots.add(authority).map_err(io::Error::other)?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    let mut config = if identified {
        let certificate = CertificateDer::from_pem_file(folder.join(CLIENT_CERTIFICATE))
            .map_err(unreadable(CLIENT_CERTIFICATE))?;
        let key = PrivateKeyDer::from_pem_file(folder.join(CLIENT_KEY)).map_err(unreadable(CLIENT_KEY))?;
        builder.with_client_auth_cert(vec![certificate], key).map_err(io::Error::other)?
    } else {
        builder.with_no_client_auth()
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Named, because another crate of the same program may bring a second one.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

struct Certificates {
    authority: CertifiedIssuer<'static, KeyPair>,
    server: (CertificateDer<'static>, KeyPair),
    client: (rcgen::Certificate, KeyPair),
}

impl Certificates {
    fn make(addresses: impl Iterator<Item = IpAddr>) -> Result<Self, rcgen::Error> {
        let mut params = named("OpenShell stand-in CA", Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

        let mut names = vec!["host.openshell.internal".to_owned(), "localhost".to_owned()];
        let mut addresses: Vec<_> = addresses.chain([Ipv4Addr::LOCALHOST.into()]).collect();
        addresses.sort();
        addresses.dedup();
        names.extend(addresses.iter().map(IpAddr::to_string));
        let issue = |name, names, usage| {
            let mut params = named(name, names)?;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate()?;
            Ok::<_, rcgen::Error>((params.signed_by(&key, &authority)?, key))
        };
        let (server, key) = issue("openshell-gateway", names, ExtendedKeyUsagePurpose::ServerAuth)?;
        let client = issue("openshell-client", Vec::new(), ExtendedKeyUsagePurpose::ClientAuth)?;
        Ok(Self { server: (server.into(), key), client, authority })
    }

    fn leave_in(&self, folder: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o755).create(folder.join("client"))?;
        let write = |file: &str, mode: u32, content: String| {
            let path = folder.join(file);
            // The mode of a file that exists would stay.
            let _ = std::fs::remove_file(&path);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
            file.write_all(content.as_bytes())
        };
        write(CA_CERTIFICATE, 0o644, self.authority.pem())?;
        write(CLIENT_CERTIFICATE, 0o644, self.client.0.pem())?;
        write(CLIENT_KEY, 0o600, self.client.1.serialize_pem())
    }

    fn acceptor(self, clients_identify: bool) -> Result<TlsAcceptor, Box<dyn std::error::Error>> {
        let builder =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = if clients_identify {
            let mut roots = RootCertStore::empty();
            roots.add(self.authority.der().clone())?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
            builder.with_client_cert_verifier(verifier.build()?)
        } else {
            builder.with_no_client_auth()
        };
        let (certificate, key) = self.server;
        let mut config = builder.with_single_cert(vec![certificate], key.into())?;
        config.alpn_protocols = SERVER_PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn named(name: &str, alternatives: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(alternatives)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::pki_types::ServerName;

    use super::*;

    async fn shake_hands(name: &'static str) -> io::Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let made = Certificates::make([IpAddr::from([172, 18, 0, 1])].into_iter()).unwrap();
        made.leave_in(folder.path()).unwrap();
        let acceptor = made.acceptor(true).unwrap();
        let connector = connector(folder.path(), true, b"h2").unwrap();
        let (client, server) = tokio::io::duplex(16 * 1024);
        let accepted = tokio::spawn(async move { acceptor.accept(server).await.map(drop) });
        // Held until the server has sent what it sends after its handshake.
        let _stream = connector.connect(ServerName::try_from(name).unwrap(), client).await?;
        accepted.await.unwrap()
    }

    #[tokio::test]
    async fn the_gateway_has_every_name_that_clients_call_it_by() {
        for name in ["host.openshell.internal", "localhost", "127.0.0.1", "172.18.0.1"] {
            shake_hands(name).await.unwrap();
        }
        let error = shake_hands("172.19.0.1").await.unwrap_err();
        assert!(error.to_string().contains("certificate not valid for name"), "{error}");
    }
}

//! Handshakes with a real server, whose answer is carried as the dialer carries it.

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion};

use super::*;

fn authority(name: &str) -> (CertifiedIssuer<'static, KeyPair>, Authority) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.crt");
    std::fs::write(&file, issuer.pem()).unwrap();
    let known = Authority::read(&file).unwrap();
    (issuer, known)
}

/// What a server that wants a client's certificate answers to `hello`.
fn flight(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    version: &'static SupportedProtocolVersion,
    hello: &[u8],
) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["host.openshell.internal".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(issuer.der().clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(vec![certificate.into()], key.into())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut server = ServerConnection::new(Arc::new(config)).unwrap();
    server.read_tls(&mut &hello[..]).unwrap();
    server.process_new_packets().unwrap();
    let mut flight = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut flight).unwrap();
    }
    flight
}

#[test]
fn a_certificate_is_judged_in_either_version_without_one_of_the_clients() {
    let ((ours, known), (theirs, _)) = (authority("ours"), authority("theirs"));
    for version in [&TLS12, &TLS13] {
        for (issuer, expected) in [(&ours, Signed::KnownAuthority), (&theirs, Signed::AnotherAuthority)] {
            let handshake = Handshake::begin("host.openshell.internal").unwrap();
            let answer = flight(issuer, version, handshake.hello());
            let certificate = handshake.judge(&answer, &known);
            assert_eq!(certificate.signed, expected, "{version:?} {}", certificate.detail);
            assert_eq!(certificate.sha256.map(|digest| digest.len()), Some(64));
        }
    }
}

/// Who recorded a handshake of the service has its certificate, and not its key.
#[test]
fn an_answer_to_somebody_else_vouches_for_nobody() {
    let (ours, known) = authority("ours");
    for version in [&TLS12, &TLS13] {
        let recorded = Handshake::begin("host.openshell.internal").unwrap();
        let answer = flight(&ours, version, recorded.hello());
        let handshake = Handshake::begin("host.openshell.internal").unwrap();
        let certificate = handshake.judge(&answer, &known);
        assert_eq!(certificate.signed, Signed::Unknown, "{version:?} {}", certificate.detail);
    }
}

#[test]
fn what_is_cut_short_refused_or_rubbish_says_nothing() {
    let (ours, known) = authority("ours");
    for version in [&TLS12, &TLS13] {
        let whole = |handshake: &Handshake| flight(&ours, version, handshake.hello());
        for length in [0, 1, 5, 100, 300] {
            let handshake = Handshake::begin("host.openshell.internal").unwrap();
            let answer = whole(&handshake);
            let certificate = handshake.judge(&answer[..length], &known);
            assert_eq!((certificate.signed, certificate.sha256), (Signed::Unknown, None), "{length}");
        }
    }
    let alert: &[u8] = b"\x15\x03\x03\0\x02\x02\x28";
    for answer in [alert, b"HTTP/1.1 400 Bad Request\r\n\r\n", &[0xff; 4096]] {
        let certificate = Handshake::begin("172.18.0.1").unwrap().judge(answer, &known);
        assert_eq!(certificate.signed, Signed::Unknown);
        assert!(!certificate.detail.is_empty());
    }
}

#[test]
fn a_name_that_no_certificate_can_have_is_not_asked_for() {
    assert!(Handshake::begin("").is_none());
    assert!(Handshake::begin("a b").is_none());
    assert!(!Handshake::begin("172.18.0.1").unwrap().hello().is_empty());
}

//! Chains of certificates as they come.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, date_time_ymd,
};

use super::*;

type Ca = CertifiedIssuer<'static, KeyPair>;

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["host.openshell.internal".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn ca(name: &str) -> Ca {
    CertifiedIssuer::self_signed(ca_params(name), KeyPair::generate().unwrap()).unwrap()
}

fn leaf(params: CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Certificate {
    params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap()
}

fn known(pem: &[String]) -> Authority {
    Authority::parse(pem.concat().as_bytes(), "ca.crt").unwrap()
}

fn signed(authority: &Authority, chain: &[CertificateDer<'_>]) -> Signed {
    authority.signed(&chain[0], &chain[1..]).0
}

#[test]
fn only_who_signed_it_decides() {
    let (ours, theirs) = (ca("ours"), ca("theirs"));
    let certificate = leaf(named("gateway"), &ours);
    let chain = [certificate.der().clone()];
    assert_eq!(signed(&known(&[ours.pem()]), &chain), Signed::KnownAuthority);
    assert_eq!(signed(&known(&[theirs.pem()]), &chain), Signed::AnotherAuthority);
    assert_eq!(signed(&known(&[theirs.pem(), ours.pem()]), &chain), Signed::KnownAuthority);
    // Of the same name and with another key, as one that was made anew.
    assert_eq!(signed(&known(&[ca("ours").pem()]), &chain), Signed::AnotherAuthority);
}

#[test]
fn an_expired_certificate_is_still_the_authoritys_and_another_ones_still_anothers() {
    let (ours, theirs) = (ca("ours"), ca("theirs"));
    for (from, to) in [((2001, 1, 1), (2002, 1, 1)), ((2120, 1, 1), (2121, 1, 1))] {
        let mut params = named("gateway");
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(to.0, to.1, to.2);
        let certificate = leaf(params, &ours);
        let chain = [certificate.der().clone()];
        assert_eq!(signed(&known(&[ours.pem()]), &chain), Signed::KnownAuthority);
        assert_eq!(signed(&known(&[theirs.pem()]), &chain), Signed::AnotherAuthority);
    }
}

#[test]
fn a_chain_leads_over_what_is_presented_and_over_authorities_only() {
    let root = ca("root");
    let between =
        CertifiedIssuer::signed_by(ca_params("between"), KeyPair::generate().unwrap(), &root).unwrap();
    let certificate = leaf(named("gateway"), &between);
    let chain = [certificate.der().clone(), between.der().clone()];
    assert_eq!(signed(&known(&[root.pem()]), &chain), Signed::KnownAuthority);
    assert_eq!(signed(&known(&[between.pem()]), &chain[..1]), Signed::KnownAuthority);
    assert_eq!(signed(&known(&[ca("other").pem()]), &chain), Signed::AnotherAuthority);
    // Who has a certificate of the authority is none: a sandbox has one too.
    let client = CertifiedIssuer::signed_by(named("client"), KeyPair::generate().unwrap(), &root).unwrap();
    let forged = leaf(named("gateway"), &client);
    let chain = [forged.der().clone(), client.der().clone()];
    assert_ne!(signed(&known(&[root.pem()]), &chain), Signed::KnownAuthority);
}

#[test]
fn a_clients_certificate_of_the_known_authority_vouches_for_nobody_and_proves_nothing() {
    let ours = ca("ours");
    let mut params = named("client");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = leaf(params, &ours);
    assert_eq!(signed(&known(&[ours.pem()]), &[certificate.der().clone()]), Signed::Unknown);
}

#[test]
fn a_self_signed_certificate_is_known_by_itself() {
    for params in [named("gateway"), ca_params("gateway")] {
        let own = CertifiedIssuer::self_signed(params.clone(), KeyPair::generate().unwrap()).unwrap();
        let chain = [own.der().clone()];
        assert_eq!(signed(&known(&[own.pem()]), &chain), Signed::KnownAuthority);
        assert_eq!(signed(&known(&[ca("ours").pem()]), &chain), Signed::AnotherAuthority);
    }
}

#[test]
fn an_unknown_algorithm_proves_nothing() {
    let ours = ca("ours");
    let mut der = leaf(named("gateway"), &ours).der().to_vec();
    // ecdsa-with-SHA256, which becomes a number that nobody has.
    let oid = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    let places: Vec<usize> = (0..der.len() - oid.len()).filter(|at| der[*at..].starts_with(&oid)).collect();
    assert_eq!(places.len(), 2);
    for at in places {
        der[at + oid.len() - 1] = 0x7f;
    }
    assert_eq!(signed(&known(&[ours.pem()]), &[der.into()]), Signed::Unknown);
    assert_eq!(signed(&known(&[ours.pem()]), &[b"rubbish".to_vec().into()]), Signed::Unknown);
}

#[test]
fn a_file_that_is_no_authoritys_is_an_error_that_names_it() {
    let parse = |text: &str| Authority::parse(text.as_bytes(), "ca.crt").unwrap_err().to_string();
    for text in ["", "no certificate\n", "\0\u{1}\u{2}"] {
        assert!(parse(text).starts_with("ca.crt has no certificate"), "{text:?}");
    }
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(parse(broken).starts_with("ca.crt: its 1. certificate cannot be read"), "{}", parse(broken));
    let cut = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
    assert!(parse(cut).starts_with("ca.crt: its 1. certificate cannot be read"), "{}", parse(cut));
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("nothing"), folder.path().to_owned(), "/dev/zero".into()] {
        let error = Authority::read(&path).unwrap_err();
        assert!(matches!(error, AuthorityError::Unreadable { .. }), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

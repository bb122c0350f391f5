//! Whose a service is, and who signed its certificate.

use super::*;
use crate::identity::Identity;
use crate::verdict::identity;

/// The owner is user 998; the sockets and the connection are those of these users.
fn owned(sockets: &[u32], held_by: Option<u32>) -> PortEvidence {
    let listeners: Vec<Listener> = (1..)
        .zip(sockets)
        .map(|(inode, uid)| Listener { uid: *uid, ..listener("172.18.0.1", inode) })
        .collect();
    let identity = IdentityEvidence {
        owner: Some(Owner { uid: 998, name: None }),
        held_by,
        hidden_uid: Some(65534),
        ..IdentityEvidence::default()
    };
    PortEvidence { identity, ..port(dial(Outcome::Connected), &listeners) }
}

#[test]
fn another_users_socket_is_another_service_only_where_all_of_it_is_seen() {
    let other = Judgement::wrong(Cause::OtherOwner);
    let table: &[(&[u32], Option<u32>, Judgement, Identity)] = &[
        (&[998], Some(998), Judgement::ok(), Identity::Owner),
        (&[1000], Some(1000), other, Identity::Unverified),
        (&[1000, 1001], Some(1001), other, Identity::Unverified),
        // A manager of another user opened the socket, or one of several is the owner's.
        (&[0], Some(998), Judgement::ok(), Identity::Unverified),
        (&[1000, 998], Some(1000), Judgement::ok(), Identity::Unverified),
        (&[1000], None, Judgement::ok(), Identity::Unverified),
        (&[65534], Some(65534), Judgement::ok(), Identity::Unverified),
        (&[1000], Some(65534), Judgement::ok(), Identity::Unverified),
        (&[], Some(1000), Judgement::ok(), Identity::Unverified),
    ];
    for (sockets, held_by, expected, vouched) in table {
        let port = owned(sockets, *held_by);
        let decided = decide(&evidence(), &port);
        assert_eq!(decided, *expected, "{sockets:?} {held_by:?}");
        assert_eq!(identity(&evidence(), &port, decided), *vouched, "{sockets:?} {held_by:?}");
    }
    let stolen = owned(&[1000], Some(1000));
    let (confidence, because) = grounds(&evidence(), &stolen, other);
    assert_eq!((confidence, because.last()), (Confidence::Proven, Some(&Ground::HeldByAnother)));
    // Nothing is said where the sockets changed, are not all known, or are not this host's.
    let changed = PortEvidence { listeners_before: Some(Vec::new()), ..stolen.clone() };
    let unread = PortEvidence { listeners_after: None, ..stolen.clone() };
    let opened = PortEvidence { stand_in: true, ..stolen.clone() };
    for unclear in [changed, unread, opened] {
        assert_eq!(decide(&evidence(), &unclear), Judgement::ok());
    }
    let standpoint = Some(Standpoint::Elsewhere { reason: "x".to_owned() });
    assert_eq!(decide(&Evidence { standpoint, ..evidence() }, &stolen), Judgement::ok());
    let undeclared = IdentityEvidence { owner: None, ..stolen.identity.clone() };
    assert_eq!(decide(&evidence(), &PortEvidence { identity: undeclared, ..stolen }), Judgement::ok());
}

#[test]
fn a_certificate_counts_against_a_service_only_when_another_authority_signed_it() {
    let decided = |signed: Signed, sandbox: Dial| {
        let certificate = Some(Certificate { signed, sha256: None, detail: String::new() });
        let identity = IdentityEvidence { certificate, ..IdentityEvidence::default() };
        let port = PortEvidence { identity, ..port(sandbox, &[listener("172.18.0.1", 1)]) };
        let decided = decide(&evidence(), &port);
        let last = grounds(&evidence(), &port, decided).1.pop();
        (decided, identity_of(&port, decided), last.unwrap())
    };
    let identity_of_ok = |signed| decided(signed, dial(Outcome::Connected));
    assert_eq!(
        identity_of_ok(Signed::KnownAuthority),
        (Judgement::ok(), Identity::Certificate, Ground::CertificateOfTheKnownAuthority)
    );
    assert_eq!(
        identity_of_ok(Signed::Unknown),
        (Judgement::ok(), Identity::Unverified, Ground::AnsweredInItsProtocol)
    );
    assert_eq!(
        identity_of_ok(Signed::AnotherAuthority),
        (
            Judgement::wrong(Cause::OtherCertificate),
            Identity::Unverified,
            Ground::CertificateOfAnotherAuthority
        )
    );
    // What is not reached is not reached, whoever signed what.
    for signed in [Signed::KnownAuthority, Signed::AnotherAuthority] {
        assert_eq!(decided(signed, dial(Outcome::TimedOut)).0, failed(Cause::Dropped));
    }
}

fn identity_of(port: &PortEvidence, decided: Judgement) -> Identity {
    identity(&evidence(), port, decided)
}

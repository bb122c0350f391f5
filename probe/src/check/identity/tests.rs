use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use futures_util::FutureExt as _;

use super::*;
use crate::dial::{Answer, Greeted};

/// Longer than any test may take.
const FOREVER: Duration = Duration::from_secs(3600);

/// A service that has not accepted its client's connection, and both ends of it.
fn queued() -> (TcpListener, TcpStream, SocketAddrV4, SocketAddrV4) {
    let v4 = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => v4,
        SocketAddr::V6(_) => panic!("an IPv6 address"),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let local = v4(listener.local_addr().unwrap());
    let client = TcpStream::connect(local).unwrap();
    let peer = v4(client.local_addr().unwrap());
    (listener, client, local, peer)
}

#[tokio::test]
async fn an_owner_is_waited_for_until_the_service_accepts() {
    let (listener, _client, local, peer) = queued();
    let interrupt = Interrupt::never();
    let mut found = Box::pin(holder(local, peer, FOREVER, &interrupt));
    assert_eq!(found.as_mut().now_or_never(), None, "nobody has it yet");
    let _accepted = listener.accept().unwrap();
    assert_eq!(found.await, Some(nix::unistd::geteuid().as_raw()));
}

#[tokio::test]
async fn without_patience_there_is_one_look() {
    let (listener, _client, local, peer) = queued();
    let interrupt = Interrupt::never();
    assert_eq!(holder(local, peer, Duration::ZERO, &interrupt).await, None);
    let _accepted = listener.accept().unwrap();
    let found = holder(local, peer, Duration::ZERO, &interrupt).await;
    assert_eq!(found, Some(nix::unistd::geteuid().as_raw()));
}

#[tokio::test]
async fn nobody_waits_for_a_connection_that_the_service_has_ended() {
    let (listener, _client, local, peer) = queued();
    let interrupt = Interrupt::never();
    drop(listener.accept().unwrap());
    assert_eq!(holder(local, peer, FOREVER, &interrupt).await, None);
}

#[tokio::test]
async fn only_a_service_that_answers_and_must_have_an_owner_is_waited_for() {
    let (_listener, _client, local, _) = queued();
    let dials = crate::vantage::host::dial_all(*local.ip(), &[local.port()], FOREVER).await;
    let dial = |kind| {
        let greeted = Greeted {
            greeting: Greeting::Tls,
            acknowledged: true,
            answer: String::new(),
            kind,
            closed: false,
            errno: 0,
            elapsed_us: 0,
        };
        Dial { greetings: vec![greeted], ..dials[0].clone() }
    };
    let (answered, silent) = (dial(Some(Answer::Http2)), dial(None));
    assert_eq!(patience(&answered, &[answered.port]), ACCEPTED_WITHIN);
    assert_eq!(patience(&answered, &[]), Duration::ZERO, "nobody asks whose it is");
    assert_eq!(patience(&silent, &[silent.port]), Duration::ZERO, "it may never accept");
}

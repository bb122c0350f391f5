//! Dials and greetings on loopback.

use crate::mark::mark_all;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use crate::dial::Dial;
use crate::greeting::{Greeting, Kind, Protocol};
use crate::job::{self, Job};
use crate::sys::{self, QueuedError};
use crate::work::{Order, Port, dial_all, hosts_entries, quote, run};

#[test]
fn hosts_file_gives_every_address_of_an_alias() {
    let hosts = "127.0.0.1 localhost\n172.18.0.1\thost.docker.internal\n172.18.0.1 host.openshell.internal # ours\n\
                 # 10.0.0.1 host.openshell.internal\nfd00::1 other host.openshell.internal\n";
    let addresses = hosts_entries(hosts, "Host.OpenShell.Internal");
    assert_eq!(addresses, ["172.18.0.1".parse::<IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
    assert!(hosts_entries(hosts, "openshell.internal").is_empty());
}

#[test]
fn control_characters_and_quotes_are_escaped() {
    assert_eq!(quote("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
}

fn order(ports: &[(u16, Protocol)]) -> Order {
    let second = Duration::from_secs(1);
    Order {
        alias: "x".to_owned(),
        resolve: second,
        connect: second,
        total: 3 * second,
        ports: ports
            .iter()
            .map(|(number, protocol)| Port { number: *number, protocol: *protocol, hello: Vec::new() })
            .collect(),
    }
}

fn dial(port: u16, protocol: Protocol) -> Dial {
    dial_all(Ipv4Addr::LOCALHOST, &order(&[(port, protocol)]), Instant::now()).0.remove(0)
}

/// A service that answers each connection's first bytes with `answer`, and hangs up after that when it is empty.
fn service(answer: &'static [u8], connections: usize) -> u16 {
    use std::io::Read as _;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            stream.write_all(answer).unwrap();
            if !answer.is_empty() {
                kept.push(stream);
            }
        }
        std::thread::park_timeout(Duration::from_secs(10));
    });
    port
}

#[test]
fn a_listener_connects_and_a_closed_port_is_refused_in_one_call() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap().port();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = gone.local_addr().unwrap().port();
    drop(gone);
    let order = order(&[(open, Protocol::Tcp), (closed, Protocol::Tcp)]);
    let (dials, held) = dial_all(Ipv4Addr::LOCALHOST, &order, Instant::now());
    assert_eq!((dials[0].errno, dials[0].timed_out), (0, false));
    assert_eq!(dials[0].local.map(|local| *local.ip()), Some(Ipv4Addr::LOCALHOST));
    assert_eq!(dials[0].tcp.unwrap().state, sys::TCP_ESTABLISHED);
    assert!(dials[0].greetings[0].acknowledged, "the end of the connection");
    assert_eq!(held.len(), 1);
    assert_eq!(dials[0].held, held[0].local().map(|local| local.port()));
    assert_eq!(sys::errno_name(dials[1].errno), "ECONNREFUSED");
    assert!(dials[1].greetings.is_empty());
}

#[test]
fn a_gateway_is_known_by_either_of_its_protocols() {
    let tls = dial(service(b"\x15\x03\x03\0\x02\x02\x28", 1), Protocol::Grpc);
    assert_eq!(tls.greetings.iter().map(|it| it.kind).collect::<Vec<_>>(), [Some(Kind::Tls)]);
    assert!(tls.held.is_some(), "the same connection");
    let plain = dial(service(b"\0\0\0\x04\0\0\0\0\0", 1), Protocol::Grpc);
    assert_eq!(plain.greetings[0].kind, Some(Kind::Http2));
    let other = dial(service(b"HTTP/1.1 400 Bad Request\r\n\r\n", 2), Protocol::Grpc);
    let kinds: Vec<_> = other.greetings.iter().map(|it| (it.greeting, it.kind)).collect();
    assert_eq!(kinds, [(Greeting::Tls, Some(Kind::Http1)), (Greeting::Http2, Some(Kind::Http1))]);
}

#[test]
fn the_answer_to_the_callers_hello_is_handed_on_and_a_connection_is_still_held() {
    let with_hello = |answer: &'static [u8], hello: &[u8]| {
        let port = Port { number: service(answer, 3), protocol: Protocol::Grpc, hello: hello.to_vec() };
        let order = Order { ports: vec![port], ..order(&[]) };
        dial_all(Ipv4Addr::LOCALHOST, &order, Instant::now()).0.remove(0)
    };
    let alert = with_hello(b"\x15\x03\x03\0\x02\x02\x28", b"hello");
    assert_eq!(alert.flight.as_deref(), Some(&b"\x15\x03\x03\0\x02\x02\x28"[..]));
    assert!(alert.held.is_some() && alert.greetings.len() == 1);
    // Who speaks no TLS is not asked, nor is anybody without a hello.
    assert_eq!(with_hello(b"\0\0\0\x04\0\0\0\0\0", b"hello").flight, None);
    assert_eq!(with_hello(b"\x15\x03\x03\0\x02\x02\x28", b"").flight, None);
}

/// A server of HTTP/2 sends its settings, and then resets what brought it a ClientHello.
#[test]
fn a_connection_that_is_about_to_be_reset_is_not_the_one_that_is_held() {
    let plain = dial(service(b"\0\0\0\x04\0\0\0\0\0", 2), Protocol::Grpc);
    assert_eq!(plain.greetings.len(), 1);
    assert_ne!(plain.held, plain.local.map(|local| local.port()));
    assert!(plain.held.is_some());
}

#[test]
fn silence_and_hanging_up_are_told_apart() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = dial(listener.local_addr().unwrap().port(), Protocol::Http);
    let greeted = &silent.greetings[0];
    assert!(greeted.acknowledged && !greeted.closed && greeted.answer.is_empty());
    let gone = dial(service(b"", 2), Protocol::Http);
    assert!(gone.greetings[0].closed && gone.greetings[0].kind.is_none());
}

#[test]
fn what_has_not_come_when_the_time_is_over_has_not_come() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port());
    let connecting = Job::start(target, Protocol::Http, Vec::new(), Duration::from_secs(9)).finish().0;
    assert!(connecting.timed_out && connecting.greetings.is_empty());
    let mut jobs = [Job::start(target, Protocol::Http, Vec::new(), Duration::from_secs(9))];
    run(&mut jobs, Ipv4Addr::LOCALHOST, Duration::from_millis(100), false);
    let [greeting] = jobs;
    let greeting = greeting.finish().0;
    assert!(!greeting.timed_out && greeting.greetings[0].kind.is_none());
}

#[test]
fn a_lost_error_never_looks_connected() {
    use job::verified;
    let tcp = |state| Some(sys::TcpState { state, retransmits: 0, unacked: 0, rtt_us: 0 });
    let unreachable = QueuedError { errno: 113, origin: 2, kind: 3, code: 1, offender: None };
    assert_eq!(verified(0, tcp(1), &[]), 0, "ESTABLISHED");
    assert_eq!(verified(0, tcp(8), &[]), 0, "CLOSE_WAIT: the service hung up at once");
    assert_eq!(verified(0, tcp(sys::TCP_CLOSE), &[unreachable]), 113);
    assert_eq!(verified(0, tcp(sys::TCP_CLOSE), &[]), sys::ENOTCONN);
    assert_eq!(verified(0, None, &[]), sys::ENOTCONN);
    assert_eq!(verified(111, tcp(sys::TCP_CLOSE), &[unreachable]), 111);
}

/// On loopback a closed port refuses while the SYN is being sent.
#[test]
fn a_marked_syn_says_how_much_it_carried() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = SocketAddrV4::new(Ipv4Addr::LOCALHOST, gone.local_addr().unwrap().port());
    drop(gone);
    let line =
        |port: u16| format!("{{\"fact\":\"marked\",\"port\":{port},\"packets\":3,\"payload\":3633}}\n");
    assert_eq!(mark_all(&[target, target], || true), line(target.port()).repeat(2));
}

#[test]
fn an_order_needs_a_port() {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let order = Order::parse(&words("alias 100 200 300 8080:grpc 11435 8443:grpc:16ff")).unwrap();
    let ports: Vec<_> =
        order.ports.iter().map(|port| (port.number, port.protocol, port.hello.as_slice())).collect();
    let hello = &[0x16, 0xff][..];
    let expected =
        [(8080, Protocol::Grpc, &[][..]), (11435, Protocol::Tcp, &[]), (8443, Protocol::Grpc, hello)];
    assert_eq!(ports, expected);
    for wrong in [
        "alias 100 200 300",
        "alias 100 200 300 99999",
        "alias 100 200 300 80:smtp",
        "alias 1 2 80",
        "alias 100 200 300 80:grpc:1",
        "alias 100 200 300 80:grpc:xy",
    ] {
        assert!(Order::parse(&words(wrong)).is_none(), "{wrong}");
    }
}

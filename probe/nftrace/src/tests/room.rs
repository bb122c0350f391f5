//! A host and a sandbox as namespaces: a bridge with addresses of both families, a port of it, and somebody who dials.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use futures_util::TryStreamExt;
use netns::{Namespace, Vantage};
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::{Handle, LinkBridge};

/// The host's addresses.
pub(super) const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 1));
pub(super) const V6: &str = "fd99::1";

/// The bridge's port, which is the sandbox's only way.
pub(super) const PORT: &str = "van1";

/// A dropped SYN is not repeated within it.
const PATIENCE: Duration = Duration::from_millis(800);

/// How often the neighbours are asked for, [`PATIENCE`] each, before there is something wrong with the room.
const ATTEMPTS: usize = 10;

pub(super) struct Room {
    pub(super) host: Namespace,
    vantage: Vantage,
    _listeners: Vec<TcpListener>,
}

impl Room {
    /// Listens on 8080 and 9090 of both families.
    pub(super) fn new() -> Self {
        let host = Namespace::create().unwrap();
        host.block_on(async || {
            let handle = connect();
            handle.link().add(LinkBridge::new("br0").up().build()).execute().await.unwrap();
            let bridge = index(&handle, "br0").await;
            handle.address().add(bridge, V4, 24).execute().await.unwrap();
            add_v6(&handle, bridge, V6).await;
        })
        .unwrap();
        let vantage = Vantage::on_bridge(
            &host,
            "br0",
            PORT,
            Ipv4Addr::new(10, 99, 0, 2),
            24,
            Ipv4Addr::new(10, 99, 0, 1),
        );
        let vantage = vantage.unwrap();
        vantage
            .namespace()
            .block_on(async || {
                let handle = connect();
                add_v6(&handle, index(&handle, &format!("{PORT}p")).await, "fd99::2").await;
            })
            .unwrap();
        let listen = |port| TcpListener::bind(("::", port)).unwrap();
        let listeners = host.run(|| [8080, 9090].map(listen)).unwrap();
        let room = Self { host, vantage, _listeners: listeners.into() };
        // Nobody listens at 1. Who is refused knows the neighbour, so that the next SYN is on its way at once.
        for address in [V4, V6.parse().unwrap()] {
            let refused = || room.outcome(address, 1) == Err(io::ErrorKind::ConnectionRefused);
            assert!((0..ATTEMPTS).any(|_| refused()), "{address} is no neighbour");
        }
        room
    }

    /// Dials as a sandbox.
    pub(super) fn dial(&self, address: IpAddr, port: u16) -> io::Result<TcpStream> {
        let dial = || TcpStream::connect_timeout(&SocketAddr::new(address, port), PATIENCE);
        self.vantage.namespace().run(dial).unwrap()
    }

    /// The same, and how it ended.
    pub(super) fn outcome(&self, address: IpAddr, port: u16) -> Result<(), io::ErrorKind> {
        self.dial(address, port).map(drop).map_err(|error| error.kind())
    }
}

fn connect() -> Handle {
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    tokio::spawn(connection);
    handle
}

async fn index(handle: &Handle, name: &str) -> u32 {
    let link = handle.link().get().match_name(name.to_owned()).execute().try_next().await.unwrap().unwrap();
    link.header.index
}

/// Without the second of waiting whether somebody else has it.
async fn add_v6(handle: &Handle, link: u32, address: &str) {
    let mut request = handle.address().add(link, address.parse().unwrap(), 64);
    request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
    request.execute().await.unwrap();
}

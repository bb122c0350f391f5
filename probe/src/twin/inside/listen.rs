//! Listeners on every port of the trials: they answer the first bytes with a byte, and an end with theirs.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::thread;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, listen, setsockopt,
    socket, sockopt,
};
use std::os::fd::AsRawFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::{Failure, Plan};

/// Listens on all addresses of both families until the twin ends.
pub(super) fn everywhere(plan: &Plan) -> Result<(), Failure> {
    let ports: BTreeSet<(u16, bool)> =
        plan.trials().map(|trial| (trial.to.port(), trial.to.is_ipv4())).collect();
    let mut listeners = Vec::new();
    for (port, v4) in ports {
        let listener = bound(port, v4).map_err(|error| Failure::kernel("listen in the twin", error))?;
        listeners.push(listener);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::kernel("start a runtime", error))?;
    thread::spawn(move || {
        runtime.block_on(async {
            let serving = listeners.into_iter().map(serve);
            futures_util::future::join_all(serving).await;
        });
    });
    Ok(())
}

fn bound(port: u16, v4: bool) -> io::Result<TcpListener> {
    let family = if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let descriptor = socket(family, SockType::Stream, flags, SockProtocol::Tcp)?;
    let any: SocketAddr = if v4 {
        (Ipv4Addr::UNSPECIFIED, port).into()
    } else {
        setsockopt(&descriptor, sockopt::Ipv6V6Only, &true)?;
        (Ipv6Addr::UNSPECIFIED, port).into()
    };
    bind(descriptor.as_raw_fd(), &SockaddrStorage::from(any))?;
    listen(&descriptor, Backlog::MAXCONN)?;
    Ok(descriptor.into())
}

async fn serve(listener: TcpListener) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut bytes = [0; 1024];
            let mut read = stream.read(&mut bytes).await;
            if read.as_ref().is_ok_and(|length| *length > 0) {
                let _ = stream.write_all(b"!").await;
            }
            // Held until the one who dialled lets go, so that a byte that is lost is not the end of the connection.
            while read.is_ok_and(|length| length > 0) {
                read = stream.read(&mut bytes).await;
            }
        });
    }
}

//! The engine's socket on the user's machine.

use std::io;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::PathBuf;

use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};

use crate::host::{Host, give_same_access};

/// Where it is; `/var/run` is a link to `/run`.
pub(super) const PATH: &str = "/run/docker.sock";

/// Listens on the user's machine in the usual place, for those who may use the engine in the virtual machine.
pub(super) fn listen(machine: &Host, user: &Host) -> io::Result<StdUnixListener> {
    let path = user.path(PATH);
    let listener = StdUnixListener::bind(&path)?;
    listener.set_nonblocking(true)?;
    give_same_access(&machine.path(PATH), &path)?;
    Ok(listener)
}

/// Carries every connection to the engine. Where that refuses, the caller's connection ends without an answer.
pub(super) async fn relay(listener: StdUnixListener, engine: PathBuf) {
    let Ok(listener) = UnixListener::from_std(listener) else { return };
    loop {
        let Ok((mut caller, _)) = listener.accept().await else { return };
        let engine = engine.clone();
        tokio::spawn(async move {
            if let Ok(mut engine) = UnixStream::connect(engine).await {
                let _ = copy_bidirectional(&mut caller, &mut engine).await;
            }
        });
    }
}

//! `GET /_ping`, spoken by hand: the first word with an engine tells what it is and which API version it speaks, and
//! its failures are the ones that users meet (no socket, no permission, no answer).

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::error::EngineTrouble;

/// How long an engine may take for its first answer. OpenShell gives a socket 1 s; a machine that is busy pulling an
/// image needs more, a wedged daemon never answers.
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// What a ping says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pong {
    /// The newest API version that the engine speaks, major and minor.
    pub(super) api: (usize, usize),
    /// Podman answers the same call with a header of its own.
    pub(super) podman: bool,
}

/// Where an engine listens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Address<'a> {
    Unix(&'a Path),
    Tcp(&'a str),
}

/// Asks the engine at `address`, for no longer than `budget`.
pub(super) async fn ping(address: Address<'_>, budget: Duration) -> Result<Pong, EngineTrouble> {
    let mut connected = false;
    let talk = async {
        let answer = match address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await?;
                connected = true;
                exchange(stream).await?
            }
            Address::Tcp(authority) => {
                let stream = TcpStream::connect(authority).await?;
                connected = true;
                exchange(stream).await?
            }
        };
        Ok::<_, io::Error>(answer)
    };
    match tokio::time::timeout(budget, talk).await {
        Ok(Ok(answer)) => parse(&answer),
        Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(EngineTrouble::PermissionDenied)
        }
        Ok(Err(error)) => Err(EngineTrouble::Unreachable { detail: error.to_string() }),
        Err(_) if connected => Err(EngineTrouble::Silent { after: budget }),
        Err(_) => Err(EngineTrouble::Unreachable { detail: format!("no connection within {budget:?}") }),
    }
}

/// One request, and the head of the answer.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<Vec<u8>> {
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    let mut chunk = [0u8; 1024];
    // Real heads are a few hundred bytes; the bound keeps a stranger from filling the memory.
    while answer.len() < 16 * 1024 && !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut chunk).await? {
            0 => break,
            length => answer.extend_from_slice(&chunk[..length]),
        }
    }
    Ok(answer)
}

fn parse(answer: &[u8]) -> Result<Pong, EngineTrouble> {
    let text = String::from_utf8_lossy(answer);
    let mut lines = text.lines();
    let status = lines.next().unwrap_or_default();
    let mut words = status.split_whitespace();
    let http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    let code: Option<u16> = words.next().and_then(|word| word.parse().ok());
    let (true, Some(code)) = (http, code) else {
        return Err(EngineTrouble::Garbled { detail: "it does not speak HTTP".to_owned() });
    };
    if code != 200 {
        return Err(EngineTrouble::refused(code, status));
    }
    let headers: Vec<(String, &str)> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .collect();
    let header = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
    let api = header("api-version").and_then(|version| version.split_once('.'));
    let api = api.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    let Some(api) = api else {
        return Err(EngineTrouble::Garbled { detail: "it is no Docker engine (no Api-Version)".to_owned() });
    };
    Ok(Pong { api, podman: header("libpod-api-version").is_some() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_docker_ping_tells_its_api_version() {
        let answer = b"HTTP/1.1 200 OK\r\nApi-Version: 1.45\r\nOstype: linux\r\n\r\nOK";
        assert_eq!(parse(answer), Ok(Pong { api: (1, 45), podman: false }));
    }

    #[test]
    fn podman_is_recognised() {
        let answer = b"HTTP/1.1 200 OK\r\napi-version: 1.41\r\nLibpod-Api-Version: 5.4.2\r\n\r\nOK";
        assert_eq!(parse(answer), Ok(Pong { api: (1, 41), podman: true }));
    }

    #[test]
    fn what_is_no_engine_is_garbled() {
        for answer in [&b""[..], b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 200 OK\r\nServer: nginx\r\n\r\n"] {
            assert!(matches!(parse(answer), Err(EngineTrouble::Garbled { .. })), "{answer:?}");
        }
        assert!(matches!(
            parse(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"),
            Err(EngineTrouble::Refused { status: 502, .. })
        ));
    }
}

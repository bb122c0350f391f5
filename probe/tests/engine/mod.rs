//! A Docker engine that answers what a test tells it to, over a Unix socket.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// The program under test: where nextest says that it is, also when it was unpacked from an archive; else where cargo put
/// it.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("NEXTEST_BIN_EXE_openshell-probe")
        .map_or_else(|| env!("CARGO_BIN_EXE_openshell-probe").into(), PathBuf::from)
}

/// A request, as far as these tests look.
pub(crate) struct Request {
    /// Without the API version and the query.
    pub(crate) path: String,
}

/// What the engine does with a request.
pub(crate) enum Reply {
    /// An answer with a status and a JSON body.
    Status(u16, Value),
    /// An answer with headers of its own.
    Raw(String),
    /// Nothing, and the connection stays.
    Silence,
}

impl Reply {
    /// Docker's answer to a ping.
    pub(crate) fn ping() -> Self {
        Self::Raw("HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK".to_owned())
    }

    /// Podman's answer to a ping.
    pub(crate) fn podman_ping() -> Self {
        let head = "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nLibpod-Api-Version: 5.0.0\r\nContent-Length: 2\r\n\r\nOK";
        Self::Raw(head.to_owned())
    }
}

/// The engine. Its threads end with the test's process.
pub(crate) struct FakeEngine {
    socket: PathBuf,
    requests: Arc<Mutex<Vec<String>>>,
    _folder: Option<tempfile::TempDir>,
}

impl FakeEngine {
    /// An engine on a socket of its own.
    pub(crate) fn start(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = Self::at(&folder.path().join("docker.sock"), reply);
        Self { _folder: Some(folder), ..engine }
    }

    /// An engine on the socket `path`.
    pub(crate) fn at(path: &Path, reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, reply) = (Arc::clone(&requests), Arc::new(reply));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, reply) = (Arc::clone(&seen), Arc::clone(&reply));
                std::thread::spawn(move || serve(stream, &seen, &*reply));
            }
        });
        Self { socket: path.to_owned(), requests, _folder: None }
    }

    /// Its endpoint.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// `METHOD path` of every request so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(stream: UnixStream, seen: &Mutex<Vec<String>>, reply: &dyn Fn(&Request) -> Reply) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap_or(0) > 2 {
            line.clear();
        }
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let path = path.split('?').next().unwrap();
        let path = match path.strip_prefix("/v1.") {
            Some(rest) => &rest[rest.find('/').unwrap()..],
            None => path,
        };
        seen.lock().unwrap().push(format!("{method} {path}"));
        match reply(&Request { path: path.to_owned() }) {
            Reply::Status(status, body) => {
                let body = body.to_string();
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                if writer.write_all(head.as_bytes()).is_err() {
                    return;
                }
            }
            Reply::Raw(answer) => {
                if writer.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
            Reply::Silence => {
                // Until the client gives up.
                let _ = std::io::copy(&mut reader, &mut std::io::sink());
                return;
            }
        }
    }
}

/// A healthy Linux engine that has no networks, images or containers.
pub(crate) fn without_networks(request: &Request) -> Reply {
    match request.path.as_str() {
        "/_ping" => Reply::ping(),
        "/info" => Reply::Status(
            200,
            json!({
                "ServerVersion": "26.1.5",
                "OperatingSystem": "Ubuntu 22.04.4 LTS",
                "Name": "brev-host",
                "Architecture": std::env::consts::ARCH,
                "MemoryLimit": true,
                "PidsLimit": true,
            }),
        ),
        "/containers/json" => Reply::Status(200, json!([])),
        _ => Reply::Status(404, json!({ "message": "no such thing" })),
    }
}

/// The same with the network `openshell-docker`.
pub(crate) fn with_network(driver: &str, ipam: Value) -> impl Fn(&Request) -> Reply + Send + Sync + 'static {
    let network = json!({
        "Name": "openshell-docker",
        "Id": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "Driver": driver,
        "IPAM": { "Driver": "default", "Config": ipam },
    });
    move |request| match request.path.as_str() {
        "/networks/openshell-docker" => Reply::Status(200, network.clone()),
        _ => without_networks(request),
    }
}

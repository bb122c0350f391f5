//! What a check may ask of the engine: the requests on the wire, as a list.

use serde_json::Value;

/// The requests of `check`, `preflight` and `explain`, `*` for one part of the path, and what each is for. All else is a
/// change.
pub const ALLOWED: [(&str, &str, &str); 12] = [
    ("GET", "/_ping", "which engine answers"),
    ("HEAD", "/_ping", "the same"),
    ("GET", "/info", "what it is"),
    ("GET", "/networks/*", "the sandboxes' network"),
    ("GET", "/images/*/json", "whether it has the dialer's image"),
    ("GET", "/containers/json", "what earlier checks left, and who publishes a port"),
    ("POST", "/images/load", "the dialer's image, carried in the program"),
    ("POST", "/containers/create", "the dialer's container, which removes itself"),
    ("POST", "/containers/*/attach", "its output"),
    ("POST", "/containers/*/start", "its start"),
    ("POST", "/containers/*/wait", "its end"),
    ("DELETE", "/containers/*", "its removal"),
];

/// What the dialer's container is made of: no file of the host, no privilege, no port.
const CONTAINER: [&str; 9] = [
    "Image",
    "Cmd",
    "AttachStdin",
    "OpenStdin",
    "StdinOnce",
    "AttachStdout",
    "AttachStderr",
    "Labels",
    "HostConfig",
];
/// See [`CONTAINER`].
const HOST_CONFIG: [&str; 10] = [
    "NetworkMode",
    "ExtraHosts",
    "CapDrop",
    "SecurityOpt",
    "ReadonlyRootfs",
    "AutoRemove",
    "IpcMode",
    "Memory",
    "PidsLimit",
    "LogConfig",
];
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"];
/// More than the body of any request but an image, which is not looked at.
const LONGEST_BODY: usize = 256 * 1024;

/// A request, with the body where it has one of a known length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `POST`
    pub method: String,
    /// Without the version in front and without the question behind.
    pub path: String,
    /// What was sent with it.
    pub body: Vec<u8>,
}

/// One connection to the engine.
#[derive(Debug, Default)]
pub struct Conversation {
    unfinished: Option<(Request, usize)>,
}

impl Conversation {
    /// Takes what is sent, and gives the request that is whole by that.
    pub fn take(&mut self, sent: &[u8]) -> Option<Request> {
        let (mut request, length) = match self.unfinished.take() {
            Some((mut request, length)) => {
                request.body.extend_from_slice(sent);
                (request, length)
            }
            None => head(sent)?,
        };
        if request.body.len() < length {
            self.unfinished = Some((request, length));
            return None;
        }
        request.body.truncate(length);
        Some(request)
    }
}

/// What begins with a request, and how long its body will be.
fn head(sent: &[u8]) -> Option<(Request, usize)> {
    let end = sent.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(sent.get(..end)?).ok()?;
    let mut lines = head.split("\r\n");
    let [method, target, "HTTP/1.1"] = lines.next()?.split(' ').collect::<Vec<_>>()[..] else { return None };
    if !METHODS.contains(&method) {
        return None;
    }
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length =
        length.and_then(|(_, value)| value.trim().parse().ok()).filter(|length| *length <= LONGEST_BODY);
    let path = target.split('?').next().unwrap_or(target);
    let path = without_version(path).to_owned();
    let body = sent.get(end + 4..)?.to_vec();
    Some((Request { method: method.to_owned(), path, body }, length.unwrap_or(0)))
}

/// `/v1.44/info` is `/info`.
fn without_version(path: &str) -> &str {
    match path[1.min(path.len())..].split_once('/') {
        Some((version, rest)) if version.starts_with('v') && version.contains('.') => {
            &path[path.len() - rest.len() - 1..]
        }
        _ => path,
    }
}

impl Request {
    /// What it changes beyond what a check may, if it does.
    #[must_use]
    pub fn change(&self) -> Option<String> {
        let allowed = |(method, pattern, _): &(&str, &str, &str)| {
            let (mut wanted, mut parts) = (pattern.split('/'), self.path.split('/'));
            let same = wanted.by_ref().zip(parts.by_ref()).all(|(one, other)| one == "*" || one == other);
            *method == self.method && same && pattern.split('/').count() == self.path.split('/').count()
        };
        if !ALLOWED.iter().any(allowed) {
            return Some(format!("asks the engine: {} {}", self.method, self.path));
        }
        if self.path != "/containers/create" {
            return None;
        }
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let Some(host_config) = body.get("HostConfig") else {
            return Some("creates a container of which nothing is to be seen".to_owned());
        };
        let more = [(&body, &CONTAINER[..]), (host_config, &HOST_CONFIG[..])].into_iter().find_map(
            |(object, known)| {
                let mut keys = object.as_object()?.keys();
                keys.find(|key| !known.contains(&key.as_str()))
            },
        );
        more.map(|key| format!("creates a container with {key}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        Conversation::default().take(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_requests_of_a_check_are_allowed_and_no_others() {
        for line in [
            "GET /_ping",
            "GET /v1.44/networks/openshell-docker?x=/y",
            "DELETE /v1.44/containers/abc?force=true",
        ] {
            assert_eq!(request(&format!("{line} HTTP/1.1\r\nhost: x\r\n\r\n")).change(), None, "{line}");
        }
        for line in [
            "POST /v1.44/containers/prune",
            "DELETE /v1.44/networks/openshell-docker",
            "POST /v1.44/containers/abc/exec",
            "DELETE /containers/a/b",
            "POST /networks/create",
        ] {
            let change = request(&format!("{line} HTTP/1.1\r\n\r\n")).change().unwrap();
            assert!(change.starts_with("asks the engine"), "{line}: {change}");
        }
    }

    #[test]
    fn a_container_has_nothing_of_the_hosts() {
        let create = |body: &str| {
            let head =
                format!("POST /v1.44/containers/create HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
            let mut conversation = Conversation::default();
            assert_eq!(conversation.take(head.as_bytes()), None);
            let (one, two) = body.split_at(body.len() / 2);
            assert_eq!(conversation.take(one.as_bytes()), None);
            conversation.take(two.as_bytes()).unwrap().change()
        };
        assert_eq!(create(r#"{"Image":"x","HostConfig":{"AutoRemove":true}}"#), None);
        for (body, said) in [
            (r#"{"Image":"x","HostConfig":{"Binds":["/:/x"]}}"#, "creates a container with Binds"),
            (r#"{"ExposedPorts":{},"HostConfig":{}}"#, "creates a container with ExposedPorts"),
            ("{}", "creates a container of which nothing is to be seen"),
        ] {
            assert_eq!(create(body).as_deref(), Some(said));
        }
    }
}

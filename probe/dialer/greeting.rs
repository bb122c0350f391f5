//! What is said to a service after the handshake, and what its answer is an answer of.
//!
//! A handshake is the kernel's: it completes for a service that hangs, and where a firewall drops all that follows. So a
//! few harmless bytes of the service's own protocol are sent. Whatever a service of that protocol answers will do: an
//! alert, a refusal, a "not found".

/// What a port is said to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// gRPC over TLS or without: OpenShell's gateway speaks either, by its configuration.
    Grpc,
    /// HTTP/1.1.
    Http,
    /// Unknown: bytes might do harm there, so only the end of the connection is sent, which the peer's kernel
    /// acknowledges like a byte.
    Tcp,
}

impl Protocol {
    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word {
            "grpc" => Some(Self::Grpc),
            "http" => Some(Self::Http),
            "tcp" => Some(Self::Tcp),
            _ => None,
        }
    }

    /// What to try, one connection for each, until an answer is of this protocol.
    pub(crate) fn greetings(self) -> &'static [Greeting] {
        match self {
            Self::Grpc => &[Greeting::Tls, Greeting::Http2],
            Self::Http => &[Greeting::Http1],
            Self::Tcp => &[Greeting::Fin],
        }
    }

    /// Whether nothing more is to be learned after this answer.
    pub(crate) fn is_met_by(self, kind: Kind) -> bool {
        match self {
            Self::Grpc => matches!(kind, Kind::Tls | Kind::Http2),
            Self::Http => kind == Kind::Http1,
            Self::Tcp => true,
        }
    }
}

/// The first bytes that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// A TLS ClientHello.
    Tls,
    /// The HTTP/2 preface and empty settings.
    Http2,
    /// An HTTP/1.1 request.
    Http1,
    /// Nothing but the end.
    Fin,
}

impl Greeting {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Http2 => "http2",
            Self::Http1 => "http1",
            Self::Fin => "fin",
        }
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Tls => client_hello(),
            // RFC 9113, section 3.4: the preface, then a SETTINGS frame, which may be empty.
            Self::Http2 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
            Self::Http1 => {
                b"GET / HTTP/1.1\r\nHost: host.openshell.internal\r\nUser-Agent: openshell-probe\r\nAccept: */*\r\n\r\n"
                    .to_vec()
            }
            Self::Fin => Vec::new(),
        }
    }
}

/// What an answer is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A TLS handshake or an alert (RFC 8446, section 5.1).
    Tls,
    /// An HTTP/2 SETTINGS or GOAWAY frame (RFC 9113, section 4.1).
    Http2,
    /// An HTTP/1 status line.
    Http1,
    /// Something else that is whole: a line, or more than any of the others needs.
    Other,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Http2 => "http2",
            Self::Http1 => "http1",
            Self::Other => "other",
        }
    }
}

/// A frame's header, and more than the `HTTP/1.1 200` of a status line needs.
const ENOUGH: usize = 16;

/// What `answer` is; `None` while more bytes may tell. `ended` is whether no more will come.
pub(crate) fn recognise(answer: &[u8], ended: bool) -> Option<Kind> {
    const HANDSHAKE: u8 = 22;
    const ALERT: u8 = 21;
    match answer {
        [] => return None,
        [HANDSHAKE | ALERT, 3, _, _, _, ..] => return Some(Kind::Tls),
        // The length of settings is a multiple of six; a GOAWAY has at least eight bytes. Both are of stream 0.
        [0, high, low, 4, _, 0, 0, 0, 0, ..] if u16::from_be_bytes([*high, *low]).is_multiple_of(6) => {
            return Some(Kind::Http2);
        }
        [0, high, low, 7, _, 0, 0, 0, 0, ..] if u16::from_be_bytes([*high, *low]) >= 8 => {
            return Some(Kind::Http2);
        }
        _ => {}
    }
    if let Some(version) = answer.strip_prefix(b"HTTP/1.")
        && let [b'0' | b'1', b' ', status @ ..] = version
        && status.len() >= 3
        && status[..3].iter().all(u8::is_ascii_digit)
    {
        return Some(Kind::Http1);
    }
    (ended || answer.contains(&b'\n') || answer.len() >= ENOUGH).then_some(Kind::Other)
}

/// A ClientHello for `host.openshell.internal` that offers TLS 1.3 and 1.2 and HTTP/2 (RFC 8446, section 4.1.2). It
/// stays without a sequel, so nothing in it is secret, and random and key share are constants.
fn client_hello() -> Vec<u8> {
    const NAME: &[u8] = b"host.openshell.internal";
    let mut extensions = Vec::new();
    let mut extension = |kind: u16, body: &[u8]| {
        extensions.extend_from_slice(&kind.to_be_bytes());
        extensions.extend_from_slice(&prefixed(body));
    };
    let host = [&[0u8][..], &prefixed(NAME)].concat();
    extension(0, &prefixed(&host)); // server_name
    extension(10, &prefixed(&[0, 29, 0, 23, 0, 24])); // supported_groups: x25519, secp256r1, secp384r1
    extension(11, &[1, 0]); // ec_point_formats: uncompressed
    // signature_algorithms: ECDSA, Ed25519, RSA-PSS and RSA with SHA-256 to SHA-512
    extension(13, &prefixed(&[4, 3, 5, 3, 6, 3, 8, 7, 8, 4, 8, 5, 8, 6, 4, 1, 5, 1, 6, 1]));
    extension(16, &prefixed(b"\x02h2")); // application_layer_protocol_negotiation
    extension(23, &[]); // extended_main_secret
    extension(43, &[4, 3, 4, 3, 3]); // supported_versions: 1.3, 1.2
    extension(45, &[1, 1]); // psk_key_exchange_modes
    let share = [&[0u8, 29][..], &prefixed(&[9; 32])].concat();
    extension(51, &prefixed(&share)); // key_share: the base point of x25519 (RFC 7748)

    let mut hello = vec![3, 3];
    hello.extend_from_slice(&[0x6f; 32]); // random
    hello.push(0); // no session
    // TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256, and for 1.2 ECDHE with ECDSA or RSA
    // and the same ciphers
    let suites =
        [0x13, 1, 0x13, 2, 0x13, 3, 0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0xc0, 0x30, 0xcc, 0xa9, 0xcc, 0xa8];
    hello.extend_from_slice(&prefixed(&suites));
    hello.extend_from_slice(&[1, 0]); // no compression
    hello.extend_from_slice(&prefixed(&extensions));

    let length = u32::try_from(hello.len()).unwrap_or(0).to_be_bytes();
    let message = [&[1u8][..], &length[1..], &hello].concat();
    [&[22u8, 3, 1][..], &prefixed(&message)].concat()
}

/// A vector with its length in two bytes, as TLS has them.
fn prefixed(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(0);
    [&length.to_be_bytes()[..], body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_known_by_their_first_bytes() {
        let table: &[(&[u8], bool, Option<Kind>)] = &[
            (b"", true, None),
            (b"\x16\x03\x03\0\x7a\x02", false, Some(Kind::Tls)),
            (b"\x15\x03\x03\0\x02\x02\x28", false, Some(Kind::Tls)),
            (b"\x15\x03\x03", false, None),
            (b"\0\0\x12\x04\0\0\0\0\0", false, Some(Kind::Http2)),
            (b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01", false, Some(Kind::Http2)),
            (b"\0\0\x05\x04\0\0\0\0\0", false, None),
            (b"\0\0\x05\x04\0\0\0\0\0", true, Some(Kind::Other)),
            (b"HTTP/1.1 404 Not Found\r\n", false, Some(Kind::Http1)),
            (b"HTTP/1.0 400", false, Some(Kind::Http1)),
            (b"HTTP/1.1 ", false, None),
            (b"SSH-2.0-OpenSSH_9.2\r\n", false, Some(Kind::Other)),
            (b"SSH-2", false, None),
            (b"SSH-2", true, Some(Kind::Other)),
        ];
        for (answer, ended, kind) in table {
            assert_eq!(recognise(answer, *ended), *kind, "{answer:?}");
        }
    }

    #[test]
    fn lengths_in_the_client_hello_add_up() {
        let hello = client_hello();
        let number = |at: usize| usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
        assert_eq!(number(3), hello.len() - 5, "record");
        assert_eq!(number(7), hello.len() - 9, "message");
        let suites = number(44);
        let extensions = 44 + 2 + suites + 2;
        assert_eq!(number(extensions), hello.len() - extensions - 2, "extensions");
    }
}

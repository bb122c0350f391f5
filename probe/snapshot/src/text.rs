//! Text in a snapshot: a type for each kind, so that no other text can come in.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Text that is not of the kind that its place asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no {kind}")]
pub struct BadText {
    /// What it should be.
    pub kind: &'static str,
    /// Its beginning, safe to print.
    pub found: String,
}

impl BadText {
    fn new(kind: &'static str, found: &str) -> Self {
        // `{:?}` escapes what a terminal would obey.
        Self { kind, found: found.chars().take(40).collect() }
    }
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $pattern:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[cfg_attr(test, schemars(extend("pattern" = $pattern)))]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text, if it is of this kind.
            ///
            /// # Errors
            /// When it is not.
            pub fn new(text: impl Into<String>) -> Result<Self, BadText> {
                let (text, check): (String, fn(&str) -> bool) = (text.into(), $check);
                if check(&text) { Ok(Self(text)) } else { Err(BadText::new($kind, &text)) }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadText;

            fn try_from(text: String) -> Result<Self, BadText> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text!(
    /// The name of a table, chain, set, network, zone: 1 to 127 letters, digits and `_ . -`, beginning with a letter, a digit or `_`.
    Name, "name", "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,126}$", |text| plain(text, 127, "_.-")
);
text!(
    /// The name of an interface: at most 15 letters, digits and `_ . - @ :`, beginning with a letter, a digit or `_`.
    Interface, "interface name", "^[A-Za-z0-9_][A-Za-z0-9_.@:-]{0,14}$", |text| plain(text, 15, "_.-@:")
);
text!(
    /// A fixed word of a program, such as `tcp_failed`: 1 to 40 small letters, digits and `_ -`.
    Word, "word", "^[a-z0-9][a-z0-9_-]{0,39}$",
    |text| plain(text, 40, "_-") && !text.bytes().any(|byte| byte.is_ascii_uppercase()) && !text.starts_with('_')
);
text!(
    /// A version: a digit, then at most 63 letters, digits and `. + ~ : _ -`.
    Version, "version", "^[0-9][A-Za-z0-9.+~:_-]{0,63}$",
    |text| plain(text, 64, ".+~:_-") && text.starts_with(|first: char| first.is_ascii_digit())
);
text!(
    /// Ports as UFW writes them: `any`, or numbers with `,` and `:`.
    Ports, "list of ports", "^(any|[0-9][0-9,:]{0,99})$",
    |text| text == "any"
        || (text.len() <= 100
            && text.starts_with(|first: char| first.is_ascii_digit())
            && text.bytes().all(|byte| byte.is_ascii_digit() || b",:".contains(&byte)))
);

impl Name {
    /// Stands for a name that is not told.
    pub(crate) fn numbered(number: usize) -> Self {
        Self(format!("renamed-{number}"))
    }
}

impl Interface {
    /// Stands for a name that is not told. A host has fewer interfaces than seven digits count.
    pub(crate) fn numbered(number: usize) -> Self {
        Self(format!("renamed-{}", number % 10_000_000))
    }
}

fn plain(text: &str, most: usize, also: &str) -> bool {
    let begins = text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_');
    begins && text.len() <= most && text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
}

/// A network, or one address: `172.18.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("pattern" = "^[0-9a-f.:]{2,45}/[0-9]{1,3}$")))]
#[serde(try_from = "String", into = "String")]
pub struct Net {
    address: IpAddr,
    length: u8,
}

impl Net {
    /// The network that has the address; `None` where it has not so many bits.
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        (u32::from(length) <= bits(address)).then_some(Self { address, length })
    }

    /// One address.
    #[must_use]
    pub fn one(address: IpAddr) -> Self {
        Self { address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// The network, or the one address, of a text as tools print it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('/') {
            None => text.parse().ok().map(Self::one),
            Some((address, length)) => Self::new(address.parse().ok()?, length.parse().ok()?),
        }
    }

    /// The address, as it was written.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits of it name the network.
    #[must_use]
    pub fn length(self) -> u8 {
        self.length
    }
}

fn bits(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl TryFrom<String> for Net {
    type Error = BadText;

    fn try_from(text: String) -> Result<Self, BadText> {
        Self::parse(&text).ok_or_else(|| BadText::new("network", &text))
    }
}

impl From<Net> for String {
    fn from(net: Net) -> Self {
        net.to_string()
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// A hardware address: `02:42:ac:12:00:01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("pattern" = "^([0-9a-f]{2}:){5}[0-9a-f]{2}$")))]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address of a text as tools print it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 6];
        let mut words = text.split(':');
        for byte in &mut bytes {
            let word = words.next().filter(|word| word.len() == 2)?;
            *byte = u8::from_str_radix(word, 16).ok()?;
        }
        words.next().is_none().then_some(Self(bytes))
    }
}

impl TryFrom<String> for Mac {
    type Error = BadText;

    fn try_from(text: String) -> Result<Self, BadText> {
        Self::parse(&text).ok_or_else(|| BadText::new("hardware address", &text))
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

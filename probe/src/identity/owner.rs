//! Whose a service must be.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::sanitize::sanitize;

/// A user of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Owner {
    /// The number.
    pub uid: u32,
    /// The name, when it was named so.
    pub name: Option<String>,
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(formatter, "{name} ({})", self.uid),
            None => write!(formatter, "{}", self.uid),
        }
    }
}

/// `PORT=USER` or `PORT=UID`, with the user found on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerSpec {
    /// The target's port.
    pub port: u16,
    /// Whose socket it must be.
    pub owner: Owner,
}

/// Why a `PORT=USER` is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OwnerError {
    /// Not of that form.
    #[error("expected PORT=USER or PORT=UID, as in 8080=openshell or 8080=1000")]
    Form,
    /// No such user.
    #[error("there is no user {name} in {USERS}: give the number, as in 8080=1000")]
    Unknown {
        /// The name, safe to print.
        name: String,
    },
}

/// The static program has no name service: users of a directory are given by their number.
const USERS: &str = "/etc/passwd";

impl FromStr for OwnerSpec {
    type Err = OwnerError;

    fn from_str(spec: &str) -> Result<Self, OwnerError> {
        Self::parse(spec, || std::fs::read_to_string(Path::new(USERS)).unwrap_or_default())
    }
}

impl OwnerSpec {
    fn parse(spec: &str, users: impl FnOnce() -> String) -> Result<Self, OwnerError> {
        let (port, user) = spec.split_once('=').ok_or(OwnerError::Form)?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let port: u16 = Some(port)
            .filter(|port| digits(port))
            .and_then(|port| port.parse().ok())
            .filter(|port| *port != 0)
            .ok_or(OwnerError::Form)?;
        if digits(user) {
            // The highest number means "none" to the kernel.
            let uid = user.parse().ok().filter(|uid| *uid != u32::MAX).ok_or(OwnerError::Form)?;
            return Ok(Self { port, owner: Owner { uid, name: None } });
        }
        if user.is_empty() {
            return Err(OwnerError::Form);
        }
        let uid = uid_of(&users(), user).ok_or_else(|| OwnerError::Unknown { name: sanitize(user) })?;
        Ok(Self { port, owner: Owner { uid, name: Some(user.to_owned()) } })
    }
}

/// The number of `user` in the text of `/etc/passwd`.
fn uid_of(users: &str, user: &str) -> Option<u32> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(user)).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// The number by which the kernel shows this process every user that its user namespace has no number for.
pub(crate) fn hidden_uid() -> Option<u32> {
    let map = std::fs::read_to_string("/proc/self/uid_map").ok()?;
    let overflow = std::fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?;
    overflow.trim().parse().ok().filter(|_| !is_whole(&map))
}

/// Whether a user namespace's map is that of the first one: everybody is who they are.
fn is_whole(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nopenshell:x:998:998::/:/bin/false\nbroken:x\n";

    fn parse(spec: &str) -> Result<OwnerSpec, OwnerError> {
        OwnerSpec::parse(spec, || PASSWD.to_owned())
    }

    #[test]
    fn an_owner_is_a_user_of_this_host_or_a_number() {
        let owner = |spec: &str| parse(spec).map(|spec| (spec.port, spec.owner.uid, spec.owner.to_string()));
        assert_eq!(owner("8080=openshell"), Ok((8080, 998, "openshell (998)".to_owned())));
        assert_eq!(owner("8080=1000"), Ok((8080, 1000, "1000".to_owned())));
    }

    #[test]
    fn what_is_no_owner_is_refused() {
        for spec in [
            "",
            "8080",
            "8080=",
            "=root",
            "0=root",
            "x=root",
            "65536=root",
            "8080=4294967295",
            "80=99999999999",
        ] {
            assert_eq!(parse(spec), Err(OwnerError::Form), "{spec:?}");
        }
        for name in ["nobody-here", "broken"] {
            let unknown = OwnerError::Unknown { name: name.to_owned() };
            assert_eq!(parse(&format!("8080={name}")), Err(unknown));
        }
    }

    #[test]
    fn users_are_hidden_in_a_user_namespace_only() {
        assert!(is_whole("         0          0 4294967295\n"));
        for map in ["0 1000 1", "0 100000 65536", "", "0 0 4294967294"] {
            assert!(!is_whole(map), "{map:?}");
        }
    }
}

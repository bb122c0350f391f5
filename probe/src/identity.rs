//! Which service it is: who holds its socket, and who signed its certificate.
//!
//! Both are looked at beside the dial, and only positive proof counts against a service. What cannot be seen says nothing.

mod authority;
mod handshake;
mod holders;
mod owner;

use serde::{Deserialize, Serialize};

pub use authority::{Authority, AuthorityError};
pub(crate) use handshake::Handshake;
pub(crate) use holders::holders;
pub(crate) use owner::hidden_uid;
pub use owner::{Owner, OwnerError, OwnerSpec};

/// What is known of a service's identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IdentityEvidence {
    /// Whose the service must be, as the user says.
    #[serde(default)]
    pub owner: Option<Owner>,
    /// The user that holds this host's end of the sandbox's connection; `None` where that is not to be seen.
    #[serde(default)]
    pub held_by: Option<u32>,
    /// The number that stands for every user that cannot be told from here; `None` where each has its own.
    #[serde(default)]
    pub hidden_uid: Option<u32>,
    /// The programs that hold the sockets that listen for the address, as far as they are to be seen.
    #[serde(default)]
    pub holders: Vec<Holder>,
    /// What the service's certificate says; `None` where nobody asked for it.
    #[serde(default)]
    pub certificate: Option<Certificate>,
}

/// Who holds a listening socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Holder {
    /// The socket's inode.
    pub inode: u32,
    /// The user it belongs to.
    pub uid: u32,
    /// A process that has it open; `None` where it may not be looked for.
    pub pid: Option<i32>,
    /// The name of that process's executable.
    pub program: Option<String>,
}

/// A service's certificate, held against the known authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Certificate {
    /// Who signed it.
    pub signed: Signed,
    /// SHA-256 of the certificate, in hexadecimal; `None` where none was seen.
    pub sha256: Option<String>,
    /// Why that is so, in words.
    pub detail: String,
}

/// Who signed a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Signed {
    /// The known authority, and the service has the certificate's key.
    KnownAuthority,
    /// Not the known authority.
    AnotherAuthority,
    /// That could not be found out.
    Unknown,
}

/// What vouches for the identity of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Identity {
    /// Nothing: whatever answers in the right protocol is taken for the service.
    #[default]
    Unverified,
    /// Its socket is held by the user that it must belong to.
    Owner,
    /// Its certificate is signed by the known authority.
    Certificate,
}

//! With whose rights hosts are made: those of the machine's root, or of an ordinary user in a user namespace.
//!
//! ```text
//!  an ordinary user ── Privilege::enter ──▶ the same process, root of a user namespace and nobody outside
//!                        │                     └─▶ hosts, made in that namespace: the machine's root is out of their reach
//!                        └─ newuidmap and newgidmap give it the user's ids of /etc/subuid and /etc/subgid
//! ```
//!
//! A process enters as a whole, because its threads later enter its hosts' network namespaces, which takes rights that
//! only the user namespace gives; and early, because the kernel lets no process enter that has more than one thread.

mod enclosure;
mod error;
mod ids;

use std::fs;
use std::str::FromStr;
use std::sync::OnceLock;

use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

pub use error::{Hindrance, PrivilegeError};

/// What went wrong when the environment asked this process to enter, before its `main`.
static FAILED_BEFORE_MAIN: OnceLock<String> = OnceLock::new();

netns::before_main!(enter_if_asked);

/// With whose rights hosts are made.
///
/// ```no_run
/// // At the beginning of `main`, before there is a thread or a runtime.
/// harness::Privilege::Auto.enter()?;
/// # Ok::<(), harness::PrivilegeError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Privilege {
    /// Root's when the process is the machine's root, an ordinary user's otherwise.
    #[default]
    Auto,
    /// The machine's root's. The root of a host is then the machine's, without what [`Host`](crate::Host) drops.
    Root,
    /// An ordinary user's. The root of a host is then that user outside, and has no right on the machine that the user
    /// has not; for the machine's root it is an id that owns nothing.
    User,
}

impl Privilege {
    /// The environment variable by which a program that links this library enters before its `main`: `auto`, `root` or
    /// `user`. It is for test programs, whose `main` is not theirs. Without it nothing happens.
    pub const VARIABLE: &'static str = "OPENSHELL_HARNESS_PRIVILEGE";

    /// Makes this process one that can make hosts with these rights. As an ordinary user it becomes the root of a user
    /// namespace of its own, for good; what it starts later is there too. A process that is there already stays.
    ///
    /// # Errors
    /// When it is to be root's and the process is not root, and when this machine lets the user make no user namespace
    /// or has no ids for it. Each error says what is missing and the way out. A process that has failed here should end:
    /// it may have lost its identity already.
    pub fn enter(self) -> Result<(), PrivilegeError> {
        match (self, Standing::now()) {
            (Self::Auto | Self::Root, Standing::MachinesRoot) => Ok(()),
            (Self::Auto | Self::User, Standing::Enclosed) => Ok(()),
            (Self::Root, _) => Err(PrivilegeError::NotRoot),
            (Self::Auto | Self::User, Standing::Ordinary) | (Self::User, Standing::MachinesRoot) => {
                enclosure::enter()
            }
        }
    }

    /// Whether this process is root of a user namespace that lacks ids, so that its hosts are without root: it has entered, or
    /// whoever started it has.
    #[must_use]
    pub fn has_entered() -> bool {
        Standing::now() == Standing::Enclosed
    }

    /// Whether this process is the machine's root.
    #[must_use]
    pub fn is_machines_root() -> bool {
        Standing::now() == Standing::MachinesRoot
    }

    /// The rights that a host gets which this process makes now.
    pub(crate) fn rights(self) -> Result<Rights, PrivilegeError> {
        match (self, Standing::now()) {
            (Self::Auto | Self::Root, Standing::MachinesRoot) => Ok(Rights::Root),
            (Self::Auto | Self::User, Standing::Enclosed) => Ok(Rights::User),
            (Self::Root, _) => Err(PrivilegeError::NotRoot),
            (Self::Auto | Self::User, _) => Err(match FAILED_BEFORE_MAIN.get() {
                Some(failure) => PrivilegeError::FailedBeforeMain { failure: failure.clone() },
                None => PrivilegeError::NotEntered,
            }),
        }
    }
}

impl FromStr for Privilege {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "root" => Ok(Self::Root),
            "user" => Ok(Self::User),
            _ => Err(format!("{text:?} is no privilege; there are: auto, root, user")),
        }
    }
}

/// What a host may do outside of itself.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Rights {
    /// What the machine's root may, without what is dropped.
    Root,
    /// What an ordinary user may.
    User,
}

/// What this process is on its machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    /// Root, in a user namespace that has every id: the machine's first one.
    MachinesRoot,
    /// Root of a user namespace that has some of its parent's ids.
    Enclosed,
    Ordinary,
}

impl Standing {
    fn now() -> Self {
        if !geteuid().is_root() {
            Self::Ordinary
        } else if ids::mapped().is_none() {
            Self::MachinesRoot
        } else {
            Self::Enclosed
        }
    }
}

/// The id outside whose images this process has: that of the user who made, or would make, its user namespace. `None` for
/// the machine's root, who has those of all.
pub(crate) fn owner() -> Option<u32> {
    match Standing::now() {
        Standing::MachinesRoot => None,
        Standing::Enclosed => ids::mapped(),
        Standing::Ordinary => Some(geteuid().as_raw()),
    }
}

/// Whether the id is the one that root's hosts without root's rights have outside.
pub(crate) fn is_roots(owner: u32) -> bool {
    owner == roots()
}

/// The id outside of hosts that root makes without its rights.
pub(crate) fn roots() -> u32 {
    ids::of_root(ids::Kind::User)[0][1]
}

/// The constructor. What goes wrong is said when a host is to be made: a program may have another use of its own.
fn enter_if_asked() {
    let Ok(asked) = std::env::var(Privilege::VARIABLE) else { return };
    let entered = asked.parse::<Privilege>().and_then(|privilege| match privilege {
        Privilege::Root => Ok(()),
        other => other.enter().map_err(|error| error.to_string()),
    });
    if let Err(message) = entered {
        let _ = FAILED_BEFORE_MAIN.set(format!("{}: {message}", Privilege::VARIABLE));
    }
}

/// Whether a switch of the kernel has this value.
fn setting_is(name: &str, value: &str) -> bool {
    fs::read_to_string(format!("/proc/sys/{name}")).is_ok_and(|it| it.trim() == value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_privilege_is_one_of_three_words() {
        assert_eq!("auto".parse(), Ok(Privilege::Auto));
        assert_eq!("root".parse(), Ok(Privilege::Root));
        assert_eq!("user".parse(), Ok(Privilege::User));
        let error = "sudo".parse::<Privilege>().unwrap_err();
        assert_eq!(error, "\"sudo\" is no privilege; there are: auto, root, user");
    }

    /// The tests of this crate are threaded when they begin, and no threaded process may enter.
    #[test]
    fn a_process_with_threads_is_not_taken_apart() {
        if Standing::now() == Standing::Enclosed {
            return;
        }
        let error = Privilege::User.enter().unwrap_err();
        assert!(matches!(error, PrivilegeError::Threads), "{error}");
    }
}

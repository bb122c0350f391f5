//! Why a process cannot make hosts with the rights that it is asked to, and the ways out.

use std::fmt;
use std::io;

use nix::errno::Errno;

use super::setting_is;

/// Why a process cannot make hosts with these rights.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivilegeError {
    /// Hosts of the machine's root are made by nobody else.
    #[error(
        "a host with privilege root can only be made by root\nhint: run this with sudo, or with privilege user"
    )]
    NotRoot,
    /// An ordinary user's process, or one of root's that is to make hosts as a user, has not entered a user namespace.
    #[error(
        "this process is in no user namespace of its own, and cannot enter one any more\nhint: set OPENSHELL_HARNESS_PRIVILEGE=auto (root: user) in its environment, or call harness::Privilege::enter at the beginning of main"
    )]
    NotEntered,
    /// The environment asked this process to enter before its `main`, and that failed.
    #[error("{failure}")]
    FailedBeforeMain {
        /// What went wrong, with the way out.
        failure: String,
    },
    /// The kernel lets only processes with one thread enter.
    #[error(
        "a process with several threads cannot enter a user namespace\nhint: call harness::Privilege::enter at the beginning of main, before any runtime"
    )]
    Threads,
    /// The tools that give a user its further ids are not installed.
    #[error(
        "hosts without root need {tool}, which is not installed\nhint: sudo apt-get install uidmap   (Fedora: shadow-utils)"
    )]
    NoTool {
        /// The tool.
        tool: &'static str,
    },
    /// The user has no further ids, or too few.
    #[error(
        "{file} gives {user} {found}, and the files of a host belong to {needed}\nhint: {hint}",
        needed = super::ids::COUNT
    )]
    NoIds {
        /// The file that was read.
        file: &'static str,
        /// The user's name, or its number when it has none.
        user: String,
        /// What there is instead, such as `no ids`.
        found: String,
        /// The command that helps.
        hint: String,
    },
    /// The tools did not give them.
    #[error(
        "{tool}: {said}\nhint: {tool} has to be set-user-ID root, as its package (uidmap) installs it, and to agree with /etc/subuid and /etc/subgid"
    )]
    Refused {
        /// The tool, or the kernel's file where root writes it itself.
        tool: String,
        /// What it said.
        said: String,
    },
    /// This machine lets the user make no user namespace, or one without rights.
    #[error("{step}: {source}\nhint: {hindrance}")]
    Forbidden {
        /// What was tried, as a lowercase fragment.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
        /// What forbids it, with the way out.
        hindrance: Hindrance,
    },
    /// The cache cannot be prepared for an id that owns nothing yet.
    #[error("{0}")]
    Cache(String),
}

impl PrivilegeError {
    pub(super) fn kernel(step: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Forbidden { step, source: errno.into(), hindrance: Hindrance::behind(errno) }
    }
}

/// What forbids user namespaces, or makes them useless.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Hindrance {
    /// `user.max_user_namespaces` is 0.
    MaxUserNamespaces,
    /// `kernel.unprivileged_userns_clone` is 0 (a setting of Debian's and Arch's kernels).
    UnprivilegedUsernsClone,
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1 (Ubuntu 23.10 and later).
    AppArmor,
    /// A limit on namespaces is reached, or they are nested too deep.
    Limit,
    /// Something else: most often the seccomp filter of a container.
    Unknown,
}

impl Hindrance {
    /// What it is most likely that the kernel said this for.
    fn behind(errno: Errno) -> Self {
        if setting_is("user/max_user_namespaces", "0") {
            Self::MaxUserNamespaces
        } else if matches!(errno, Errno::ENOSPC | Errno::EUSERS) {
            Self::Limit
        } else {
            Self::switched_on().unwrap_or(Self::Unknown)
        }
    }

    /// The switch that keeps ordinary users from user namespaces, when one does.
    pub(crate) fn switched_on() -> Option<Self> {
        if setting_is("user/max_user_namespaces", "0") {
            Some(Self::MaxUserNamespaces)
        } else if setting_is("kernel/unprivileged_userns_clone", "0") {
            Some(Self::UnprivilegedUsernsClone)
        } else if setting_is("kernel/apparmor_restrict_unprivileged_userns", "1") {
            Some(Self::AppArmor)
        } else {
            None
        }
    }
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MaxUserNamespaces => {
                "user.max_user_namespaces is 0: sudo sysctl user.max_user_namespaces=15000"
            }
            Self::UnprivilegedUsernsClone => {
                "kernel.unprivileged_userns_clone is 0: sudo sysctl kernel.unprivileged_userns_clone=1"
            }
            Self::AppArmor => {
                "AppArmor restricts user namespaces: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
            }
            Self::Limit => "a limit of namespaces is reached: see /proc/sys/user",
            Self::Unknown => {
                "user namespaces are forbidden here: run it outside of any container, or with sudo and privilege root"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_ends_with_a_way_out() {
        let errors = [
            PrivilegeError::NotRoot,
            PrivilegeError::NotEntered,
            PrivilegeError::Threads,
            PrivilegeError::NoTool { tool: "newuidmap" },
            PrivilegeError::NoIds {
                file: "/etc/subuid",
                user: "u".into(),
                found: "no ids".into(),
                hint: "usermod".into(),
            },
            PrivilegeError::Refused { tool: "newgidmap".into(), said: "not allowed".into() },
            PrivilegeError::kernel("make a user namespace")(Errno::EPERM),
            PrivilegeError::kernel("make a user namespace")(Errno::ENOSPC),
        ];
        for error in errors {
            let text = error.to_string();
            assert!(text.lines().last().unwrap().starts_with("hint: "), "{text}");
            assert_eq!(text.lines().count(), 2, "{text}");
        }
    }
}

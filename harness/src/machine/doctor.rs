//! What this machine lacks for hosts, what that disables, and the way out.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;

use super::missing_modules;
use crate::engine::Engine;
use crate::image::{Cache, Definition};
use crate::privilege::{Hindrance, Privilege, Rights};

/// How a finding matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// All is well.
    Ok,
    /// A part of the harness does not work.
    Limited,
    /// No host can be made.
    Blocked,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// How it matters.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// What is disabled by it; empty when all is well.
    pub disables: &'static str,
    /// The command or the change that helps; empty when all is well.
    pub way_out: String,
}

/// Looks at the machine, as hosts with that privilege would find it. Nothing of it is changed; the calling process itself
/// enters ([`Privilege::enter`]), for that is the only way to see whether it can.
#[must_use]
pub fn examine(asked: Privilege) -> Vec<Finding> {
    vec![privilege(asked), user_namespaces(), modules(), control_groups(), builder(), image()]
}

fn well(what: &'static str, found: impl Into<String>) -> Finding {
    let found = found.into();
    Finding { what, severity: Severity::Ok, found, disables: "", way_out: String::new() }
}

fn privilege(asked: Privilege) -> Finding {
    let message = match asked.enter().and_then(|()| asked.rights()) {
        Ok(Rights::Root) => return well("privilege", "root"),
        Ok(Rights::User) => {
            let outside = crate::privilege::owner().map(|uid| format!(" (uid {uid} outside)"));
            let found = format!("root of a user namespace{}", outside.unwrap_or_default());
            return well("privilege", found);
        }
        Err(error) => error.to_string(),
    };
    let (found, way_out) = message.split_once("\nhint: ").unwrap_or((&message, "run it with sudo"));
    Finding {
        what: "privilege",
        severity: Severity::Blocked,
        found: found.to_owned(),
        disables: "every host",
        way_out: way_out.to_owned(),
    }
}

fn user_namespaces() -> Finding {
    let limit = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    let Some(hindrance) = Hindrance::switched_on() else {
        return well("user namespaces", format!("up to {}", limit.trim()));
    };
    let text = hindrance.to_string();
    let (found, way_out) = text.split_once(": ").unwrap_or((&text, "run it with sudo"));
    Finding {
        what: "user namespaces",
        severity: Severity::Limited,
        found: found.to_owned(),
        disables: "hosts without root",
        way_out: way_out.to_owned(),
    }
}

fn modules() -> Finding {
    let missing = missing_modules(Engine::Docker);
    if missing.is_empty() {
        return well("kernel", "overlay, bridge, veth and nf_tables are there");
    }
    Finding {
        what: "kernel",
        severity: Severity::Blocked,
        found: format!("not loaded: {}", missing.join(" ")),
        disables: "hosts with an engine or a firewall",
        way_out: format!("sudo modprobe -a {}", missing.join(" ")),
    }
}

fn control_groups() -> Finding {
    let kind = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        "v2"
    } else if Path::new("/sys/fs/cgroup/unified").exists() {
        "v1 and v2 (hybrid)"
    } else {
        "v1"
    };
    if Privilege::Auto.rights().is_ok_and(|rights| rights == Rights::User) {
        return well("control groups", format!("{kind}; hosts without root have none of their own"));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let writable = mounts.lines().any(|line| {
        let is_cgroup = line.contains(" - cgroup ") || line.contains(" - cgroup2 ");
        is_cgroup && line.split(' ').nth(5).is_some_and(|options| options.split(',').any(|it| it == "rw"))
    });
    if writable {
        return well("control groups", kind);
    }
    Finding {
        what: "control groups",
        severity: Severity::Blocked,
        found: "none is mounted for writing".to_owned(),
        disables: "every host (this looks like the inside of an unprivileged container)",
        way_out: "run it on the machine itself, or in a container with --privileged --cgroupns=host"
            .to_owned(),
    }
}

fn builder() -> Finding {
    let version = Command::new("mmdebstrap").arg("--version").stdin(Stdio::null()).output();
    match version {
        Ok(output) => well("mmdebstrap", String::from_utf8_lossy(&output.stdout).trim()),
        Err(_) => Finding {
            what: "mmdebstrap",
            severity: Severity::Limited,
            found: "not installed".to_owned(),
            disables: "building images",
            way_out: "sudo apt-get install mmdebstrap".to_owned(),
        },
    }
}

fn image() -> Finding {
    let find = || Cache::open()?.find(&Definition::named("debian-13")?)?.manifest();
    match find() {
        Ok(Some(manifest)) => {
            let packages = manifest.packages.len();
            let megabytes = manifest.bytes / 1_000_000;
            well("image debian-13", format!("{packages} packages, {megabytes} MB"))
        }
        Ok(None) => well("image debian-13", "the machine's own"),
        Err(error) => Finding {
            what: "image debian-13",
            severity: Severity::Blocked,
            found: error.to_string().lines().next().unwrap_or_default().to_owned(),
            disables: "every host of the default image",
            way_out: "openshell-harness image build debian-13".to_owned(),
        },
    }
}

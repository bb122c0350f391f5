//! Settings of the twin's kernel.

use std::fs;

use super::super::{Sysctl, Unset};

/// What every twin has: as many refusals as there are trials. A host sends a burst of six to one address and then one in a
/// second, which would look like a drop.
const OWN: [(&str, &str); 2] = [("net/ipv4/icmp_ratelimit", "0"), ("net/ipv6/icmp/ratelimit", "0")];

/// Sets what every twin has, where the kernel lets it.
pub(super) fn prepare() {
    for (name, value) in OWN {
        let _ = write(name, value);
    }
}

/// Lets this namespace ask for a neighbour by an address of the neighbour's subnet. A host does not answer what comes from a
/// foreign one, and all who dial from here would wait for that answer.
pub(super) fn ask_by_own_address() {
    let _ = write("net/ipv4/conf/all/arp_announce", "2");
}

/// Sets what the plan has, and says what could not be set.
pub(super) fn set(sysctls: &[Sysctl]) -> Vec<Unset> {
    let set = |sysctl: &Sysctl| {
        let error = write(&sysctl.name, &sysctl.value).err()?;
        Some(Unset { name: sysctl.name.clone(), why: error.to_string() })
    };
    sysctls.iter().filter_map(set).collect()
}

/// The plan's names have been checked. What is written has effect in the calling thread's network namespace.
fn write(name: &str, value: &str) -> std::io::Result<()> {
    let path = format!("/proc/sys/{name}");
    if fs::read_to_string(&path).is_ok_and(|it| it.trim() == value.trim()) {
        return Ok(());
    }
    fs::write(path, value)
}

//! Settings of the kernel.

use snapshot::{Snapshot, SysctlKey};

use super::Left;

/// One setting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in super::super) struct Setting {
    /// Below `/proc/sys`.
    pub(in super::super) path: String,
    pub(in super::super) value: i64,
}

/// The values that the kernel takes.
fn range(key: SysctlKey) -> std::ops::RangeInclusive<i64> {
    match key {
        SysctlKey::RpFilter | SysctlKey::TcpSyncookies => 0..=2,
        SysctlKey::ArpIgnore => 0..=8,
        // Milliseconds.
        SysctlKey::IcmpRatelimit => 0..=60_000,
        // A bit for each of ICMP's 19 types.
        SysctlKey::IcmpRatemask => 0..=0x7_ffff,
        _ => 0..=1,
    }
}

/// Those of all interfaces, of new ones and of the bridges that are made here.
pub(super) fn settings(snapshot: &Snapshot, bridges: &[&str], left: &mut Left) -> Vec<Setting> {
    let mut settings = Vec::new();
    for sysctl in &snapshot.sysctls {
        let path = match (&sysctl.interface, sysctl.key.path().contains('*')) {
            (None, false) => Some(sysctl.key.path().to_owned()),
            (Some(name), true) => {
                let known = ["all", "default"].into_iter().chain(bridges.iter().copied());
                // A dot in an interface's name would be none in its folder's.
                let known = known.into_iter().find(|it| *it == name.as_str() && !it.contains('.'));
                known.map(|name| sysctl.key.path().replace('*', name))
            }
            _ => None,
        };
        let shown = || {
            let name = sysctl.interface.as_ref().map_or("*", |name| name.as_str());
            format!("setting {}", sysctl.key.path().replace('*', name))
        };
        match path {
            None => left.push(shown(), "no such interface is made"),
            Some(_) if !range(sysctl.key).contains(&sysctl.value) => {
                left.push(shown(), format!("{} is no value of it", sysctl.value));
            }
            Some(path) => settings.push(Setting { path, value: sysctl.value }),
        }
    }
    settings
}

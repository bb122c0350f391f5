//! Where this host's default route leads.

use std::fs;

/// The interface of the default route (proc(5), /proc/net/route).
pub(super) fn uplink() -> Option<String> {
    let table = fs::read_to_string("/proc/net/route").ok()?;
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let name = fields.next()?;
        (fields.next()? == "00000000").then(|| name.to_owned())
    })
}

//! The machine under the hosts: what it has, and that it is left as it was.

mod doctor;
mod fingerprint;

use std::collections::BTreeSet;
use std::fs;

pub use doctor::{Finding, Severity, examine};
pub use fingerprint::{Fingerprint, FingerprintError};

use crate::engine::Engine;
use crate::host::BootError;

/// What a host without engine makes the kernel use.
const FOR_A_HOST: [&str; 1] = ["overlay"];

/// What an engine and the firewalls make the kernel use on top. A name that a kernel does not have is no matter: it has
/// the feature under another name, or built in, or the tool that needs it says so.
const FOR_AN_ENGINE: [&str; 24] = [
    "bridge",
    "br_netfilter",
    "ip6t_REJECT",
    "ipt_REJECT",
    "nf_conntrack",
    "nf_log_syslog",
    "nf_nat",
    "nf_tables",
    "nft_chain_nat",
    "nft_compat",
    "nft_ct",
    "nft_fib_inet",
    "nft_reject_inet",
    "veth",
    "xt_LOG",
    "xt_MASQUERADE",
    "xt_addrtype",
    "xt_comment",
    "xt_conntrack",
    "xt_hl",
    "xt_limit",
    "xt_nat",
    "xt_recent",
    "xt_tcpudp",
];

/// The modules that hosts with `engine` would make the kernel load. A host must not do that: a loaded module is a change
/// to the machine that outlives the host.
pub fn missing_modules(engine: Engine) -> Vec<String> {
    would_load(FOR_A_HOST.iter().chain(match engine {
        Engine::None => &[][..],
        Engine::Docker => &FOR_AN_ENGINE[..],
    }))
}

/// Those of the modules that the kernel could load and has not loaded.
pub(crate) fn would_load<'a>(modules: impl IntoIterator<Item = &'a &'a str>) -> Vec<String> {
    let Ok(loaded) = fs::read_to_string("/proc/modules") else {
        // This kernel loads no modules at all.
        return Vec::new();
    };
    let release = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    let loadable = fs::read_to_string(format!("/lib/modules/{release}/modules.dep")).unwrap_or_default();
    missing(modules, &loaded, &loadable)
}

/// `loaded` is `/proc/modules`, `loadable` is `modules.dep`: what is in neither is built in or not there at all.
fn missing<'a>(modules: impl IntoIterator<Item = &'a &'a str>, loaded: &str, loadable: &str) -> Vec<String> {
    let loaded: BTreeSet<&str> = loaded.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let name = |line: &str| {
        let file = line.split(':').next()?.rsplit('/').next()?;
        // `nf_tables.ko.xz`; a file may spell `-` what the kernel lists as `_`.
        Some(file.split(".ko").next()?.replace('-', "_"))
    };
    let loadable: BTreeSet<String> = loadable.lines().filter_map(name).collect();
    let needed = modules.into_iter();
    needed
        .filter(|name| loadable.contains(**name) && !loaded.contains(**name))
        .map(|name| (*name).to_owned())
        .collect()
}

/// Whether the kernel has what such a host needs.
pub(crate) fn check_can_boot(engine: Engine) -> Result<(), BootError> {
    let missing = missing_modules(engine);
    if missing.is_empty() { Ok(()) } else { Err(BootError::MissingModules { missing }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_could_be_loaded_and_is_not_is_missing() {
        let loaded = "overlay 212992 0 - Live 0x0\nbridge 421888 1 br_netfilter, Live 0x0\n";
        let loadable = "kernel/fs/overlayfs/overlay.ko.xz:\nkernel/net/bridge/bridge.ko.xz: kernel/llc.ko.xz\n\
                        kernel/drivers/net/veth.ko.xz:\nkernel/net/netfilter/nf-tables.ko:\n";
        assert_eq!(missing(&FOR_AN_ENGINE, loaded, loadable), ["nf_tables", "veth"]);
        assert_eq!(missing(&FOR_A_HOST, loaded, loadable), Vec::<String>::new());
        assert_eq!(missing(&FOR_A_HOST, "", loadable), ["overlay"]);
    }

    #[test]
    fn the_error_names_the_command() {
        let error = BootError::MissingModules { missing: vec!["veth".into(), "bridge".into()] };
        assert!(error.to_string().ends_with("hint: sudo modprobe -a veth bridge"), "{error}");
    }
}

//! What a plan may not be.

use std::collections::HashSet;
use std::path::PathBuf;

use super::{Address, MOST_TEXT, MOST_TRIALS, Origin, Plan, Rules};
use crate::sanitize;
use crate::twin::Failure;

/// As many links, addresses of one, and settings as a plan may have.
const MOST: usize = 64;

/// Longest name of an interface (`IFNAMSIZ` without its zero).
const MOST_NAME: usize = 15;

/// Settings that each network namespace has for itself. Others could be the whole machine's.
const CONF: [&str; 9] = [
    "rp_filter",
    "accept_local",
    "arp_announce",
    "arp_filter",
    "arp_ignore",
    "forwarding",
    "log_martians",
    "route_localnet",
    "src_valid_mark",
];
const SINGLE: [&str; 9] = [
    "net/ipv4/ip_forward",
    "net/ipv4/ip_nonlocal_bind",
    "net/ipv4/fwmark_reflect",
    "net/ipv4/tcp_fwmark_accept",
    "net/ipv6/ip_nonlocal_bind",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/bridge/bridge-nf-call-arptables",
    "net/netfilter/nf_conntrack_tcp_loose",
];

pub(super) fn check(plan: &Plan) -> Result<(), Failure> {
    texts(plan)?;
    names(plan)?;
    addresses(plan)?;
    trials(plan)?;
    for sysctl in &plan.sysctls {
        if !is_own_setting(&sysctl.name) || sysctl.value.len() > MOST {
            return bad(format!("{:?} is no setting of a network namespace", sysctl.name));
        }
    }
    Ok(())
}

fn texts(plan: &Plan) -> Result<(), Failure> {
    rules(plan, &plan.rules)?;
    for stage in &plan.stages {
        rules(plan, &stage.change)?;
        stage.undo.as_ref().map_or(Ok(()), |undo| rules(plan, undo))?;
        if stage.name.len() > 256 {
            return bad("a stage's name has more than 256 bytes");
        }
    }
    Ok(())
}

fn rules(plan: &Plan, rules: &Rules) -> Result<(), Failure> {
    let programs = &plan.programs;
    let commands = rules.nft.as_ref().map(ToString::to_string);
    let all = [
        (rules.ipv4.as_deref(), &programs.ipv4, "iptables-nft-restore"),
        (rules.ipv6.as_deref(), &programs.ipv6, "ip6tables-nft-restore"),
        (commands.as_deref(), &programs.nft, "nft"),
        (rules.ipset.as_deref(), &programs.ipset, "ipset"),
    ];
    for (text, program, name) in all {
        let Some(text) = text else { continue };
        program_of(program.as_ref(), name)?;
        if text.len() > MOST_TEXT {
            return bad(format!("a text for {name} has {} bytes, {MOST_TEXT} is the limit", text.len()));
        }
        if text.contains('\0') {
            return bad(format!("a text for {name} has a zero byte"));
        }
    }
    Ok(())
}

fn program_of(program: Option<&PathBuf>, name: &str) -> Result<(), Failure> {
    match program {
        None => Err(Failure::NoProgram { name: name.to_owned() }),
        Some(path) if path.is_absolute() => Ok(()),
        Some(path) => bad(format!("{} is no absolute path", sanitize(&path.to_string_lossy()))),
    }
}

fn names(plan: &Plan) -> Result<(), Failure> {
    if plan.links.len() > MOST || plan.sysctls.len() > MOST {
        return bad(format!("more than {MOST} links or settings"));
    }
    let mut known = HashSet::from(["lo", "all", "default"]);
    for name in plan.links.iter().map(|link| &link.name).chain([&plan.bridge.name]) {
        let fits = (1..=MOST_NAME).contains(&name.len());
        let plain = name.bytes().all(|it| it.is_ascii_graphic() && it != b'/' && it != b':' && it != b'%');
        if !fits || !plain || name.starts_with('.') || name.starts_with(crate::twin::inside::OWN_PREFIX) {
            return bad(format!("{name:?} cannot be the name of a link"));
        }
        if !known.insert(name) {
            return bad(format!("{name:?} is the name of two links"));
        }
    }
    if plan.links.iter().filter(|link| link.uplink).count() > 1 {
        return bad("more than one uplink");
    }
    Ok(())
}

fn addresses(plan: &Plan) -> Result<(), Failure> {
    let links = plan.links.iter().flat_map(|link| [&link.addresses, &link.behind]);
    for list in links.chain([&plan.bridge.addresses]) {
        if list.len() > MOST {
            return bad(format!("more than {MOST} addresses on a link"));
        }
        if let Some(Address { ip, prefix }) = list.iter().find(|it| !is_sound(it)) {
            return bad(format!("{ip}/{prefix} is no address with a prefix"));
        }
    }
    if plan.sandbox.len() > MOST {
        return bad(format!("more than {MOST} addresses of the sandbox"));
    }
    for ip in &plan.sandbox {
        if !plan.bridge.addresses.iter().any(|it| it.covers(*ip) && it.ip != *ip) {
            return bad(format!("the sandbox cannot have {ip} on the bridge"));
        }
    }
    Ok(())
}

fn is_sound(address: &Address) -> bool {
    address.prefix <= if address.ip.is_ipv4() { 32 } else { 128 }
}

fn trials(plan: &Plan) -> Result<(), Failure> {
    let count = plan.trials().count();
    if count > MOST_TRIALS || plan.stages.len() > MOST_TRIALS {
        return bad(format!("{count} trials in {} stages, {MOST_TRIALS} is the limit", plan.stages.len()));
    }
    for trial in plan.trials() {
        if trial.to.port() == 0 || trial.to.ip().is_unspecified() || trial.to.ip().is_multicast() {
            return bad(format!("{} cannot be dialled", trial.to));
        }
        let hosts = plan.links.iter().flat_map(|link| &link.addresses).chain(&plan.bridge.addresses);
        let from = match trial.from {
            Origin::Bridge { address } => Some(address),
            Origin::Lan { address, .. } | Origin::Wan { address } => address,
            _ => None,
        };
        if let Some(ip) = from
            && (ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_loopback()
                || hosts.into_iter().any(|it| it.ip == ip))
        {
            return bad(format!("nobody but the host can dial from {ip}"));
        }
        if let Origin::Lan { link, .. } = &trial.from
            && !plan.links.iter().any(|it| it.name == *link)
        {
            return bad(format!("{link:?} is no link of the plan"));
        }
    }
    Ok(())
}

fn is_own_setting(name: &str) -> bool {
    match name.split('/').collect::<Vec<_>>()[..] {
        ["net", "ipv4" | "ipv6", "conf", link, setting] => {
            !link.is_empty() && link != "." && link != ".." && CONF.contains(&setting)
        }
        _ => SINGLE.contains(&name),
    }
}

fn bad<T>(what: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::BadPlan { what: what.into() })
}

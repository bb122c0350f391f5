//! firewalld's zones, as its own client shows them.

use ruleset::Ruleset;
use snapshot::{FirewallD, Net, PortRange, What, Why, Word, Zone};

use super::Gathering;
use crate::programs;

/// Asked only where its rules are in the kernel: the client waits for a daemon that is not there.
pub(super) async fn firewalld(gathering: &mut Gathering, rules: Option<&Ruleset>) -> Option<FirewallD> {
    let runs = |rules: &Ruleset| {
        let own = |table: &ruleset::Table| {
            table.name == "firewalld" || table.chains.iter().any(|chain| chain.name == "INPUT_ZONES")
        };
        rules.tables.iter().any(own)
    };
    if !rules.is_some_and(runs) {
        return None;
    }
    let Some(program) = programs::find("firewall-cmd") else {
        gathering.leave(What::FirewallD, Why::NoProgram, None);
        return None;
    };
    let (default, zones) = tokio::join!(
        programs::read(&program, &["--get-default-zone"]),
        programs::read(&program, &["--list-all-zones"])
    );
    let (Ok(default), Ok(zones)) = (default, zones) else {
        gathering.leave(What::FirewallD, Why::Unreadable, None);
        return None;
    };
    let default = String::from_utf8_lossy(&default).trim().to_owned();
    let zones = self::zones(gathering, &String::from_utf8_lossy(&zones), &default);
    Some(FirewallD { default_zone: Some(gathering.names.name(&default)), zones })
}

/// The zones that are in use, of what `firewall-cmd --list-all-zones` prints.
fn zones(gathering: &mut Gathering, text: &str, default: &str) -> Vec<Zone> {
    let mut zones = Vec::new();
    let (mut rich, mut sources) = (0, 0);
    // A zone's name begins a line, what it has is indented, and rich rules more so.
    let mut lines = text.lines().peekable();
    while let Some(head) = lines.next() {
        let mut settings: Vec<(&str, &str)> = Vec::new();
        let mut of_rules = 0;
        while let Some(line) = lines.next_if(|line| line.starts_with([' ', '\t'])) {
            match line.trim_start().split_once(':') {
                Some((key, value)) if line.starts_with("  ") => settings.push((key, value.trim())),
                _ => of_rules += 1,
            }
        }
        let Some(name) = head.split_whitespace().next() else { continue };
        if name != default && !head.contains("(active") && !head.contains(", active") {
            continue;
        }
        let value = |key: &str| settings.iter().find(|(own, _)| *own == key).map_or("", |(_, value)| *value);
        let words = |key: &str| value(key).split_whitespace().collect::<Vec<_>>();
        let nets: Vec<Option<Net>> = words("sources").into_iter().map(Net::parse).collect();
        sources += nets.iter().filter(|net| net.is_none()).count();
        rich += of_rules;
        zones.push(Zone {
            name: gathering.names.name(name),
            target: target(value("target")),
            interfaces: words("interfaces").iter().map(|name| gathering.names.interface(name)).collect(),
            sources: nets.into_iter().flatten().map(|net| gathering.mapping.net(net)).collect(),
            services: words("services").iter().map(|name| gathering.names.name(name)).collect(),
            ports: words("ports").into_iter().filter_map(ports).collect(),
            forward: value("forward") == "yes",
            masquerade: value("masquerade") == "yes",
        });
    }
    gathering.leave(What::RichRules, Why::NotAllowed, rich);
    gathering.leave(What::ZoneSources, Why::NotAllowed, sources);
    zones
}

fn target(text: &str) -> Word {
    let known = match text.trim_matches('%').to_ascii_lowercase().as_str() {
        "accept" => "accept",
        "drop" => "drop",
        "reject" => "reject",
        _ => "default",
    };
    Word::new(known).expect("letters are a word")
}

/// `8080/tcp`, `9000-9010/udp`
fn ports(text: &str) -> Option<PortRange> {
    let (ports, protocol) = text.split_once('/')?;
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    Some(PortRange {
        protocol: Word::new(protocol).ok()?,
        first: first.parse().ok()?,
        last: last.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use snapshot::{Mapping, Names};

    use super::*;

    #[test]
    fn zones_in_use_are_read() {
        let text = "docker (active)\n  target: ACCEPT\n  interfaces: br-1 docker0\n  sources: \n  rich rules: \n\n\
            drop\n  target: DROP\n  interfaces: \n\n\
            public (default, active)\n  target: default\n  interfaces: eth0\n  sources: 10.1.0.0/16 ipset:secret\n  \
            services: ssh dhcpv6-client\n  ports: 8080/tcp 9000-9010/udp\n  forward: yes\n  masquerade: no\n  rich rules: \n\
            \trule family=\"ipv4\" source address=\"10.9.9.9\" accept\n";
        let mut gathering = Gathering {
            mapping: Mapping::identity(),
            names: Names::default(),
            left_out: Vec::new(),
            root: true,
        };
        let zones = zones(&mut gathering, text, "public");
        let names: Vec<_> = zones.iter().map(|zone| (zone.name.as_str(), zone.target.as_str())).collect();
        assert_eq!(names, [("docker", "accept"), ("public", "default")]);
        assert_eq!(zones[1].sources, [Net::parse("10.1.0.0/16").unwrap()]);
        assert_eq!((zones[1].services.len(), zones[1].ports[1].last), (2, 9010));
        assert!(zones[1].forward && !zones[1].masquerade);
        let left: Vec<_> = gathering.left_out.iter().map(|it| (it.what, it.count)).collect();
        assert_eq!(left, [(What::RichRules, Some(1)), (What::ZoneSources, Some(1))]);
    }
}

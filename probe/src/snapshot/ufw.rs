//! UFW's settings, from its files. UFW sources them as shell; here they are read.

use std::fs;

use snapshot::{Direction, Interface, Net, Ports, Ufw, UfwAction, UfwRule, What, Why, Word};

use super::Gathering;
use super::system::os_release;

pub(super) fn ufw(gathering: &mut Gathering) -> Option<Ufw> {
    let conf = os_release(&fs::read_to_string("/etc/ufw/ufw.conf").ok()?);
    let defaults = os_release(&fs::read_to_string("/etc/default/ufw").unwrap_or_default());
    let yes = |text: &String| text.eq_ignore_ascii_case("yes");
    let policy = |key: &str| defaults.get(key).and_then(|text| one_of(text, &["accept", "drop", "reject"]));
    let levels = ["off", "low", "medium", "high", "full"];
    let rules = match fs::read("/etc/ufw/user.rules") {
        Ok(text) => {
            let (rules, strange) = user_rules(gathering, &String::from_utf8_lossy(&text));
            gathering.leave(What::UfwRules, Why::NotAllowed, strange);
            Some(rules)
        }
        Err(_) => {
            let why = if gathering.root { Why::Unreadable } else { Why::NeedsRoot };
            gathering.leave(What::UfwRules, why, None);
            None
        }
    };
    Some(Ufw {
        enabled: conf.get("ENABLED").is_some_and(yes),
        input: policy("DEFAULT_INPUT_POLICY"),
        output: policy("DEFAULT_OUTPUT_POLICY"),
        forward: policy("DEFAULT_FORWARD_POLICY"),
        ipv6: defaults.get("IPV6").map(yes),
        manage_builtins: defaults.get("MANAGE_BUILTINS").map(yes),
        log_level: conf.get("LOGLEVEL").and_then(|text| one_of(text, &levels)),
        rules,
    })
}

/// The text, if it is one of these words.
fn one_of(text: &str, words: &[&str]) -> Option<Word> {
    let found = words.iter().find(|word| word.eq_ignore_ascii_case(text))?;
    Word::new(*found).ok()
}

/// The rules that users gave, and how many are not understood.
fn user_rules(gathering: &mut Gathering, text: &str) -> (Vec<UfwRule>, usize) {
    let (mut rules, mut strange, mut known) = (Vec::<UfwRule>::new(), 0, false);
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("### tuple ### ") {
            // A comment follows in hexadecimal, if there is one.
            let words = words.split(" comment=").next().unwrap_or(words);
            match user_rule(gathering, words) {
                Some(rule) => rules.push(rule),
                None => strange += 1,
            }
            known = strange == 0 || rules.last().is_some();
        } else if line.starts_with("-A ufw-user-input ")
            && known
            && let Some(rule) = rules.last_mut()
        {
            rule.lines += 1;
        }
    }
    (rules, strange)
}

/// `allow tcp 8080 172.18.0.1 any 172.18.0.0/16 in_br0`, perhaps with the names of two applications before the direction, which
/// users choose and which are not carried.
fn user_rule(gathering: &mut Gathering, words: &str) -> Option<UfwRule> {
    let words: Vec<&str> = words.split(' ').collect();
    let [action, protocol, to_port, to, from_port, from, .., direction] = words.as_slice() else {
        return None;
    };
    let (route, action) = match action.strip_prefix("route:") {
        Some(action) => (true, action),
        None => (false, *action),
    };
    let action = match action.split('_').next()? {
        "allow" => UfwAction::Allow,
        "deny" => UfwAction::Deny,
        "reject" => UfwAction::Reject,
        "limit" => UfwAction::Limit,
        _ => return None,
    };
    // Of a routed rule, the interface that it comes in by.
    let (direction, interface) = match direction.split('!').next()?.split_once('_') {
        Some((direction, name)) => (direction, Some(name)),
        None => (*direction, None),
    };
    let direction = match direction {
        "in" => Direction::In,
        "out" => Direction::Out,
        _ => return None,
    };
    let net = |text: &str| Net::parse(text).map(|net| gathering.mapping.net(net));
    let (to, from) = (net(to)?, net(from)?);
    let interface: Option<Interface> = interface.map(|name| gathering.names.interface(name));
    Some(UfwRule {
        action,
        route,
        protocol: Word::new(*protocol).ok()?,
        to_port: Ports::new(*to_port).ok()?,
        to,
        from_port: Ports::new(*from_port).ok()?,
        from,
        direction,
        interface,
        lines: 0,
    })
}

/// The rules as UFW's own file has them, from typed values: what says which of them made a line of the kernel's rules.
pub(super) fn as_file(rules: &[UfwRule]) -> String {
    let mut text = String::new();
    for rule in rules {
        text.push_str(&rule.tuple());
        text.push('\n');
        for _ in 0..rule.lines.min(1000) {
            text.push_str("-A ufw-user-input \n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use snapshot::{Mapping, Names};

    use super::*;

    fn gathering() -> Gathering {
        let kept = [Net::parse("172.18.0.0/16").unwrap()];
        Gathering {
            mapping: Mapping::new([3; 32], &kept),
            names: Names::default(),
            left_out: Vec::new(),
            root: true,
        }
    }

    #[test]
    fn a_users_rules_are_read_without_comments_and_applications() {
        let text = "### tuple ### allow any 22 0.0.0.0/0 any 0.0.0.0/0 SecretApp - in comment=736563726574\n\
            -A ufw-user-input -p tcp --dport 22 -j ACCEPT\n-A ufw-user-input -p udp --dport 22 -j ACCEPT\n\
            ### tuple ### route:allow_log tcp 80 10.1.2.3 any 0.0.0.0/0 in_eth0!out_br0\n\
            ### tuple ### limit tcp 8080 172.18.0.1 any 172.18.0.0/16 in_br-1\n-A ufw-user-input -x\n\
            ### tuple ### frobnicate tcp 1 0.0.0.0/0 any 0.0.0.0/0 in\n";
        let (rules, strange) = user_rules(&mut gathering(), text);
        assert_eq!((rules.len(), strange), (3, 1));
        assert_eq!((rules[0].lines, rules[2].lines), (2, 1));
        assert!(rules[1].route && rules[1].to.to_string() != "10.1.2.3/32");
        assert_eq!(rules[1].interface.as_ref().unwrap().as_str(), "eth0");
        let again = as_file(&rules);
        assert!(
            again.contains("### tuple ### limit tcp 8080 172.18.0.1 any 172.18.0.0/16 in_br-1\n"),
            "{again}"
        );
        assert!(
            !again.contains("Secret")
                && again.starts_with("### tuple ### allow any 22 0.0.0.0/0 any 0.0.0.0/0 in\n")
        );
        assert_eq!(user_rules(&mut gathering(), &again).0.len(), 3);
    }

    #[test]
    fn only_known_words_are_policies() {
        assert_eq!(one_of("DROP", &["drop"]).unwrap().as_str(), "drop");
        assert_eq!(one_of("$(id)", &["drop"]), None);
    }
}

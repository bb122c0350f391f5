//! Which rule decided, for people: the rule, its setting, who says so, and the packets' way.

use std::fmt::Write as _;

use super::picture::draw;
use crate::explain::{Decided, Explanation, Method, RulesSeen, TriedRemedy, WalkedPacket};
use crate::verdict::Cause;

/// The explanation of one target, after a blank line.
pub(super) fn render(
    text: &mut String,
    name: &str,
    cause: Option<Cause>,
    explanation: &Explanation,
    walks: bool,
) {
    text.push('\n');
    match &explanation.decided {
        Some(decided) => decision(text, name, decided),
        None => {
            let _ = writeln!(text, "{name}: {}", undecided(explanation, cause));
        }
    }
    for line in draw(&explanation.way).into_iter().filter(|_| walks) {
        let _ = writeln!(text, "{line}");
    }
    if let Some(setting) = explanation.decided.as_ref().and_then(|decided| decided.setting.as_ref()) {
        let file = setting.file.as_ref().map_or_else(String::new, |file| format!(", {file}"));
        let _ = writeln!(text, "  set by     {}{file}", setting.text);
    }
    if explanation.decided.is_some() && !explanation.confirmed_by.is_empty() {
        let _ = writeln!(text, "  confirmed  {}", confirmation(explanation));
    }
    for suspect in &explanation.suspects {
        let _ = writeln!(text, "  inferred   {} ({})", suspect.text, suspect.files.join(", "));
    }
    for remedy in &explanation.remedies {
        remedy_lines(text, remedy);
    }
    for note in &explanation.notes {
        let _ = writeln!(text, "  note       {note}");
    }
    if !walks && explanation.decided.is_some() {
        text.push_str("  more       openshell-probe explain: the packets' way, who else says so, and a remedy that is tried first\n");
    }
    for packet in explanation.walk.iter().filter(|_| walks) {
        walk(text, packet);
    }
}

fn decision(text: &mut String, name: &str, decided: &Decided) {
    let place = format!("{} {} {}", decided.family, decided.table, decided.chain);
    let rule = match decided.rule {
        Some(number) => format!("{place} rule {number}: {}", decided.text),
        None => format!("{place} {}", decided.text),
    };
    let whose = match decided.packet.as_str() {
        "syn" => "",
        "syn_ack" | "answer_ack" | "answer" => " (the host's answer)",
        _ => " (what follows the handshake)",
    };
    let _ = writeln!(text, "{name}: {}{whose} by {rule}", decided.effect);
}

fn remedy_lines(text: &mut String, remedy: &TriedRemedy) {
    let proof = if remedy.proven {
        format!("proven in a twin: opens this and none of {} others", remedy.controls)
    } else if remedy.opens_too.is_empty() {
        "not tried".to_owned()
    } else {
        format!("opens more: {}", remedy.opens_too.join("; "))
    };
    for (at, command) in remedy.commands.iter().enumerate() {
        let head = if at == 0 { "remedy" } else { "" };
        let _ = writeln!(text, "  {head:9}  {command}");
    }
    let _ = writeln!(text, "  {:9}  ({proof})", "");
    for (at, command) in remedy.undo.iter().enumerate() {
        let head = if at == 0 { "undo" } else { "" };
        let _ = writeln!(text, "  {head:9}  {command}");
    }
    if let Some(note) = &remedy.note {
        let _ = writeln!(text, "  {:9}  {note}", "");
    }
}

fn undecided(explanation: &Explanation, cause: Option<Cause>) -> &'static str {
    match explanation.seen {
        RulesSeen::Inferred if cause == Some(Cause::Rejected) => {
            "refused by this host's firewall; by which rule was not seen"
        }
        RulesSeen::Inferred if cause.is_some_and(Cause::is_firewall) => {
            "dropped by this host's firewall; by which rule was not seen"
        }
        RulesSeen::Rules if explanation.confirmed_by.is_empty() => {
            "no rule is named, because it is not certain"
        }
        RulesSeen::Rules => "no rule stops it",
        _ => "the rules were not seen",
    }
}

/// `static+twin (no counters: firewalld)`
fn confirmation(explanation: &Explanation) -> String {
    let word = |method: &Method| match method {
        Method::Static => "static",
        Method::Twin => "twin",
        Method::Counters => "counters",
    };
    let methods = explanation.confirmed_by.iter().map(word).collect::<Vec<_>>().join("+");
    match &explanation.no_counters {
        Some(why) => format!("{methods} (no counters: {why})"),
        None => methods,
    }
}

fn walk(text: &mut String, packet: &WalkedPacket) {
    let whose = match packet.packet.as_str() {
        "syn" => "SYN of the sandbox",
        "syn_ack" => "SYN-ACK of the host",
        "ack" => "ACK of the sandbox",
        "answer_ack" => "ACK of the host",
        "answer" => "answer of the service",
        _ => "data of the sandbox",
    };
    let _ = writeln!(text, "  {whose}");
    for step in &packet.steps {
        let mark = if step.decides { "=>" } else { "  " };
        let counted = step.counted.map_or_else(String::new, |packets| format!("  (+{packets})"));
        let policy = step.effect.starts_with("policy");
        let effect = if policy { String::new() } else { format!("  -> {}", step.effect) };
        let _ = writeln!(text, "  {mark} {}{effect}{counted}", step.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::{Leg, Setting, Station, StepSeen, Suspect, SuspectTool};

    fn explanation() -> Explanation {
        let step = |place: &str, effect: &str, decides| StepSeen {
            place: place.to_owned(),
            effect: effect.to_owned(),
            counted: Some(3),
            decides,
        };
        Explanation {
            port: 8080,
            seen: RulesSeen::Rules,
            decided: Some(Decided {
                effect: "dropped".to_owned(),
                packet: "syn".to_owned(),
                backend: "nft".to_owned(),
                family: "ip".to_owned(),
                table: "filter".to_owned(),
                chain: "INPUT".to_owned(),
                rule: None,
                text: "policy DROP".to_owned(),
                setting: Some(Setting {
                    text: "DEFAULT_INPUT_POLICY=\"DROP\" (ufw default deny incoming)".to_owned(),
                    file: Some("/etc/default/ufw".to_owned()),
                }),
            }),
            confirmed_by: vec![Method::Static, Method::Twin, Method::Counters],
            way: vec![
                leg(Station::Sandbox, "172.18.0.2", None),
                leg(Station::Bridge, "br-0123456789ab", None),
                leg(Station::Hook, "prerouting", None),
                leg(Station::Hook, "input", Some("dropped: ip filter INPUT policy")),
                leg(Station::Socket, "172.18.0.1:8080", None),
            ],
            walk: vec![WalkedPacket {
                packet: "syn".to_owned(),
                steps: vec![
                    step("ip filter INPUT rule 1: -j ufw-before-input", "to ufw-before-input", false),
                    step("ip filter INPUT policy DROP", "policy: drop", true),
                ],
            }],
            remedies: vec![TriedRemedy {
                commands: vec!["ufw allow from 172.18.0.0/16 to 172.18.0.1 port 8080 proto tcp".to_owned()],
                undo: vec![
                    "ufw delete allow from 172.18.0.0/16 to 172.18.0.1 port 8080 proto tcp".to_owned(),
                ],
                proven: true,
                controls: 6,
                opens_too: Vec::new(),
                ufw: None,
                note: None,
            }],
            ..Explanation::default()
        }
    }

    fn leg(station: Station, name: &str, stopped: Option<&str>) -> Leg {
        Leg { station, name: name.to_owned(), answer: false, stopped: stopped.map(str::to_owned) }
    }

    fn rendered(explanation: &Explanation, walks: bool) -> String {
        let mut text = String::new();
        render(&mut text, "8080 gateway", Some(Cause::Dropped), explanation, walks);
        text
    }

    #[test]
    fn the_rule_comes_first_and_the_walk_ends_with_it() {
        insta::assert_snapshot!(rendered(&explanation(), true));
    }

    #[test]
    fn a_check_names_the_rule_and_where_there_is_more() {
        insta::assert_snapshot!(rendered(&explanation(), false));
    }

    #[test]
    fn why_counters_say_nothing_is_said() {
        let mut silent = explanation();
        silent.confirmed_by.pop();
        silent.no_counters = Some("--no-packets".to_owned());
        let text = rendered(&silent, true);
        assert!(text.contains("  confirmed  static+twin (no counters: --no-packets)\n"), "{text}");
    }

    #[test]
    fn what_is_inferred_is_marked_so_and_is_no_rule() {
        let inferred = Explanation {
            port: 8080,
            seen: RulesSeen::Inferred,
            suspects: vec![Suspect {
                tool: SuspectTool::Ufw,
                text: "UFW is enabled and drops what comes in unless one of its rules allows it".to_owned(),
                files: vec!["/etc/ufw/ufw.conf".to_owned(), "/etc/default/ufw".to_owned()],
                inferred: true,
            }],
            way: vec![
                leg(Station::Sandbox, "172.18.0.2", None),
                leg(Station::Bridge, "br-0123456789ab", None),
                leg(Station::Firewall, "firewall", Some("dropped")),
                leg(Station::Socket, "172.18.0.1:8080", None),
            ],
            notes: vec![
                "only root may read the rules: sudo openshell-probe explain --port 8080=gateway".to_owned(),
            ],
            ..Explanation::default()
        };
        insta::assert_snapshot!(rendered(&inferred, true));
    }

    #[test]
    fn what_is_not_certain_names_no_rule() {
        let mut uncertain = explanation();
        (uncertain.decided, uncertain.confirmed_by, uncertain.remedies) = (None, Vec::new(), Vec::new());
        uncertain.notes = vec!["the rules changed while the check ran: run it again".to_owned()];
        let text = rendered(&uncertain, false);
        assert!(
            text.contains(
                "8080 gateway: no rule is named, because it is not certain\n  note       the rules changed"
            ),
            "{text}"
        );
    }
}

//! One scenario: its targets with the way of the packet, the rule, the evidence and the remedy; and what was done when.

use std::fmt::Write as _;

use probe::{Dial, Explanation, Outcome, PortEvidence, Report, TargetReport};

use super::html::{seconds, text};
use super::overview::{attributes, badge};
use super::picture::{picture, rule, stations};
use crate::results::{ScenarioResult, Status, TargetResult};
use crate::scenario::{Step, word};

pub(super) fn case(page: &mut String, index: usize, scenario: &ScenarioResult) {
    let open = if scenario.status.is_failure() { " open" } else { "" };
    let _ = write!(
        page,
        "<details class=\"case\" {}{open}>\n<summary><h3>{}</h3> ",
        attributes(index, scenario),
        text(&scenario.name)
    );
    match scenario.status {
        Status::Skipped => page.push_str("<span class=\"badge v-none\">skipped</span>"),
        Status::Error => page.push_str("<span class=\"badge wrong v-none\">✗ not run to its end</span>"),
        Status::Ok | Status::Wrong => {
            scenario.targets.iter().for_each(|target| page.push_str(&badge(target)))
        }
    }
    let sources = scenario.source.join(", ");
    let _ = write!(
        page,
        "</summary>\n<p class=\"title\">{}</p>\n<p class=\"quiet\">{}<br>class {}, route {}, firewall {}, lifecycle {}; from {}</p>\n",
        text(&scenario.title),
        text(&scenario.path.to_string_lossy()),
        text(&scenario.cause),
        text(scenario.route),
        text(scenario.firewall),
        text(&scenario.lifecycle),
        text(&sources),
    );
    if let Some(reason) = &scenario.reason {
        let _ = writeln!(page, "<pre class=\"reason\">{}</pre>", text(reason));
    }
    if let Some(folder) = &scenario.folder {
        let folder = folder.to_string_lossy();
        let _ = writeln!(page, "<p>Everything about it: <code>{}</code></p>", text(&folder));
    }
    for target in &scenario.targets {
        self::target(page, scenario, target);
    }
    timings(page, &scenario.steps);
    page.push_str("</details>\n");
}

fn target(page: &mut String, scenario: &ScenarioResult, target: &TargetResult) {
    let at = target.at.as_ref().map(|at| format!(" at {at}")).unwrap_or_default();
    let _ = write!(
        page,
        "<section class=\"target\">\n<h4>{} {}{}</h4>\n",
        target.port,
        text(&target.label),
        text(&at)
    );
    let report = scenario.report(target);
    if let Some((report, answer)) = report {
        picture(page, &stations(report, answer));
        let _ = writeln!(page, "<p>{}</p>", text(&answer.summary));
    }
    if !target.mismatches.is_empty() && scenario.status == Status::Wrong {
        page.push_str("<ul class=\"mismatches\">\n");
        for mismatch in &target.mismatches {
            let _ = writeln!(page, "<li>{}</li>", text(mismatch));
        }
        page.push_str("</ul>\n");
    }
    page.push_str("<dl>\n");
    fact(page, "expected", &target.expected);
    fact(page, "found", &target.found);
    let detail = target.oracle_detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
    fact(page, "a real sandbox", &format!("{}{detail}", target.oracle));
    if let Some((report, answer)) = report {
        let port = report.evidence.ports.iter().find(|port| port.target.port == answer.port);
        if let Some(decided) = answer.explanation.as_ref().and_then(|it| it.decided.as_ref()) {
            fact(page, "rule", &format!("{} by {}", decided.effect, rule(decided)));
            if !decided.text.is_empty() {
                code(page, "as it is written", [decided.text.as_str()]);
            }
            if let Some(setting) = &decided.setting {
                let file = setting.file.as_ref().map(|file| format!(", {file}")).unwrap_or_default();
                fact(page, "set by", &format!("{}{file}", setting.text));
            }
        }
        let grounds: Vec<String> =
            answer.because.iter().map(|ground| word(ground).replace('_', " ")).collect();
        if !grounds.is_empty() {
            fact(page, "because", &format!("{} ({})", grounds.join(", "), word(&answer.confidence)));
        }
        remedies(page, answer);
        if let Some(port) = port {
            evidence(page, report, port);
        }
    }
    page.push_str("</dl>\n");
    if let Some(explanation) = report.and_then(|(_, answer)| answer.explanation.as_ref()) {
        walk(page, explanation);
    }
    page.push_str("</section>\n");
}

fn remedies(page: &mut String, answer: &TargetReport) {
    let tried = answer.explanation.iter().flat_map(|explanation| &explanation.remedies);
    let mut proven = false;
    for remedy in tried.filter(|remedy| remedy.proven) {
        proven = true;
        code(page, "remedy, proven in a twin", remedy.commands.iter().map(String::as_str));
        code(page, "what takes it back", remedy.undo.iter().map(String::as_str));
    }
    let Some(remedy) = &answer.remedy else {
        answer.hints.iter().for_each(|hint| fact(page, "hint", hint));
        return;
    };
    if !proven {
        code(page, "remedy", [remedy.text.as_str()]);
    }
    answer.hints.iter().filter(|hint| **hint != remedy.text).for_each(|hint| fact(page, "hint", hint));
}

fn evidence(page: &mut String, report: &Report, port: &PortEvidence) {
    for (title, dial) in [("a sandbox's dial", &port.sandbox), ("the host's own dial", &port.host)] {
        if let Some(dial) = dial {
            fact(page, title, &dialled(dial));
        }
    }
    if let Some(next_hop) = &report.evidence.next_hop {
        let answers = if next_hop.complete { "answers ARP" } else { "does not answer ARP" };
        fact(page, "next hop", &format!("{} on {} {answers}", next_hop.address, next_hop.device));
    }
    if !port.published_by.is_empty() {
        fact(page, "published by", &port.published_by.join(", "));
    }
    if let Some(engine) = &report.evidence.engine {
        fact(page, "engine", &format!("Docker {}", engine.version));
    }
    if let Some(firewall) = &report.firewall {
        fact(page, "firewall", &format!("{}: {}", word(&firewall.tool), firewall.known_from));
    }
}

fn dialled(dial: &Dial) -> String {
    let outcome = match &dial.outcome {
        Outcome::Connected => "connected".to_owned(),
        Outcome::TimedOut => "no answer".to_owned(),
        Outcome::Failed { name, .. } => name.clone(),
    };
    let mut words = format!("{}:{} {outcome} after {} ms", dial.address, dial.port, dial.elapsed_us / 1000);
    if dial.unanswered > 0 {
        let _ = write!(words, ", {} SYNs of {} sockets unanswered", dial.unanswered, dial.sockets);
    }
    if let Some(icmp) = dial.refusal() {
        let _ = write!(words, ", refused by ICMP {}/{}", icmp.kind, icmp.code);
    }
    for greeted in &dial.greetings {
        let kind = greeted.kind.as_ref().map_or_else(|| "nothing".to_owned(), word);
        let _ = write!(words, "; greeted with {}, answered with {kind}", word(&greeted.greeting));
    }
    words
}

fn walk(page: &mut String, explanation: &Explanation) {
    if explanation.walk.is_empty() && explanation.notes.is_empty() {
        return;
    }
    let methods: Vec<String> = explanation.confirmed_by.iter().map(word).collect();
    let confirmed = if methods.is_empty() { "nobody".to_owned() } else { methods.join(", ") };
    let _ = writeln!(
        page,
        "<details class=\"walk\"><summary>The way through the rules, said by {}</summary>",
        text(&confirmed)
    );
    for packet in &explanation.walk {
        let _ = write!(page, "<p>{}</p>\n<ol class=\"steps\">\n", text(&packet.packet));
        for step in &packet.steps {
            let class = if step.decides { " class=\"decides\"" } else { "" };
            let counted = step.counted.map(|counted| format!(" (+{counted})")).unwrap_or_default();
            let _ = writeln!(
                page,
                "<li{class}><code>{}</code> → {}{counted}</li>",
                text(&step.place),
                text(&step.effect)
            );
        }
        page.push_str("</ol>\n");
    }
    for note in &explanation.notes {
        let _ = writeln!(page, "<p class=\"quiet\">{}</p>", text(note));
    }
    page.push_str("</details>\n");
}

fn timings(page: &mut String, steps: &[Step]) {
    let whole = steps.iter().map(|step| step.at_ms + step.took_ms).max().unwrap_or(0).max(1);
    page.push_str(
        "<details class=\"timings\"><summary>What was done when</summary>\n<table>\n<thead><tr><th scope=\"col\">Step</th>\
         <th scope=\"col\" class=\"number\">Begun</th><th scope=\"col\" class=\"number\">Took</th></tr></thead>\n<tbody>\n",
    );
    for step in steps {
        let line = step.line.map(|line| format!("line {line}: ")).unwrap_or_default();
        let failed = if step.done { "" } else { " ✗ failed" };
        // A thousandth of the width is the least that is seen.
        let (from, width) = (step.at_ms * 1000 / whole, (step.took_ms * 1000 / whole).max(4));
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{}{}{failed}<svg class=\"bar\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
             <rect x=\"{from}\" width=\"{width}\" height=\"10\"/></svg></th><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
            text(&line),
            text(&step.what),
            seconds(step.at_ms),
            seconds(step.took_ms)
        );
    }
    page.push_str("</tbody>\n</table>\n</details>\n");
}

fn fact(page: &mut String, name: &str, value: &str) {
    let _ = writeln!(page, "<dt>{name}</dt><dd>{}</dd>", text(value));
}

fn code<'a>(page: &mut String, name: &str, lines: impl IntoIterator<Item = &'a str>) {
    let lines: Vec<&str> = lines.into_iter().collect();
    let _ = writeln!(page, "<dt>{name}</dt><dd><pre>{}</pre></dd>", text(&lines.join("\n")));
}

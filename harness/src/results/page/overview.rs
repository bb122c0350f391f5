//! All scenarios at a glance: scenarios by targets, and what narrows them down.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::html::{seconds, text};
use crate::results::{Results, ScenarioResult, Status, TargetResult};

/// The two that nearly every scenario has are columns of their own.
const COLUMNS: [(u16, &str); 2] = [(8080, "8080 gateway"), (11435, "11435 ollama-proxy")];

/// Hidden until the script shows it: without one it does nothing.
pub(super) fn filters(page: &mut String, results: &Results) {
    page.push_str(
        "<form id=\"filters\" class=\"filters\" role=\"search\" aria-label=\"Scenarios\" hidden>\n\
         <label>Search <input type=\"search\" id=\"search\" autocomplete=\"off\" placeholder=\"name, cause, rule …\"></label>\n\
         <label>Result <select id=\"result\"><option value=\"\">all</option><option value=\"failure\">wrong</option>\
         <option value=\"ok\">as expected</option><option value=\"skipped\">skipped</option></select></label>\n",
    );
    let verdicts =
        results.scenarios.iter().flat_map(|one| &one.targets).filter_map(|one| Some(verdict(one)?.0));
    select(page, "verdict", "Verdict", verdicts.collect());
    select(page, "firewall", "Firewall", results.scenarios.iter().map(|one| one.firewall).collect());
    page.push_str(
        "<button type=\"reset\">Clear</button>\n<output id=\"shown\" aria-live=\"polite\"></output>\n</form>\n",
    );
}

fn select(page: &mut String, id: &str, label: &str, values: BTreeSet<&str>) {
    let _ = write!(page, "<label>{label} <select id=\"{id}\"><option value=\"\">all</option>");
    for value in values {
        let _ = write!(page, "<option>{}</option>", text(value));
    }
    page.push_str("</select></label>\n");
}

pub(super) fn table(page: &mut String, results: &Results) {
    // The roles stay when a narrow screen makes blocks of the cells.
    page.push_str(
        "<section aria-labelledby=\"overview\">\n<h2 id=\"overview\">Overview</h2>\n\
         <table class=\"overview\" role=\"table\">\n<caption class=\"quiet\">What the probe says of each target, and whether that is what the scenario expects</caption>\n\
         <thead role=\"rowgroup\"><tr role=\"row\"><th scope=\"col\" role=\"columnheader\">Scenario</th>",
    );
    for (_, title) in COLUMNS {
        let _ = write!(page, "<th scope=\"col\" role=\"columnheader\">{title}</th>");
    }
    page.push_str(
        "<th scope=\"col\" role=\"columnheader\">Others</th><th scope=\"col\" role=\"columnheader\">Firewall</th>\
         <th scope=\"col\" role=\"columnheader\" class=\"number\">Time</th></tr></thead>\n<tbody role=\"rowgroup\">\n",
    );
    for (index, scenario) in results.scenarios.iter().enumerate() {
        row(page, index, scenario);
    }
    page.push_str("</tbody>\n</table>\n</section>\n");
}

fn row(page: &mut String, index: usize, scenario: &ScenarioResult) {
    let _ = write!(
        page,
        "<tr role=\"row\" data-case=\"{index}\"><th scope=\"row\" role=\"rowheader\"><a href=\"#case-{index}\">{}</a></th>",
        text(&scenario.name)
    );
    for (port, title) in COLUMNS {
        cell(page, title, scenario.targets.iter().filter(|target| target.port == port));
    }
    let other = |target: &&TargetResult| !COLUMNS.iter().any(|(port, _)| *port == target.port);
    cell(page, "Others", scenario.targets.iter().filter(other));
    let _ = writeln!(
        page,
        "<td role=\"cell\" data-title=\"Firewall\">{}</td><td role=\"cell\" data-title=\"Time\" class=\"number\">{}</td></tr>",
        text(scenario.firewall),
        seconds(scenario.elapsed_ms)
    );
}

fn cell<'a>(page: &mut String, title: &str, targets: impl Iterator<Item = &'a TargetResult>) {
    let mut badges = String::new();
    for target in targets {
        badges.push_str(&badge(target));
    }
    let class = if badges.is_empty() { " class=\"empty\"" } else { "" };
    let _ = write!(page, "<td role=\"cell\" data-title=\"{title}\"{class}>{badges}</td>");
}

/// The verdict's colour and words, and a mark that can be read without colour.
pub(super) fn badge(target: &TargetResult) -> String {
    let (class, _) = class(target);
    let others = !COLUMNS.iter().any(|(port, _)| *port == target.port);
    let mut before = if others { format!("{} ", target.port) } else { String::new() };
    if let Some(at) = &target.at {
        let _ = write!(before, "{at}: ");
    }
    let (mark, words) = if target.mismatches.is_empty() { ("", "") } else { (" wrong", "✗ wrong: ") };
    format!("<span class=\"badge {class}{mark}\">{}{words}{}</span> ", text(&before), text(&target.found))
}

/// The word of the verdict and the class that gives it a colour.
fn verdict(target: &TargetResult) -> Option<(&'static str, &'static str)> {
    use probe::Verdict;
    Some(match target.verdict? {
        Verdict::Ok => ("ok", "v-ok"),
        Verdict::TcpFailed => ("tcp_failed", "v-failed"),
        Verdict::WrongService => ("wrong_service", "v-other"),
        Verdict::NetworkNotFound => ("network_not_found", "v-missing"),
        Verdict::ProbeUnavailable => ("probe_unavailable", "v-unknown"),
        Verdict::Skipped => ("skipped", "v-none"),
        _ => ("other", "v-none"),
    })
}

fn class(target: &TargetResult) -> (&'static str, &'static str) {
    verdict(target).map_or(("v-none", ""), |(word, class)| (class, word))
}

/// What the script filters by.
pub(super) fn attributes(index: usize, scenario: &ScenarioResult) -> String {
    let verdicts: BTreeSet<&str> = scenario.targets.iter().filter_map(|one| Some(verdict(one)?.0)).collect();
    let verdicts = verdicts.into_iter().collect::<Vec<_>>().join(" ");
    let result = match scenario.status {
        Status::Ok => "ok",
        Status::Wrong | Status::Error => "failure",
        Status::Skipped => "skipped",
    };
    format!(
        "id=\"case-{index}\" data-result=\"{result}\" data-verdicts=\"{verdicts}\" data-firewall=\"{}\"",
        text(scenario.firewall)
    )
}

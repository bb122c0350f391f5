//! What the fuzzing covers and what it came to, as a page: `docs/fuzz.md`.
//!
//! What is generated is counted anew from the seeds each time, and so are the regressions. What came of it takes minutes and is
//! taken from the page, which says for which generated rules it was: other rules make the page out of date.

use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::generate::{Case, Tool, case};
use super::{Tally, regressions};
use anyhow::{Context, Result};
use ruleset::Family;

/// The seeds of the page's run.
pub const SEEDS: std::ops::RangeInclusive<u64> = 1..=2000;

/// Where the part begins that only a run can write.
const MEASURED: &str = "## What came of it\n";

/// What is counted: its name, and the words that a case's text has of it.
const COVERED: [(&str, &[&str]); 28] = [
    (
        "DNAT to the host's own address or port",
        &[
            "dnat ip to 10.99.0.1",
            "dnat ip to 10.98.0.1",
            "dnat ip6 to [fd99::1]",
            "dnat ip6 to fd98::1",
            "to-destination 10.99.0.1",
            "to-destination 10.98.0.1",
            "to-destination fd99::1",
            "to-destination fd98::1",
            "to-destination [fd99",
            "to-destination [fd98::1",
            "to-destination :",
        ],
    ),
    (
        "DNAT to a neighbour",
        &[
            "dnat ip to 10.98.0.2",
            "dnat ip6 to fd98::2",
            "dnat ip6 to [fd98::2]",
            "to-destination 10.98.0.2",
            "to-destination fd98::2",
            "to-destination [fd98::2]",
        ],
    ),
    ("DNAT to the loopback network", &["127.0.0.1"]),
    ("REDIRECT", &["REDIRECT", "redirect"]),
    ("MASQUERADE", &["MASQUERADE", "masquerade"]),
    ("SNAT", &["--to-source", "snat ip"]),
    (
        "SNAT of what the host's own sockets see",
        &[
            "to-source 10.98.0.2",
            "to-source 10.99",
            "to-source fd98::2",
            "to-source fd99",
            "snat ip to 10.98.0.2",
            "snat ip to 10.99",
            "snat ip6 to fd98::2",
            "snat ip6 to fd99",
        ],
    ),
    ("chains that others call", &["-j one", "-j two", "-j three", "-j four", "jump "]),
    ("goto", &["-g ", "goto "]),
    ("return", &["-j RETURN", "return"]),
    ("negation", &["! -", "!= "]),
    ("connection states", &["--ctstate", "--state", "ct state"]),
    ("notrack", &["notrack"]),
    ("packet marks", &["MARK --", "--mark", "meta mark"]),
    ("connection marks", &["CONNMARK", "connmark", "ct mark"]),
    ("a mark from the connection's", &["meta mark set ct mark"]),
    ("kinds of addresses", &["addrtype", "fib "]),
    ("named sets", &["--match-set", "@"]),
    ("maps of verdicts", &["vmap"]),
    ("several ports at once", &["multiport", "dport {"]),
    ("rates", &["-m limit", "hashlimit", "limit rate"]),
    ("recent addresses", &["-m recent"]),
    ("a bridge's port", &["physdev"]),
    ("lengths", &["meta length"]),
    ("time to live", &["--ttl", "--hl"]),
    ("TCP flags", &["tcp-flags", "tcp flags", "--syn"]),
    ("refusals", &["REJECT", "reject"]),
    ("a policy that drops", &[" DROP [", "policy drop"]),
];

/// What only a run can say.
#[must_use]
pub fn measured(tally: &Tally, seconds: u64) -> String {
    let undetermined: usize = tally.undetermined.values().sum();
    let all = tally.same + undetermined + tally.different.len() + tally.refused.len();
    let mut text = format!(
        "Seeds {} to {}, rules {}: {all} cases in {seconds} s on two cores; {} agree, {} differ without an explanation, {} were \
         refused by the tool, {undetermined} ({:.1} %) are not determined by the rules alone.\n\n| what the rules lead to | cases |\n|---|---:|\n",
        SEEDS.start(),
        SEEDS.end(),
        fingerprint(),
        tally.same,
        tally.different.len(),
        tally.refused.len(),
        undetermined as f64 * 100.0 / all.max(1) as f64,
    );
    for (outcome, times) in &tally.outcomes {
        let _ = writeln!(text, "| {outcome} | {times} |");
    }
    for (why, times) in &tally.undetermined {
        let _ = writeln!(text, "| not determined: {why} | {times} |");
    }
    text
}

/// The page, with what a run has said.
///
/// # Errors
/// When a regression cannot be read.
pub fn page(measured: &str) -> Result<String> {
    let cases: Vec<Case> = SEEDS.map(case).collect();
    let share = |wanted: &dyn Fn(&Case) -> bool| cases.iter().filter(|it| wanted(it)).count();
    let mut text = format!(
        "# Differential fuzzing of the evaluated rules\n\n\
         Written by `scripts/fuzz-report`; `cargo nextest run -p openshell-e2e -E 'binary(fuzz)'` checks that it is still so.\n\n\
         A seed makes rules, real tools load them into a host's namespace, and a sandbox dials a port through them. Three answers\n\
         about the dial have to agree: what `openshell-ruleset` predicts from the rules' text, step by step; what the kernel's own\n\
         trace says of the handshake, the first data, their acknowledgement and the answer; and what the one who dialled saw, including\n\
         which socket answered. A translated connection is followed to the host's socket or through what the host passes on to a\n\
         neighbour's.\n\n\
         `ci` runs the 200 cases from seed 1 (`OPENSHELL_FUZZ_SEED` names another), the profile `long`\n\
         2000 from the clock.\n\n## What is generated\n\nOf the {} cases with the seeds {} to {}:\n\n| what | cases |\n|---|---:|\n",
        cases.len(),
        SEEDS.start(),
        SEEDS.end()
    );
    let mut row = |what: &str, cases: usize| {
        let _ = writeln!(text, "| {what} | {cases} |");
    };
    row("iptables-nft, IPv4", share(&|it| it.tool == Tool::Iptables && it.family == Family::Ip));
    row("ip6tables-nft, IPv6", share(&|it| it.tool == Tool::Iptables && it.family == Family::Ip6));
    row("nft, IPv4", share(&|it| it.tool == Tool::Nft && it.family == Family::Ip));
    row("nft, IPv6", share(&|it| it.tool == Tool::Nft && it.family == Family::Ip6));
    row("bridges that ask iptables", share(&|it| it.bridge_nf));
    for (what, words) in COVERED {
        row(what, share(&|it| words.iter().any(|word| it.text.contains(word))));
    }
    let rules = |it: &Case| it.text.lines().filter(|line| is_rule(line)).count();
    let most = cases.iter().map(rules).max().unwrap_or_default();
    let _ = writeln!(
        text,
        "\nA case has {} rules on average and {most} at most.\n\n{MEASURED}\n{measured}",
        cases.iter().map(rules).sum::<usize>() / cases.len().max(1)
    );
    text += "## What was found\n\nEach difference that was ever found is a case of its own, `e2e/src/fuzz/regressions`, and is tried in every run.\n\n\
             | case | now | what it was |\n|---|---|---|\n";
    for it in regressions()? {
        let now = if it.agrees { "agrees" } else { "differs, by a fault of the tool" };
        let _ = writeln!(text, "| `{}` | {now} | {} |", it.name, it.why);
    }
    Ok(text)
}

/// What a page says of its run, if that was of the rules that are generated today.
///
/// # Errors
/// When the page has no such part, or it is of other rules.
pub fn measured_of(page: &str) -> Result<&str> {
    let (_, after) = page.split_once(MEASURED).context("the page says nothing of a run")?;
    let (measured, _) = after.split_once("\n## ").context("the page ends after its run")?;
    let wanted = format!("rules {}:", fingerprint());
    let measured = measured.trim_start();
    measured
        .contains(&wanted)
        .then_some(measured)
        .context("other rules are generated now: scripts/fuzz-report")
}

fn is_rule(line: &str) -> bool {
    line.starts_with("-A") || (line.starts_with("    ") && !line.contains("type"))
}

/// What tells these cases from others.
fn fingerprint() -> String {
    let mut hasher = DefaultHasher::new();
    for it in SEEDS.map(case) {
        it.text.hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

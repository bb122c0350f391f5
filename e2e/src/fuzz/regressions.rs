//! Rules that once showed something: a fault of the prediction, of a tool, or of this comparison.
//!
//! The first line of a file says for which IP version and tool it is, what has to come of it, and why. One that has to be
//! `different` is a fault that is known; when it is mended, the line says `same`.

use anyhow::{Context, Result, bail};
use ruleset::Family;

use super::generate::{Case, Tool};

const FILES: [(&str, &str); 18] = [
    ("answer-after-the-handshake", include_str!("regressions/answer-after-the-handshake.rules")),
    ("answer-before-conntrack", include_str!("regressions/answer-before-conntrack.rules")),
    ("answer-to-what-a-socket-sees", include_str!("regressions/answer-to-what-a-socket-sees.rules")),
    ("both-ends-translated", include_str!("regressions/both-ends-translated.rules")),
    ("changed-ttl", include_str!("regressions/changed-ttl.rules")),
    ("mark-of-no-connection", include_str!("regressions/mark-of-no-connection.rules")),
    ("mark-set-for-no-connection", include_str!("regressions/mark-set-for-no-connection.rules")),
    ("nat-without-conntrack", include_str!("regressions/nat-without-conntrack.rules")),
    ("notrack-needs-no-conntrack", include_str!("regressions/notrack-needs-no-conntrack.rules")),
    ("rate-of-a-drop", include_str!("regressions/rate-of-a-drop.rules")),
    ("rate-of-an-accept", include_str!("regressions/rate-of-an-accept.rules")),
    ("refused-acknowledgement", include_str!("regressions/refused-acknowledgement.rules")),
    ("refused-for-both-versions", include_str!("regressions/refused-for-both-versions.rules")),
    ("refused-where-nobody-listens", include_str!("regressions/refused-where-nobody-listens.rules")),
    (
        "translation-brings-no-other-conntrack",
        include_str!("regressions/translation-brings-no-other-conntrack.rules"),
    ),
    ("translation-of-the-other-version", include_str!("regressions/translation-of-the-other-version.rules")),
    ("two-tcp-matches", include_str!("regressions/two-tcp-matches.rules")),
    ("unmade-chain", include_str!("regressions/unmade-chain.rules")),
];

/// A case and what has to come of it.
#[derive(Clone, Debug)]
pub struct Regression {
    /// The file's name, without its end.
    pub name: &'static str,
    /// The rules.
    pub case: Case,
    /// Whether the three answers agree.
    pub agrees: bool,
    /// What it shows.
    pub why: &'static str,
}

/// All of them.
///
/// # Errors
/// When a file's first line is not as it has to be.
pub fn regressions() -> Result<Vec<Regression>> {
    FILES.iter().map(|(name, text)| read(name, text).context(*name)).collect()
}

fn read(name: &'static str, text: &'static str) -> Result<Regression> {
    let line = text.lines().next().and_then(|line| line.strip_prefix("# ")).context("no first line")?;
    let (words, why) = line.split_once(": ").context("no reason")?;
    let words: Vec<_> = words.split(' ').collect();
    let [family, tool, result] = words.as_slice() else { bail!("not three words: {line}") };
    let family = match *family {
        "ip" => Family::Ip,
        "ip6" => Family::Ip6,
        other => bail!("not an IP version: {other}"),
    };
    let tool = match *tool {
        "iptables" => Tool::Iptables,
        "nft" => Tool::Nft,
        other => bail!("not a tool: {other}"),
    };
    let agrees = match *result {
        "same" => true,
        "different" => false,
        other => bail!("not a result: {other}"),
    };
    let flush = if tool == Tool::Nft { "flush ruleset\n" } else { "" };
    Ok(Regression {
        name,
        case: Case { seed: 0, family, tool, bridge_nf: false, text: format!("{flush}{text}") },
        agrees,
        why,
    })
}

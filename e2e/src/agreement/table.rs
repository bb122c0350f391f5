//! Who says which rule decided, a row for each target: `docs/agreement.md`.
//!
//! The tests that ask everybody compare their own rows with the page's, so that it takes no host of its own to see that the page
//! is still so.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::Layer;

/// Writes the rows anew instead of comparing them: `scripts/agreement-table`.
const UPDATE: &str = "OPENSHELL_UPDATE_AGREEMENT";

const HEAD: &str = "# Firewalls, and who agrees about the rule

Written by `scripts/agreement-table` from a real run; the tests that make the hosts compare their own rows with these
(`binary(scenarios)`, `binary(explain)` of `openshell-e2e`).

For each target that a firewall stops: the rule or policy that decides, and who says so. *predict* is the evaluation of the
captured rules, *twin* the kernel's trace of the same rules replayed in a twin, *counters* the rules' own counts on the host,
*trace* the kernel's trace of a dial on the very host, *socket* what the one who dialled felt. `-` is nobody's word: counters are
asked about the first packet only, and rules without a counter have none; `e2e/src/agreement/silent.rs` has the other reasons.
Hosts of `explain/` are not dialled beside the check, so that they have no trace.

| host | port | rule | packet | predict | twin | counters | trace | socket |
|---|---:|---|---|---|---|---|---|---|
";

/// A target's row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    /// The scenario's or situation's name.
    pub host: String,
    /// The target's port.
    pub port: u16,
    /// Backend, table, chain and number.
    pub rule: String,
    /// Whose packet it stopped.
    pub packet: String,
    /// Who says so.
    pub layers: BTreeSet<Layer>,
    /// What the one who dialled felt; nothing where nobody dialled beside the check.
    pub socket: Option<&'static str>,
}

impl Row {
    fn line(&self) -> String {
        let Self { host, port, rule, packet, layers, socket } = self;
        let word = |layer| if layers.contains(&layer) { "yes" } else { "-" };
        let said = [Layer::Static, Layer::Twin, Layer::Counters, Layer::Trace].map(word).join(" | ");
        format!("| {host} | {port} | {rule} | {packet} | {said} | {} |", socket.unwrap_or("-"))
    }
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/agreement.md")
}

/// Compares a host's rows with the page's, or writes them into it.
///
/// # Errors
/// When they differ, or the page cannot be read.
pub fn check(host: &str, rows: &[Row]) -> Result<()> {
    let lines: Vec<String> = rows.iter().map(Row::line).collect();
    if std::env::var_os(UPDATE).is_some() {
        return write(host, &lines);
    }
    let page = fs::read_to_string(page()).context("docs/agreement.md")?;
    let written: Vec<&str> = page.lines().filter(|line| is_of(line, host)).collect();
    ensure!(
        written == lines,
        "docs/agreement.md says {written:#?} of {host}, and it is {lines:#?}: scripts/agreement-table"
    );
    Ok(())
}

/// The hosts that the page has rows of.
///
/// # Errors
/// When the page cannot be read.
pub fn hosts() -> Result<BTreeSet<String>> {
    let page = fs::read_to_string(page()).context("docs/agreement.md")?;
    let rows =
        page.strip_prefix(HEAD).context("docs/agreement.md has another head: scripts/agreement-table")?;
    Ok(rows
        .lines()
        .filter_map(|line| Some(line.split(" | ").next()?.trim_start_matches("| ").to_owned()))
        .collect())
}

fn is_of(line: &str, host: &str) -> bool {
    line.starts_with(&format!("| {host} |"))
}

/// Tests run in processes of their own, several at once.
fn write(host: &str, lines: &[String]) -> Result<()> {
    let lock = File::create(std::env::temp_dir().join("openshell-agreement.lock"))?;
    lock.lock()?;
    let old = fs::read_to_string(page()).unwrap_or_default();
    let rows = old.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| host |"));
    let mut rows: BTreeSet<String> = rows.filter(|line| !is_of(line, host)).map(str::to_owned).collect();
    rows.extend(lines.iter().cloned());
    let mut text = HEAD.to_owned();
    for row in rows {
        let _ = writeln!(text, "{row}");
    }
    fs::write(page(), text).context("docs/agreement.md")
}

//! The rules of this host, all backends at one go, read-only.
//!
//! Both backends of iptables can be live at once, and nft shows the tables of iptables-nft without their matches: so the
//! `-save` programs are asked about those, and nft about its own. A bare `-save` names no table: `iptables-legacy -S` and
//! `iptables-legacy-save -t filter` would create the table that they list.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ruleset::{Backend, Family, Ruleset, TableFamily};

use crate::programs::{self, ProgramError};
use crate::sanitize::sanitize;
use crate::textfile;

/// How often it is read again while somebody changes the rules. Docker's own changes at a container's start take a few hundredths
/// of a second.
const ATTEMPTS: usize = 5;
/// How long after an attempt that was in vain, and as much longer after each.
const PAUSE: Duration = Duration::from_millis(20);
/// The names of the old tables that the kernel has.
const LEGACY_TABLES: &str = "/proc/net/ip_tables_names";

/// What was read.
#[derive(Clone, Debug)]
pub(crate) struct Capture {
    pub(crate) rules: Ruleset,
    /// What could not be read, in words.
    pub(crate) unseen: Vec<String>,
    /// Tables that an IPv4 connection may come by, which the kernel has and nothing here could read.
    pub(super) missing: Vec<String>,
    /// nf_tables' number of this state of its rules.
    generation: Option<u32>,
    pub(super) elapsed: Duration,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaptureError {
    #[error(
        "they changed each of the {ATTEMPTS} times that they were read: run it again when whatever changes them is done"
    )]
    Restless,
    #[error("no program here reads them: install iptables or nftables")]
    NoProgram,
}

/// A program, and what it reads.
struct Reader {
    program: PathBuf,
    arguments: &'static [&'static str],
    what: What,
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Save(Backend, Family),
    Native,
    Sets,
}

impl Capture {
    /// Reads the rules, again when they changed meanwhile.
    pub(crate) async fn take() -> Result<Self, CaptureError> {
        let readers = readers();
        if !readers.iter().any(|it| it.what != What::Sets) {
            return Err(CaptureError::NoProgram);
        }
        let mut pause = PAUSE;
        for _ in 0..ATTEMPTS {
            let before = nftrace::generation().ok();
            let capture = read_all(&readers, before).await;
            if capture.legacy_is_still(&readers).await && nftrace::generation().ok() == before {
                return Ok(capture);
            }
            wait(pause).await;
            pause += PAUSE;
        }
        Err(CaptureError::Restless)
    }

    /// Whether the rules are the same as in the other one, whatever they counted.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same_generation = self.generation == other.generation;
        same_generation && self.rules.digest_input() == other.rules.digest_input()
    }

    /// The old tables have no number of their state: where there are any, they are read twice.
    async fn legacy_is_still(&self, readers: &[Reader]) -> bool {
        let of = |rules: &Ruleset| {
            let tables = rules.tables.iter().filter(|table| table.backend == Backend::Legacy);
            Ruleset { tables: tables.cloned().collect(), ipsets: Vec::new() }
        };
        let first = of(&self.rules);
        if first.tables.is_empty() {
            return true;
        }
        let mut again = Ruleset::default();
        for reader in readers.iter().filter(|it| matches!(it.what, What::Save(Backend::Legacy, _))) {
            // What cannot be read is said already.
            let _ = add(&mut again, reader, programs::read(&reader.program, reader.arguments).await);
        }
        first.digest_input() == again.digest_input()
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing tells when somebody has done with changing rules")]
async fn wait(pause: Duration) {
    tokio::time::sleep(pause).await;
}

async fn read_all(readers: &[Reader], generation: Option<u32>) -> Capture {
    let begun = Instant::now();
    let read = |reader: &Reader| {
        let (program, arguments) = (reader.program.clone(), reader.arguments);
        async move { programs::read(&program, arguments).await }
    };
    let outputs = futures_util::future::join_all(readers.iter().map(read)).await;
    let (mut rules, mut unseen) = (Ruleset::default(), Vec::new());
    for (reader, output) in readers.iter().zip(outputs) {
        if let Err(why) = add(&mut rules, reader, output) {
            unseen.push(why);
        }
    }
    let missing = missing(&rules);
    let mut capture = Capture { rules, unseen, missing, generation, elapsed: Duration::ZERO };
    capture.elapsed = begun.elapsed();
    capture
}

fn add(rules: &mut Ruleset, reader: &Reader, output: Result<Vec<u8>, ProgramError>) -> Result<(), String> {
    let output = output.map_err(|error| error.to_string())?;
    if output.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let added = match reader.what {
        What::Save(backend, family) => rules.add_save(backend, family, &output),
        // A comment may have any bytes, and nft puts them into its JSON as they are.
        What::Native => rules.add_nft_json(String::from_utf8_lossy(&output).as_bytes()),
        What::Sets => rules.add_ipsets(&output),
    };
    added.map_err(|error| format!("{}: {error}", reader.program.display()))
}

/// The tables of the kernel that are not among these, as far as an IPv4 connection may come by them.
fn missing(rules: &Ruleset) -> Vec<String> {
    let mut missing = Vec::new();
    let has = |family: TableFamily, name: &str, legacy: bool| {
        rules.tables.iter().any(|table| {
            table.family == family && table.name == name && (table.backend == Backend::Legacy) == legacy
        })
    };
    for (family, name) in nftrace::tables().unwrap_or_default() {
        let Some(family) = on_the_way(family) else { continue };
        if !has(family, &name, false) {
            missing.push(format!("{family} {}", sanitize(&name)));
        }
    }
    for name in textfile::read(LEGACY_TABLES).unwrap_or_default().lines() {
        if !has(TableFamily::Ip, name, true) {
            missing.push(format!("ip {} (legacy)", sanitize(name)));
        }
    }
    missing
}

fn on_the_way(family: nftrace::Family) -> Option<TableFamily> {
    match family {
        nftrace::Family::Ip => Some(TableFamily::Ip),
        nftrace::Family::Inet => Some(TableFamily::Inet),
        nftrace::Family::Bridge => Some(TableFamily::Bridge),
        nftrace::Family::Netdev => Some(TableFamily::Netdev),
        _ => None,
    }
}

/// Those that are here. Which backend a bare `iptables-save` reads is the system's choice: it is asked only where the programs of
/// both backends are missing, as on systems that know the old one alone.
fn readers() -> Vec<Reader> {
    let reader = |name: &str, arguments: &'static [&'static str], what: What| {
        Some(Reader { program: programs::find(name)?, arguments, what })
    };
    let save = |names: [&str; 3], family: Family| -> Vec<Reader> {
        let counted: &[&str] = &["-c"];
        let known = [
            reader(names[0], counted, What::Save(Backend::Nft, family)),
            reader(names[1], counted, What::Save(Backend::Legacy, family)),
        ];
        let known: Vec<Reader> = known.into_iter().flatten().collect();
        if known.is_empty() {
            return reader(names[2], counted, What::Save(Backend::Legacy, family)).into_iter().collect();
        }
        known
    };
    let mut readers = save(["iptables-nft-save", "iptables-legacy-save", "iptables-save"], Family::Ip);
    readers.extend(save(["ip6tables-nft-save", "ip6tables-legacy-save", "ip6tables-save"], Family::Ip6));
    readers.extend(reader("nft", &["-j", "-a", "list", "ruleset"], What::Native));
    readers.extend(reader("ipset", &["save"], What::Sets));
    readers
}

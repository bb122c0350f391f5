//! The rules of this host, all backends at one go, read-only.
//!
//! Both backends of iptables can be live at once, and nft shows the tables of iptables-nft without their matches: so the
//! `-save` programs are asked about those, and nft about its own. A bare `-save` names no table: `iptables-legacy -S` and
//! `iptables-legacy-save -t filter` would create the table that they list.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ruleset::{Backend, Family, Ruleset, Table, TableFamily};

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
/// The tables that iptables has.
const IPTABLES: [&str; 5] = ["raw", "mangle", "nat", "filter", "security"];
/// So many tables are listed one by one: each takes a process, which reads the whole list of tables.
const MOST_LISTED: usize = 4;

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
    arguments: Vec<String>,
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
        let (readers, nft) = (readers(), programs::find("nft"));
        if nft.is_none() && !readers.iter().any(|it| it.what != What::Sets) {
            return Err(CaptureError::NoProgram);
        }
        let mut pause = PAUSE;
        for _ in 0..ATTEMPTS {
            let before = nftrace::generation().ok();
            let capture = read_all(&readers, nft.as_deref(), before).await;
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
        self.generation == other.generation && self.rules.has_same_rules(&other.rules)
    }

    /// The old tables have no number of their state: where there are any, they are read twice.
    async fn legacy_is_still(&self, readers: &[Reader]) -> bool {
        let is_legacy = |table: &&Table| table.backend == Backend::Legacy;
        if !self.rules.tables.iter().any(|table| is_legacy(&table)) {
            return true;
        }
        let old = readers.iter().filter(|it| matches!(it.what, What::Save(Backend::Legacy, _)));
        let mut again = Ruleset::default();
        for (reader, output) in run(old).await {
            // What cannot be read is said already.
            let _ = add(&mut again, reader, output);
        }
        let first = self.rules.tables.iter().filter(is_legacy);
        let (mut first, mut again) = (first, again.tables.iter());
        loop {
            match (first.next(), again.next()) {
                (None, None) => return true,
                (Some(first), Some(again)) if first.has_same_rules(again) => {}
                _ => return false,
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing tells when somebody has done with changing rules")]
async fn wait(pause: Duration) {
    tokio::time::sleep(pause).await;
}

/// What `-save` shows is asked for that way, and nft only about the other tables: it takes five times as long for those of
/// iptables-nft, and shows less of them.
async fn read_all(readers: &[Reader], nft: Option<&Path>, generation: Option<u32>) -> Capture {
    let begun = Instant::now();
    let there = nftrace::tables();
    let (mut rules, mut unseen) = (Ruleset::default(), Vec::new());
    let add_all = |rules: &mut Ruleset, outputs: Vec<(&Reader, _)>, unseen: &mut Vec<String>| {
        for (reader, output) in outputs {
            if let Err(why) = add(rules, reader, output) {
                unseen.push(why);
            }
        }
    };
    let own = |(family, name): &&(nftrace::Family, String)| !is_shown_by_save(readers, *family, name);
    let first = match (&there, nft) {
        (Ok(there), Some(nft)) => native(nft, there.iter().filter(own).collect()),
        (Err(_), Some(nft)) => vec![whole(nft)],
        (_, None) => Vec::new(),
    };
    add_all(&mut rules, run(readers.iter().chain(&first)).await, &mut unseen);
    // A table of iptables' name may have rules that are none of its own: `-save` shows nothing of it.
    let there = there.unwrap_or_default();
    let left = there.iter().filter(|table| !own(table) && !has(&rules, table.0, &table.1));
    let second = nft.map_or_else(Vec::new, |nft| native(nft, left.collect()));
    add_all(&mut rules, run(second.iter()).await, &mut unseen);
    let missing = missing(&rules, &there);
    Capture { rules, unseen, missing, generation, elapsed: begun.elapsed() }
}

/// What each of them writes. They run at the same time.
async fn run<'a>(
    readers: impl Iterator<Item = &'a Reader>,
) -> Vec<(&'a Reader, Result<Vec<u8>, ProgramError>)> {
    let read = |reader: &'a Reader| async move {
        let arguments: Vec<&str> = reader.arguments.iter().map(String::as_str).collect();
        (reader, programs::read(&reader.program, &arguments).await)
    };
    futures_util::future::join_all(readers.map(read)).await
}

/// Whether a table is one that a `-save` program here shows, if all that it has is of iptables.
fn is_shown_by_save(readers: &[Reader], family: nftrace::Family, name: &str) -> bool {
    let family = match family {
        nftrace::Family::Ip => Family::Ip,
        nftrace::Family::Ip6 => Family::Ip6,
        _ => return false,
    };
    IPTABLES.contains(&name) && readers.iter().any(|it| it.what == What::Save(Backend::Nft, family))
}

/// Lists these tables, or all of them where one has a name that nft's language does not take, and where they are many.
fn native(nft: &Path, tables: Vec<&(nftrace::Family, String)>) -> Vec<Reader> {
    let plain = |name: &str| {
        let letter = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
        letter && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if tables.len() > MOST_LISTED || tables.iter().any(|(family, name)| of(*family).is_none() || !plain(name))
    {
        return vec![whole(nft)];
    }
    let one = |(family, name): &(nftrace::Family, String)| {
        let family = of(*family)?.name();
        let arguments = ["-j", "-a", "list", "table", family, name].map(str::to_owned).to_vec();
        Some(Reader { program: nft.to_owned(), arguments, what: What::Native })
    };
    tables.into_iter().filter_map(one).collect()
}

fn whole(nft: &Path) -> Reader {
    let arguments = ["-j", "-a", "list", "ruleset"].map(str::to_owned).to_vec();
    Reader { program: nft.to_owned(), arguments, what: What::Native }
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
fn missing(rules: &Ruleset, there: &[(nftrace::Family, String)]) -> Vec<String> {
    let mut missing = Vec::new();
    for (family, name) in there {
        let on_the_way = of(*family).filter(|family| !matches!(family, TableFamily::Ip6 | TableFamily::Arp));
        if let Some(on_the_way) = on_the_way.filter(|_| !has(rules, *family, name)) {
            missing.push(format!("{on_the_way} {}", sanitize(name)));
        }
    }
    for name in textfile::read(LEGACY_TABLES).unwrap_or_default().lines() {
        let known = |table: &Table| {
            (table.backend, table.family, table.name.as_str()) == (Backend::Legacy, TableFamily::Ip, name)
        };
        if !rules.tables.iter().any(known) {
            missing.push(format!("ip {} (legacy)", sanitize(name)));
        }
    }
    missing
}

/// Whether the rules have this table of nf_tables.
fn has(rules: &Ruleset, family: nftrace::Family, name: &str) -> bool {
    let known = |table: &Table| {
        Some(table.family) == of(family) && table.name == name && table.backend != Backend::Legacy
    };
    rules.tables.iter().any(known)
}

fn of(family: nftrace::Family) -> Option<TableFamily> {
    Some(match family {
        nftrace::Family::Ip => TableFamily::Ip,
        nftrace::Family::Ip6 => TableFamily::Ip6,
        nftrace::Family::Inet => TableFamily::Inet,
        nftrace::Family::Arp => TableFamily::Arp,
        nftrace::Family::Bridge => TableFamily::Bridge,
        nftrace::Family::Netdev => TableFamily::Netdev,
        _ => return None,
    })
}

/// Those of iptables and ipset that are here. Which backend a bare `iptables-save` reads is the system's choice: it is asked only where the programs of
/// both backends are missing, as on systems that know the old one alone.
fn readers() -> Vec<Reader> {
    let reader = |name: &str, arguments: &'static [&'static str], what: What| {
        let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
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
    readers.extend(reader("ipset", &["save"], What::Sets));
    readers
}

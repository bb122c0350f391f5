//! The rules of this host, all backends at one go, read-only.
//!
//! Both backends of iptables can be live at once, and nft shows the tables of iptables-nft without their matches: so the
//! `-save` programs are asked about those, and nft about its own. A bare `-save` names no table: `iptables-legacy -S` and
//! `iptables-legacy-save -t filter` would create the table that they list.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ruleset::{Backend, Family, Ruleset};

use crate::programs::{self, ProgramError};

/// How often it is read again while somebody changes the rules.
const ATTEMPTS: usize = 3;

/// What was read.
#[derive(Clone, Debug)]
pub(crate) struct Capture {
    pub(crate) rules: Ruleset,
    /// What could not be read, in words.
    pub(crate) unseen: Vec<String>,
    /// nf_tables' number of this state of its rules.
    generation: Option<u32>,
    pub(super) elapsed: Duration,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaptureError {
    #[error("the rules changed each of the {ATTEMPTS} times that they were read")]
    Restless,
    #[error("no program here reads firewall rules (iptables-save, nft)")]
    NoProgram,
}

/// A program, and what it reads.
struct Reader {
    program: PathBuf,
    arguments: &'static [&'static str],
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Save(Backend, Family),
    Native,
    Sets,
}

impl Capture {
    /// Reads the rules, again when nf_tables says that they changed meanwhile.
    pub(crate) async fn take() -> Result<Self, CaptureError> {
        let readers = readers();
        if readers.is_empty() {
            return Err(CaptureError::NoProgram);
        }
        for _ in 0..ATTEMPTS {
            let before = nftrace::generation().ok();
            let capture = read_all(&readers, before).await;
            if nftrace::generation().ok() == before {
                return Ok(capture);
            }
        }
        Err(CaptureError::Restless)
    }

    /// Whether the rules are the same as in the other one, whatever they counted.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same_generation = self.generation == other.generation;
        same_generation && self.rules.digest_input() == other.rules.digest_input()
    }
}

async fn read_all(readers: &[Reader], generation: Option<u32>) -> Capture {
    let begun = Instant::now();
    let read = |reader: &Reader| {
        let (program, arguments) = (reader.program.clone(), reader.arguments);
        async move { programs::read(&program, arguments).await }
    };
    let outputs = futures_util::future::join_all(readers.iter().map(read)).await;
    let mut capture =
        Capture { rules: Ruleset::default(), unseen: Vec::new(), generation, elapsed: Duration::ZERO };
    for (reader, output) in readers.iter().zip(outputs) {
        if let Err(why) = add(&mut capture.rules, reader, output) {
            capture.unseen.push(why);
        }
    }
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
        What::Native => rules.add_nft_json(&output),
        What::Sets => rules.add_ipsets(&output),
    };
    added.map_err(|error| format!("{}: {error}", reader.program.display()))
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

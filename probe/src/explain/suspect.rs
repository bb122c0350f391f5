//! What may stop the packets, by files that everybody may read: for those who may not read the rules.
//!
//! A file says what somebody wanted at the next start. The kernel may have other rules by now: so nothing of this is a rule, and
//! none of it a verdict.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::sanitize::sanitize;
use crate::textfile;
use crate::verdict::Cause;

/// UFW's switch, and its default policies.
const UFW: [&str; 2] = ["etc/ufw/ufw.conf", "etc/default/ufw"];
/// nftables' own configuration as Debian and Fedora name it, and what loads it at the start.
const NFTABLES: [&str; 2] = ["etc/nftables.conf", "etc/sysconfig/nftables.conf"];
const NFTABLES_UNIT: &str = "nftables.service";
/// firewalld's default zone is in its configuration, which is root's on Debian and Fedora; the zones that it comes with are not.
const FIREWALLD_CONF: &str = "etc/firewalld/firewalld.conf";
const FIREWALLD_ZONES: [&str; 2] = ["etc/firewalld/zones", "usr/lib/firewalld/zones"];
const FIREWALLD_UNIT: &str = "firewalld.service";
/// What firewalld takes where nobody chose another (`FALLBACK_ZONE` of its sources).
const FIREWALLD_ZONE: &str = "public";

/// What may stop the packets. It is inferred from files, and is no rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Suspect {
    /// Whose it is.
    pub tool: SuspectTool,
    /// What its files say, in words.
    pub text: String,
    /// The files.
    pub files: Vec<String>,
    /// Always true: the kernel was not asked.
    pub inferred: bool,
}

/// A tool that keeps a firewall's settings in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SuspectTool {
    /// Uncomplicated Firewall.
    Ufw,
    /// firewalld.
    Firewalld,
    /// A file of nftables' own.
    Nftables,
}

/// Who may have stopped packets in such a way, by the files below `root` (`/`). `None` but for causes that blame a firewall, and
/// for answers that it does not let out, which none of these does by a setting.
pub(super) fn suspects(root: &Path, cause: Option<Cause>) -> Vec<Suspect> {
    let did = match cause {
        Some(Cause::Dropped) => Did::Drop,
        Some(Cause::Rejected) => Did::Reject,
        _ => return Vec::new(),
    };
    [ufw(root, did), firewalld(root, did), nftables(root, did)].into_iter().flatten().collect()
}

/// What was done to the packets.
#[derive(Clone, Copy, PartialEq)]
enum Did {
    Drop,
    Reject,
}

impl Did {
    fn words(self) -> &'static str {
        match self {
            Self::Drop => "drops",
            Self::Reject => "refuses",
        }
    }
}

fn suspect(tool: SuspectTool, text: String, files: &[String]) -> Suspect {
    Suspect { tool, text, files: files.to_vec(), inferred: true }
}

/// `/etc/…`, as it is shown.
fn shown(path: &str) -> String {
    format!("/{path}")
}

fn ufw(root: &Path, did: Did) -> Option<Suspect> {
    let [switch, defaults] = UFW;
    let enabled = textfile::read(root.join(switch))?;
    if !textfile::value(&enabled, "ENABLED")?.eq_ignore_ascii_case("yes") {
        return None;
    }
    let policy = textfile::read(root.join(defaults));
    let policy = policy.as_deref().and_then(|text| textfile::value(text, "DEFAULT_INPUT_POLICY"));
    let by_default = match policy.map(str::to_ascii_uppercase).as_deref() {
        Some("DROP") => Some(Did::Drop),
        Some("REJECT") => Some(Did::Reject),
        _ => None,
    };
    let text = match (by_default, policy) {
        (Some(default), _) if default == did => {
            format!("UFW is enabled and {} what comes in unless one of its rules allows it", did.words())
        }
        (_, Some(policy)) => format!(
            "UFW is enabled; by its default policy, {}, it is not the one that {} this, by a rule of its own it may be",
            sanitize(policy),
            did.words()
        ),
        (_, None) => "UFW is enabled, with a default policy that could not be read".to_owned(),
    };
    let files = if policy.is_some() { vec![shown(switch), shown(defaults)] } else { vec![shown(switch)] };
    Some(suspect(SuspectTool::Ufw, text, &files))
}

fn firewalld(root: &Path, did: Did) -> Option<Suspect> {
    // Its package lets it be started by systemd at once. Where others' processes are hidden, that is all that is known.
    let hidden = || runs(root, |id, _| id == 1).is_none();
    let sign = runs(root, |_, name| name == "firewalld")
        .or_else(|| enabled(root, FIREWALLD_UNIT).filter(|_| hidden()))?;
    let conf = textfile::read(root.join(FIREWALLD_CONF));
    let chosen = conf.as_deref().and_then(|text| textfile::value(text, "DefaultZone"));
    let zone = chosen.unwrap_or(FIREWALLD_ZONE);
    // A value is letters, digits, '-', '_' and '.': no other folder is named by it.
    let file = FIREWALLD_ZONES.iter().map(|folder| format!("{folder}/{zone}.xml"));
    let found = file.into_iter().find_map(|path| Some((textfile::read(root.join(&path))?, path)));
    let target = found.as_ref().map(|(text, _)| zone_target(text));
    let certain = if chosen.is_some() { "its default zone is" } else { "its default zone is probably" };
    let text = match target {
        Some(target) if target == Some(did) => {
            format!("firewalld is in use; {certain} {zone}, which {} what it does not allow", did.words())
        }
        Some(Some(_)) => format!("firewalld is in use; {certain} {zone}, which does not do this by itself"),
        Some(None) => format!("firewalld is in use; {certain} {zone}, which lets everything in"),
        None => "firewalld is in use; its zones could not be read".to_owned(),
    };
    let conf = chosen.map(|_| shown(FIREWALLD_CONF));
    let files: Vec<String> =
        [Some(sign), conf, found.map(|(_, path)| shown(&path))].into_iter().flatten().collect();
    Some(suspect(SuspectTool::Firewalld, text, &files))
}

/// What a zone does with packets that it does not allow: refuses them unless it says otherwise.
fn zone_target(text: &str) -> Option<Did> {
    let element = text.split_once("<zone").and_then(|(_, rest)| rest.split('>').next()).unwrap_or_default();
    let target = element.split_once("target=").map(|(_, rest)| rest.trim_start_matches(['"', '\'']));
    match target.and_then(|target| target.split(['"', '\'']).next()) {
        Some("ACCEPT") => None,
        Some("DROP") => Some(Did::Drop),
        _ => Some(Did::Reject),
    }
}

/// Not where nothing loads the file at the start: then it says nothing of the rules that there are.
fn nftables(root: &Path, did: Did) -> Option<Suspect> {
    let sign = enabled(root, NFTABLES_UNIT)?;
    NFTABLES.iter().find_map(|path| {
        let text = textfile::read(root.join(path))?;
        let (policy, statement) = stops_input(&text, did)?;
        let what = match (policy, statement) {
            (true, _) => "whose policy is drop",
            (false, true) if did == Did::Drop => "with a rule that drops",
            (false, true) => "with a rule that rejects",
            _ => return None,
        };
        let text = format!("nftables' own file has a chain for incoming packets {what}");
        Some(suspect(SuspectTool::Nftables, text, &[shown(path), sign.clone()]))
    })
}

/// Whether a chain of the input hook has the policy drop, and whether it has a rule that does such a thing.
fn stops_input(text: &str, did: Did) -> Option<(bool, bool)> {
    let plain: String =
        text.lines().map(|line| line.split('#').next().unwrap_or_default()).collect::<Vec<_>>().join(" ; ");
    let chain = plain.split("chain ").find(|chain| chain.contains("hook input"))?;
    let body = chain.split('}').next().unwrap_or(chain);
    let has = |word: &str| body.split(|byte: char| !byte.is_ascii_alphanumeric()).any(|it| it == word);
    let policy = body.split(';').any(|part| part.split_whitespace().eq(["policy", "drop"]));
    // A policy refuses nobody.
    match did {
        Did::Drop => Some((policy, !policy && has("drop"))),
        Did::Reject => Some((false, has("reject"))),
    }
}

/// The link by which systemd starts a unit, if there is one.
fn enabled(root: &Path, unit: &str) -> Option<String> {
    let wants = ["multi-user.target.wants", "sysinit.target.wants", "basic.target.wants"];
    let path = |wants: &str| format!("etc/systemd/system/{wants}/{unit}");
    let link = wants.into_iter().map(path).find(|path| root.join(path).symlink_metadata().is_ok())?;
    Some(shown(&link))
}

/// Where such a process shows, by its number and its name.
fn runs(root: &Path, such: impl Fn(u32, &str) -> bool) -> Option<String> {
    let processes = std::fs::read_dir(root.join("proc")).ok()?;
    let id = processes.flatten().find_map(|entry| {
        let id = entry.file_name().to_str()?.parse::<u32>().ok()?;
        let comm = textfile::read(entry.path().join("comm"))?;
        such(id, comm.trim_end()).then_some(id)
    })?;
    Some(format!("/proc/{id}/comm"))
}

#[cfg(test)]
mod tests;

//! What a type alone does not say: texts of rules, numbers that belong together, chains that end.
//!
//! The types of [`ruleset`] have plain texts for names, because they say what a host has. Here each is looked at.

mod rules;

use crate::model::{Network, NetworkOption, Snapshot};
use crate::text::Version;

/// What a check exits with.
const EXIT_CODES: [u8; 3] = [0, 1, 3];

/// Something that no snapshot has.
#[derive(Debug)]
pub(crate) struct Invalid {
    pub(crate) place: String,
    pub(crate) problem: String,
}

pub(crate) type Checked = Result<(), Invalid>;

pub(crate) fn refuse(place: impl Into<String>, problem: impl Into<String>) -> Checked {
    Err(Invalid { place: place.into(), problem: problem.into() })
}

/// Looks at everything that is not right by its type.
pub(crate) fn snapshot(snapshot: &Snapshot) -> Checked {
    if Version::new(snapshot.schema.as_str()).is_err() {
        return refuse("schema", "it is no version");
    }
    if !EXIT_CODES.contains(&snapshot.check.exit_code) {
        return refuse("check.exit_code", "no check exits so");
    }
    if let Some(rules) = &snapshot.rules {
        rules::rules(rules)?;
    }
    for (at, part) in snapshot.not_carried.iter().enumerate() {
        if crate::kinds::known(&part.kind).is_none() {
            return refuse(format!("not_carried[{at}].kind"), "it is no kind of a part");
        }
    }
    for (at, network) in snapshot.networks.iter().enumerate() {
        bridge(network, at)?;
    }
    for (at, target) in snapshot.check.targets.iter().enumerate() {
        if target.port == 0 {
            return refuse(format!("check.targets[{at}].port"), "there is no port 0");
        }
        if let Some(path) = &target.path
            && path.source.is_ipv4() != path.destination.is_ipv4()
        {
            return refuse(format!("check.targets[{at}].path"), "its ends are of two families");
        }
    }
    Ok(())
}

/// The name of a bridge is in two places, and both are used.
fn bridge(network: &Network, at: usize) -> Checked {
    let named = network.options.iter().find_map(|option| match option {
        NetworkOption::BridgeName(name) => Some(name),
        _ => None,
    });
    match (named, &network.bridge) {
        (Some(named), Some(bridge)) if named != bridge => {
            refuse(format!("networks[{at}].bridge"), "the network's option names another bridge")
        }
        _ => Ok(()),
    }
}

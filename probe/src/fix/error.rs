//! Why a fix or an undo did not do its work, and the way out.

use super::journal::PLACE;
use crate::explain::UfwRule;

/// Why nothing was changed, or what could not be finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FixError {
    /// The journal cannot be kept.
    #[error("the journal {place} ({name}): {why}", place = PLACE)]
    Journal {
        /// The file or folder.
        name: String,
        /// What the system says.
        why: String,
    },
    /// Others could have written the journal.
    #[error("the journal's {name} is not root's alone: {found}")]
    Unsafe {
        /// The file or folder.
        name: String,
        /// What it is instead.
        found: String,
    },
    /// A file in the journal that this program did not write.
    #[error("the journal's {name} is no entry of this program's")]
    NoEntry {
        /// The file.
        name: String,
    },
    /// An entry of a later version of this program.
    #[error(
        "the journal's {name} was written by openshell-probe {version}, in a form that this one does not know"
    )]
    Newer {
        /// The file.
        name: String,
        /// The version that wrote it.
        version: String,
    },
    /// An entry that came here with a disk.
    #[error("the journal's {name} was written on another machine")]
    Elsewhere {
        /// The file.
        name: String,
        /// What was added there.
        rule: Box<UfwRule>,
    },
    /// Two at once.
    #[error("another fix is at work{}", .holder.map_or_else(|| ", or the ufw of one that was ended".to_owned(), |it| format!(": process {it}")))]
    Busy {
        /// Its process, where the kernel tells it.
        holder: Option<u32>,
    },
    /// There is no UFW.
    #[error("ufw is not installed")]
    NoUfw,
    /// UFW refused.
    #[error("ufw: {said}")]
    Ufw {
        /// What it says.
        said: String,
    },
    /// UFW's rules cannot be read.
    #[error("read /etc/ufw/user.rules: {why}")]
    Record {
        /// What the system says.
        why: String,
    },
    /// UFW did not end. Whether it adds the rule yet, the next fix or undo will see.
    #[error("ufw did not end within 30 s, and is left to itself")]
    Slow,
    /// The rule exists.
    #[error("the rule exists already, and is not this program's to move")]
    Exists,
    /// UFW said yes, and the rule is not where it has to be.
    #[error("ufw has the rule not where it was to be")]
    Misplaced,
    /// An operand that must not become an argument.
    #[error("the rule has an operand that is not plain")]
    Unsound,
}

impl FixError {
    /// What to do about it, where that is not plain.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Journal { .. } => {
                "nothing is changed that could not be undone: make room there, or make it writable".to_owned()
            }
            Self::Unsafe { .. } => format!(
                "what is in {PLACE} decides what ufw is told: look who wrote it, then make it root's, folders 0700 and files 0600, or remove it"
            ),
            Self::NoEntry { name } => {
                format!("see 'ufw status numbered' for rules to remove by hand, then: rm {PLACE}/{name}")
            }
            Self::Newer { version, .. } => format!("undo with openshell-probe {version} or later"),
            Self::Elsewhere { name, rule } => format!(
                "if it is wanted here no more: ufw {}; then: rm {PLACE}/{name}",
                rule.deleting().join(" ")
            ),
            Self::Busy { .. } => "try again when it has ended".to_owned(),
            Self::Slow => "when it has ended: openshell-probe fix --undo".to_owned(),
            _ => return None,
        })
    }
}

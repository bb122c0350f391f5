//! Opens a path that UFW closes, and takes back what it added.
//!
//! ```text
//!  journal: planned ─► ufw allow ─► journal: applied ─► is it there, and first? ─► check ─┬─► open
//!                                                                                         └─► closed: ufw delete
//! ```
//!
//! A rule that was there before is not ours, and is neither moved nor removed.

mod journal;
mod ufw;

use std::time::{SystemTime, UNIX_EPOCH};

use crate::explain::{UfwRemedy, UfwRule};
use journal::{Entry, Journal, State};

/// Why nothing was changed, or what could not be finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FixError {
    /// The journal cannot be kept.
    #[error("the journal /var/lib/openshell-probe/fixes ({name}): {why}")]
    Journal {
        /// The file or folder.
        name: String,
        /// What the system says.
        why: String,
    },
    /// Others could have written the journal.
    #[error("the journal's {name} is not root's alone")]
    Unsafe {
        /// The file or folder.
        name: String,
    },
    /// A file in the journal that this program did not write.
    #[error("the journal's {name} is no entry of this program's")]
    NoEntry {
        /// The file.
        name: String,
    },
    /// Two at once.
    #[error("another fix is running")]
    Busy,
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
    #[error("ufw did not end within 30 s: see 'openshell-probe fix --undo' when it has")]
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

/// A session with the journal's lock.
pub struct Fixer {
    journal: Journal,
}

/// What undoing did with a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Undone {
    /// It is gone now.
    Removed(UfwRule),
    /// Somebody else removed it before.
    Gone(UfwRule),
}

impl Fixer {
    /// Takes the lock, and settles what a killed fix left.
    ///
    /// # Errors
    /// When the journal cannot be trusted or written: nothing is to be changed then.
    pub fn begin() -> Result<Self, FixError> {
        let journal = Journal::open(true)?
            .ok_or(FixError::Journal { name: "fixes".to_owned(), why: "missing".to_owned() })?;
        let fixer = Self { journal };
        fixer.settle()?;
        Ok(fixer)
    }

    /// Adds the rule, and makes sure that it is where it has to be. On an error it is not there.
    ///
    /// # Errors
    /// When the rule exists already, or UFW does not do it.
    pub async fn apply(&self, remedy: &UfwRemedy) -> Result<(), FixError> {
        if !remedy.rule.is_sound() {
            return Err(FixError::Unsound);
        }
        if remedy.there || !ufw::places(&remedy.rule)?.is_empty() {
            return Err(FixError::Exists);
        }
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let mut entry = Entry { version, time, state: State::Planned, ufw: remedy.rule.clone() };
        self.journal.put(&entry)?;
        let ran = ufw::run(&remedy.adding()).await;
        let places = ufw::places(&remedy.rule)?;
        if let Err(FixError::Slow) = ran {
            // It may still add the rule: the entry stays, and the next fix or undo settles it.
            return ran;
        }
        if places.is_empty() {
            self.journal.drop_entry(&entry)?;
            return ran.and(Err(FixError::Misplaced));
        }
        entry.state = State::Applied;
        self.journal.put(&entry)?;
        if ran.is_err() || (remedy.first && places != [0]) {
            self.remove(&entry).await?;
            return ran.and(Err(FixError::Misplaced));
        }
        Ok(())
    }

    /// Removes a rule that this program added.
    ///
    /// # Errors
    /// When UFW does not do it.
    pub async fn take_back(&self, rule: &UfwRule) -> Result<(), FixError> {
        for entry in self.journal.entries()?.iter().filter(|entry| entry.ufw == *rule) {
            self.remove(entry).await?;
        }
        Ok(())
    }

    /// Removes what all fixes added, by exact spec.
    ///
    /// # Errors
    /// When the journal cannot be trusted, or UFW does not do it.
    pub async fn undo() -> Result<Vec<Undone>, FixError> {
        let Some(journal) = Journal::open(false)? else { return Ok(Vec::new()) };
        let fixer = Self { journal };
        fixer.settle()?;
        let mut undone = Vec::new();
        for entry in fixer.journal.entries()? {
            undone.push(fixer.remove(&entry).await?);
        }
        Ok(undone)
    }

    async fn remove(&self, entry: &Entry) -> Result<Undone, FixError> {
        let rule = entry.ufw.clone();
        let there = !ufw::places(&rule)?.is_empty();
        if there {
            let arguments: Vec<String> =
                std::iter::once("delete".to_owned()).chain(rule.arguments()).collect();
            ufw::run(&arguments).await?;
            if !ufw::places(&rule)?.is_empty() {
                return Err(FixError::Ufw { said: "the rule is still there".to_owned() });
            }
        }
        self.journal.drop_entry(entry)?;
        Ok(if there { Undone::Removed(rule) } else { Undone::Gone(rule) })
    }

    /// A planned rule was not there when it was planned: if it is now, it is ours.
    fn settle(&self) -> Result<(), FixError> {
        for mut entry in self.journal.entries()? {
            if entry.state == State::Applied {
                continue;
            }
            if ufw::places(&entry.ufw)?.is_empty() {
                self.journal.drop_entry(&entry)?;
            } else {
                entry.state = State::Applied;
                self.journal.put(&entry)?;
            }
        }
        Ok(())
    }
}

//! Opens a path that UFW closes, and takes back what it added.
//!
//! ```text
//!  journal: planned ─► ufw allow ─► journal: applied ─► is it there, and first? ─► check ─┬─► open
//!                                                                                         └─► closed: ufw delete
//! ```
//!
//! A rule that was there before is not ours, and is neither moved nor removed. Wherever this process is killed, the journal
//! tells the next fix or undo what is ours: a planned rule that UFW has was added by us, one that it has not was not added.
//! UFW holds the journal's lock as well, so nobody judges a plan while it is being carried out.

mod error;
mod journal;
mod ufw;

pub use error::FixError;

use std::time::{SystemTime, UNIX_EPOCH};

use crate::explain::{UfwRemedy, UfwRule};
use journal::{Entry, Journal, State};

/// A session with the journal's lock.
pub struct Fixer {
    journal: Journal,
}

/// Who has added the rule that is there now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Applied {
    /// This call.
    Now,
    /// A fix before, whose journal has it.
    Before,
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

/// What could not be undone.
#[derive(Debug)]
#[non_exhaustive]
pub struct Left {
    /// The rule, where the journal tells it.
    pub rule: Option<UfwRule>,
    /// Why it is left.
    pub why: FixError,
}

/// What an undo did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Undoing {
    /// What is undone.
    pub undone: Vec<Undone>,
    /// What is not. It did not keep the others.
    pub left: Vec<Left>,
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
        for entry in fixer.journal.entries()? {
            fixer.settle(entry?)?;
        }
        Ok(fixer)
    }

    /// Adds the rule, and makes sure that it is where it has to be. On an error it is not there, unless the error says that
    /// it is left; the journal has it then.
    ///
    /// # Errors
    /// When the rule exists already and no fix added it, or UFW does not do it.
    pub async fn apply(&self, remedy: &UfwRemedy) -> Result<Applied, FixError> {
        let rule = &remedy.rule;
        if !rule.is_sound() {
            return Err(FixError::Unsound);
        }
        if remedy.there || !ufw::places(rule)?.is_empty() {
            return if self.has(rule)? { Ok(Applied::Before) } else { Err(FixError::Exists) };
        }
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
        let mut entry = Entry::new(time, rule.clone());
        self.journal.put(&entry)?;
        let ran = ufw::run(&remedy.adding(), &self.journal).await;
        if let Err(FixError::Slow) = ran {
            // It may still add the rule: the entry stays, and the next fix or undo settles it.
            return Err(FixError::Slow);
        }
        let places = ufw::places(rule)?;
        if places.is_empty() {
            self.journal.drop_entry(&entry)?;
            return ran.and(Err(FixError::Misplaced));
        }
        entry.state = State::Applied;
        // A plan that UFW has carried out says the same: a disk that is full by now takes nothing back.
        let _ = self.journal.put(&entry);
        if ran.is_err() || (remedy.first && places != [0]) {
            self.remove(&entry).await?;
            return ran.and(Err(FixError::Misplaced));
        }
        Ok(Applied::Now)
    }

    /// Removes a rule that this program added.
    ///
    /// # Errors
    /// When UFW does not do it.
    pub async fn take_back(&self, rule: &UfwRule) -> Result<(), FixError> {
        for entry in self.journal.entries()?.into_iter().flatten().filter(|entry| entry.ufw == *rule) {
            self.remove(&entry).await?;
        }
        Ok(())
    }

    /// Removes what all fixes added, by exact spec. What fails does not keep the others.
    ///
    /// # Errors
    /// When the journal cannot be trusted.
    pub async fn undo() -> Result<Undoing, FixError> {
        let mut undoing = Undoing::default();
        let Some(journal) = Journal::open(false)? else { return Ok(undoing) };
        let fixer = Self { journal };
        for entry in fixer.journal.entries()? {
            let rule = entry.as_ref().ok().map(|entry| entry.ufw.clone());
            match fixer.undo_one(entry).await {
                Ok(undone) => undoing.undone.extend(undone),
                Err(why) => undoing.left.push(Left { rule, why }),
            }
        }
        Ok(undoing)
    }

    async fn undo_one(&self, entry: Result<Entry, FixError>) -> Result<Option<Undone>, FixError> {
        match self.settle(entry?)? {
            Some(entry) => self.remove(&entry).await.map(Some),
            None => Ok(None),
        }
    }

    async fn remove(&self, entry: &Entry) -> Result<Undone, FixError> {
        let rule = entry.ufw.clone();
        let there = !ufw::places(&rule)?.is_empty();
        if there {
            let ran = ufw::run(&rule.deleting(), &self.journal).await;
            // What UFW has in the end counts, whatever it said.
            if !ufw::places(&rule)?.is_empty() {
                return Err(ran
                    .err()
                    .unwrap_or(FixError::Ufw { said: "the rule is still there".to_owned() }));
            }
        }
        self.journal.drop_entry(entry)?;
        Ok(if there { Undone::Removed(rule) } else { Undone::Gone(rule) })
    }

    /// Whether a fix added this rule.
    fn has(&self, rule: &UfwRule) -> Result<bool, FixError> {
        Ok(self.journal.entries()?.into_iter().flatten().any(|entry| entry.ufw == *rule))
    }

    /// A planned rule was not there when it was planned: if it is now, it is ours; if not, there is nothing of ours.
    fn settle(&self, mut entry: Entry) -> Result<Option<Entry>, FixError> {
        if entry.state == State::Applied {
            return Ok(Some(entry));
        }
        if ufw::places(&entry.ufw)?.is_empty() {
            self.journal.drop_entry(&entry)?;
            return Ok(None);
        }
        entry.state = State::Applied;
        // The plan says the same, should there be no room for more.
        let _ = self.journal.put(&entry);
        Ok(Some(entry))
    }
}

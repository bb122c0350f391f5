//! All scenarios together: found in folders, and held to what only the whole can break.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::file::{FileError, ScenarioFile};

/// Scenario files, in the order of their paths.
#[derive(Clone, Debug, Default)]
pub struct Corpus {
    /// The files.
    pub files: Vec<ScenarioFile>,
}

/// Why files are no corpus: all that is wrong with them.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct CorpusError(pub Vec<FileError>);

impl Corpus {
    /// Reads files, and all `.toml` files below folders.
    ///
    /// # Errors
    /// When one is no scenario, or a folder has none.
    pub fn read(paths: &[PathBuf]) -> Result<Self, CorpusError> {
        let (mut files, mut errors) = (Vec::new(), Vec::new());
        for path in paths {
            match found(path) {
                Ok(found) => files.extend(found),
                Err(error) => errors.push(error),
            }
        }
        files.sort();
        files.dedup();
        let mut corpus = Self::default();
        for path in files {
            match ScenarioFile::read(&path) {
                Ok(file) => corpus.files.push(file),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(corpus) } else { Err(CorpusError(errors)) }
    }

    /// What is wrong with the whole: two files of one class without a reason, and a `control` that is none.
    ///
    /// # Errors
    /// When anything is.
    pub fn check(&self) -> Result<(), CorpusError> {
        let mut errors = Vec::new();
        let mut first = BTreeMap::new();
        for file in &self.files {
            let earlier = first.entry(&file.scenario.class).or_insert(file);
            if earlier.path != file.path
                && file.scenario.beside.is_none()
                && earlier.scenario.beside.is_none()
            {
                let message = format!(
                    "{} is of the same class: `beside` says why there is a second one",
                    earlier.path.display()
                );
                errors.push(file.wrong(1, message));
            }
            errors.extend(control(file).err());
        }
        if errors.is_empty() { Ok(()) } else { Err(CorpusError(errors)) }
    }

    /// The classes without any file that differs from an `ok` one in a single line, each with its first file.
    #[must_use]
    pub fn without_control(&self) -> Vec<&ScenarioFile> {
        let mut classes: BTreeMap<_, (&ScenarioFile, bool)> = BTreeMap::new();
        for file in self.files.iter().filter(|file| !file.is_ok()) {
            let class = classes.entry(&file.scenario.class).or_insert((file, false));
            class.1 |= file.scenario.control.is_some();
        }
        classes.into_values().filter(|(_, has)| !has).map(|(file, _)| file).collect()
    }
}

fn found(path: &Path) -> Result<Vec<PathBuf>, FileError> {
    let io = |source| FileError::Io { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(io)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let (mut files, mut folders) = (Vec::new(), vec![path.to_owned()]);
    while let Some(folder) = folders.pop() {
        let io = |source| FileError::Io { path: folder.clone(), source };
        for entry in std::fs::read_dir(&folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let kind = entry.file_type().map_err(io)?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if entry.path().extension().is_some_and(|extension| extension == "toml") {
                files.push(entry.path());
            }
        }
    }
    if files.is_empty() {
        return Err(io(std::io::Error::other("the folder has no .toml file")));
    }
    Ok(files)
}

/// The control is an `ok` scenario, and its events differ from the file's own in one line.
fn control(file: &ScenarioFile) -> Result<(), FileError> {
    let Some(name) = &file.scenario.control else { return Ok(()) };
    let path = file.path.parent().unwrap_or(Path::new("")).join(name);
    let control =
        ScenarioFile::read(&path).map_err(|error| file.wrong(1, format!("control {name:?}: {error}")))?;
    if !control.is_ok() {
        return Err(file.wrong(1, format!("control {name:?} is no scenario in which everything is ok")));
    }
    // The arguments are one line too. How long the probe may take is no fact about the host.
    let arguments = |of: &ScenarioFile| match of.scenario.check.as_slice() {
        [option, _] if option == "--deadline" => Vec::new(),
        all => all.to_vec(),
    };
    let lines = edits(&file.scenario.events, &control.scenario.events)
        + usize::from(arguments(file) != arguments(&control));
    if lines == 1 {
        return Ok(());
    }
    Err(file.wrong(
        1,
        format!("events and check differ from those of control {name:?} in {lines} lines, and not in one"),
    ))
}

/// How many parts have to be added, removed or replaced to make one list the other.
pub(crate) fn edits<T: PartialEq>(one: &[T], other: &[T]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, left) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests;

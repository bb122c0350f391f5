//! Scenarios whose host is a snapshot's.
//!
//! Such a file may come from anybody, as the snapshot itself: it can name nothing but the snapshot beside it, and what must come
//! out of it.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use snapshot::Snapshot;

use super::{FileError, ScenarioFile};
use crate::replay::Plan;
use crate::scenario::format::{
    Class, FirewallClass, OracleSettings, RouteClass, Scenario, SnapshotSource, VERSION,
};
use crate::vm::Persona;

impl ScenarioFile {
    /// The scenario of a snapshot that is in no file: a host without expectations.
    #[must_use]
    pub fn of_snapshot(path: PathBuf, snapshot: Snapshot) -> Self {
        let class = Class {
            cause: String::new(),
            route: RouteClass::None,
            firewall: FirewallClass::None,
            lifecycle: "snapshot".to_owned(),
        };
        let scenario = Scenario {
            version: VERSION,
            title: "the host of a snapshot".to_owned(),
            source: Vec::new(),
            class,
            beside: None,
            control: None,
            persona: Persona::default(),
            check: Plan::arguments(&snapshot),
            skip_unless: Vec::new(),
            events: Vec::new(),
            replay: Some(SnapshotSource { snapshot: path.display().to_string() }),
            oracle: OracleSettings::default(),
            expect: Vec::new(),
        };
        let snapshot = Some(Arc::new(snapshot));
        Self { path, scenario, snapshot, event_lines: Vec::new(), expect_lines: Vec::new() }
    }

    /// Takes the snapshot that the file names.
    pub(super) fn take_snapshot(&mut self, snapshot: Snapshot) -> Result<(), FileError> {
        self.names_nothing_else()?;
        self.scenario.check = Plan::arguments(&snapshot);
        self.snapshot = Some(Arc::new(snapshot));
        Ok(())
    }

    fn names_nothing_else(&self) -> Result<(), FileError> {
        let scenario = &self.scenario;
        let more = [
            ("events", !scenario.events.is_empty()),
            ("check", !scenario.check.is_empty()),
            ("control", scenario.control.is_some()),
            ("persona", scenario.persona != Persona::default()),
            ("oracle.alias", scenario.oracle.alias.is_some()),
        ];
        if let Some((key, _)) = more.into_iter().find(|(_, there)| *there) {
            let message =
                format!("{key}: a scenario with a snapshot names nothing else; the snapshot says it all");
            return Err(self.wrong(1, message));
        }
        Ok(())
    }

    /// Reads the snapshot that the file names.
    pub(super) fn read_snapshot(&mut self, name: &str) -> Result<(), FileError> {
        self.names_nothing_else()?;
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let path =
            below(folder, name).map_err(|why| self.wrong(1, format!("replay.snapshot {name:?}: {why}")))?;
        let refused = |error| self.wrong(1, format!("replay.snapshot {name:?} is refused: {error}"));
        let snapshot = snapshot::read_file(&path).map_err(refused)?;
        self.take_snapshot(snapshot)
    }
}

/// A file below a folder, with no link on the way.
fn below(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let relative = Path::new(name);
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if name.is_empty() || !relative.components().all(plain) {
        return Err("it is to be a path below the scenario's own folder, without `..`".to_owned());
    }
    let mut path = folder.to_owned();
    for part in relative.components() {
        path.push(part);
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => return Err("it is a link, or is reached by one".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A scenario with these lines more, beside `host.snapshot`.
    fn read(folder: &Path, head: &str, name: &str) -> Result<ScenarioFile, String> {
        let text = format!(
            "version = 1\ntitle = \"t\"\nsource = [\"derived\"]\n\
             class = {{ cause = \"dropped\", route = \"bridge_gateway\", firewall = \"ufw\", lifecycle = \"snapshot\" }}\n\
             {head}\n[replay]\nsnapshot = {name:?}\n\
             [[expect]]\ntarget = \"8080=gateway\"\nverdict = \"tcp_failed\"\ncause = \"dropped\"\noracle = \"not_reached\"\n"
        );
        ScenarioFile::parse(&folder.join("scenario.toml"), &text).map_err(|error| error.to_string())
    }

    const SNAPSHOT: &[u8] =
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/ufw-default-deny.snapshot"));

    #[test]
    fn a_snapshot_is_beside_its_scenario_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("inside");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(inside.join("host.snapshot"), SNAPSHOT).unwrap();
        std::fs::write(folder.path().join("host.snapshot"), SNAPSHOT).unwrap();
        std::os::unix::fs::symlink("host.snapshot", inside.join("link")).unwrap();
        std::os::unix::fs::symlink("..", inside.join("folder")).unwrap();
        let found = read(&inside, "events = []", "host.snapshot").unwrap();
        assert!(found.snapshot.is_some());
        let absolute = inside.join("host.snapshot").display().to_string();
        for outside in ["../host.snapshot", &absolute, "", "./host.snapshot", "a/../host.snapshot"] {
            let error = read(&inside, "events = []", outside).unwrap_err();
            assert!(error.contains("below the scenario's own folder"), "{outside}: {error}");
        }
        for link in ["link", "folder/host.snapshot"] {
            let error = read(&inside, "events = []", link).unwrap_err();
            assert!(error.contains("it is a link"), "{link}: {error}");
        }
        let error = read(&inside, "events = []", "none").unwrap_err();
        assert!(error.contains("No such file"), "{error}");
    }

    #[test]
    fn a_scenario_with_a_snapshot_names_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("host.snapshot"), SNAPSHOT).unwrap();
        for (key, head) in [
            ("events", "events = [{ run = \"touch /tmp/canary\" }]"),
            ("check", "events = []\ncheck = [\"--ca\", \"/etc/shadow\"]"),
            ("control", "events = []\ncontrol = \"other.toml\""),
            ("persona", "events = []\npersona = \"wsl2\""),
            ("oracle.alias", "events = []\noracle = { alias = \"x\" }"),
        ] {
            let error = read(folder.path(), head, "host.snapshot").unwrap_err();
            assert!(error.contains(&format!("{key}: a scenario with a snapshot")), "{error}");
        }
        std::fs::write(folder.path().join("host.snapshot"), b"no snapshot").unwrap();
        let error = read(folder.path(), "events = []", "host.snapshot").unwrap_err();
        assert!(error.contains("is refused: it is no gzip file"), "{error}");
    }
}

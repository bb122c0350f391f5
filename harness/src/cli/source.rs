//! What a host is made of: a preset or a scenario file, an image, and what it sees of the machine.

use std::fmt::Display;
use std::path::{Component, Path, PathBuf};

use clap::Args;
use harness::image::Image;
use harness::standing::{BadName, Name, Order};
use harness::{Preset, Privilege, scenario::ScenarioFile};

use super::enclose::{self, Barred};
use super::reproduce::find_probe;

/// Words of which the mistake is the caller's.
pub(super) struct Usage(pub(super) String);

impl Usage {
    pub(super) fn of(error: impl Display) -> Self {
        Self(error.to_string())
    }
}

/// What a host is to have besides what its scenario says.
#[derive(Args)]
pub(super) struct HostArguments {
    /// Another userland: the name of an image, or `machine` for the machine's own programs
    #[arg(long, value_name = "NAME")]
    pub(super) image: Option<String>,
    /// Lets the host see a file or folder of the machine at the same place: for reading, with `:rw` for writing too
    #[arg(long, value_name = "PATH[:rw]")]
    pub(super) bind: Vec<String>,
    /// Give the host of a snapshot root's rights, for a snapshot that you trust; otherwise it has none, also where root makes it
    #[arg(long)]
    pub(super) trust: bool,
}

impl HostArguments {
    pub(super) fn is_empty(&self) -> bool {
        self.image.is_none() && self.bind.is_empty()
    }
}

/// A scenario that is read.
pub(super) struct Source {
    /// The preset's name or the file's path, as the caller wrote it.
    word: String,
    path: PathBuf,
    text: String,
    pub(super) file: ScenarioFile,
}

impl Source {
    /// A preset by its name, or a file: what has a slash in it or ends in `.toml` is one.
    pub(super) fn read(word: &str) -> Result<Self, Usage> {
        if !is_file(word) {
            let preset = Preset::named(word).map_err(Usage::of)?;
            let file = preset.file().map_err(Usage::of)?;
            return Ok(Self {
                word: word.to_owned(),
                path: file.path.clone(),
                text: preset.text.to_owned(),
                file,
            });
        }
        let path = PathBuf::from(word);
        let text = std::fs::read_to_string(&path).map_err(|error| Usage(format!("{word}: {error}")))?;
        let file = ScenarioFile::parse(&path, &text).map_err(Usage::of)?;
        Ok(Self { word: word.to_owned(), path, text, file })
    }

    /// The name of its host unless the caller gives it one.
    pub(super) fn name(&self) -> Result<Name, Usage> {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let unnamed = |error: BadName| Usage(format!("{}: {error}\nhint: --name NAME", self.word));
        stem.parse().map_err(unnamed)
    }

    /// Lets this process make the host: for that of a snapshot it gives up all rights on the machine. Called before
    /// [`order`](Self::order), with one thread. Returns the probe, if there is one: a host is of use without it.
    pub(super) fn enter(
        &self,
        privilege: Privilege,
        host: &HostArguments,
    ) -> Result<Option<PathBuf>, Barred> {
        let mut programs: Vec<PathBuf> = find_probe(None).into_iter().collect();
        if self.file.snapshot.is_none() {
            privilege.enter()?;
        } else {
            enclose::enter(privilege, host.trust, &mut programs)?;
        }
        Ok(programs.pop())
    }

    /// All of it together.
    pub(super) fn order(
        &self,
        name: Name,
        host: &HostArguments,
        probe: Option<PathBuf>,
    ) -> Result<Order, Usage> {
        let snapshot =
            self.file.snapshot.as_deref().map(snapshot::to_bytes).transpose().map_err(Usage::of)?;
        if host.image.as_deref() == Some("machine")
            && let Some(missing) = ENGINE.into_iter().find(|program| !on_path(program))
        {
            let hint = "without --image a host has an engine of its own";
            return Err(Usage(format!(
                "--image machine: this machine has no {missing}, and a host needs one\nhint: {hint}"
            )));
        }
        let rootfs = match host.image.as_deref() {
            None => Image::debian_13(),
            Some("machine") => Image::machine(),
            Some(name) => Image::named(name),
        };
        let rootfs = rootfs.map_err(|error| Usage(error.to_string()))?.rootfs();
        let binds = host.bind.iter().map(|word| bind(word, &rootfs)).collect::<Result<_, _>>()?;
        Ok(Order {
            name,
            source: self.word.clone(),
            path: self.path.clone(),
            text: self.text.clone(),
            image: host.image.clone(),
            binds,
            probe,
            snapshot,
            trusted: host.trust,
        })
    }
}

pub(super) fn is_file(word: &str) -> bool {
    word.contains('/') || word.ends_with(".toml")
}

/// What makes the engine of a host.
const ENGINE: [&str; 2] = ["dockerd", "containerd"];

/// Where a host looks for programs.
fn on_path(program: &str) -> bool {
    let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    folders.iter().any(|folder| Path::new(folder).join(program).is_file())
}

/// The host's own file systems, and the folders without which none of its programs start.
const OWN: [&str; 14] = [
    "/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys",
    "/usr", "/var",
];

/// Of these the host has not even parts of the machine's.
const WHOLE: [&str; 4] = ["/dev", "/proc", "/run", "/sys"];

/// What is refused would hide the host's own files, lead out of it, or be writable although it should not be.
fn bind(word: &str, rootfs: &Path) -> Result<(PathBuf, bool), Usage> {
    let (path, writable) = match word.rsplit_once(':') {
        Some((path, "rw")) => (path, true),
        Some((path, "ro")) => (path, false),
        _ => (word, false),
    };
    let refuse = |message: &str| Err(Usage(format!("--bind {word}: {message}")));
    if path.is_empty() {
        return refuse("it names nothing; what is wanted is PATH or PATH:rw");
    }
    let path = std::path::absolute(path).map_err(|error| Usage(format!("--bind {word}: {error}")))?;
    if path.components().any(|part| part == Component::ParentDir) {
        return refuse("a path with `..`: name the place itself");
    }
    // `absolute` keeps a slash at the end.
    let path: PathBuf = path.components().collect();
    if OWN.iter().any(|own| path == Path::new(own)) || WHOLE.iter().any(|own| path.starts_with(own)) {
        return refuse("it would hide the host's own; name a file or folder of yours");
    }
    if path.to_str().is_none() {
        return refuse("its name is no UTF-8");
    }
    match std::fs::symlink_metadata(&path) {
        Err(error) => return refuse(&error.to_string()),
        Ok(found) if found.is_symlink() => return refuse("it is a link: name what it leads to"),
        Ok(_) => {}
    }
    // In the host it is made at the same place, and a link there may lead anywhere.
    for part in path.ancestors().filter(|part| part.parent().is_some()) {
        let inside = rootfs.join(part.strip_prefix("/").unwrap_or(part));
        if inside.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
            return refuse(&format!(
                "{} is a link in the host's image: name the place itself",
                part.display()
            ));
        }
    }
    Ok((path, writable))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(word: &str) -> String {
        match bind(word, Path::new("/no-image")) {
            Ok(taken) => panic!("{word} was taken: {taken:?}"),
            Err(Usage(message)) => message,
        }
    }

    #[test]
    fn a_bind_is_a_place_of_the_callers_and_never_one_of_the_hosts() {
        for own in ["/", "/etc", "/usr/", "/proc/1", "/sys/fs", "/dev/null", "/run/docker.sock", "/var"] {
            assert!(refused(own).contains("would hide the host's own"), "{own}");
        }
        assert!(refused("/tmp/../etc").contains(".."));
        assert!(refused("/no/such/place").contains("No such file"));
        assert!(refused("").contains("it names nothing"));
        assert!(refused(":rw").contains("it names nothing"));
    }

    #[test]
    fn a_bind_is_for_reading_unless_it_says_more() {
        let folder = tempfile::tempdir().unwrap();
        let (path, image) = (folder.path().canonicalize().unwrap(), Path::new("/no-image"));
        let word = path.to_str().unwrap();
        let taken = |word: &str| bind(word, image).ok().unwrap();
        assert_eq!(taken(word), (path.clone(), false));
        assert_eq!(taken(&format!("{word}/")), (path.clone(), false));
        assert_eq!(taken(&format!("{word}:ro")), (path.clone(), false));
        assert_eq!(taken(&format!("{word}:rw")), (path.clone(), true));
        std::os::unix::fs::symlink("/etc", path.join("link")).unwrap();
        assert!(refused(&format!("{word}/link")).contains("it is a link"));
    }

    /// The place is made before the image is the root: a link there would be followed on the machine.
    #[test]
    fn a_link_in_the_image_is_not_followed() {
        let image = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        let top = path.components().nth(1).unwrap();
        std::os::unix::fs::symlink("/elsewhere", image.path().join(top)).unwrap();
        let Err(Usage(message)) = bind(path.to_str().unwrap(), image.path()) else { panic!("it was taken") };
        assert!(message.contains("is a link in the host's image"), "{message}");
    }
}

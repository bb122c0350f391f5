//! Builds an image into the cache.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Cache, Definition, Image, ImageError, Manifest, archive, tree};
use crate::privilege::Privilege;

/// What no host reads and what would be a third of the tree.
const LEFT_OUT: [&str; 4] =
    ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"];

impl Cache {
    /// Builds the image of a definition, unless it is there already. It takes about a minute and the network.
    ///
    /// The mirror is `OPENSHELL_HARNESS_MIRROR`, else the machine's own when the machine is a Debian, else the default
    /// of `mmdebstrap`; apt's proxy settings of the machine hold. No service of the machine is touched: the packages are
    /// installed into a folder of the cache, and a service in it is never started.
    ///
    /// # Errors
    /// When the caller can make no hosts ([`Privilege::enter`](crate::Privilege::enter)), `mmdebstrap` is missing or fails. What
    /// it had built is removed then.
    pub fn build(&self, definition: &Definition) -> Result<Image, ImageError> {
        self.make(definition, |rootfs| run_mmdebstrap(rootfs, definition))
    }

    /// Makes the image of a definition from a `tar` archive of its tree, as [`export`](Self::export) writes it, unless it is
    /// there already. It takes about a second, and no network.
    ///
    /// The owners in the archive are numbers of the image; the files get the ids that those are outside.
    ///
    /// # Errors
    /// When the caller can make no hosts, or `tar` is missing or fails. What it had unpacked is removed then.
    pub fn import(&self, definition: &Definition, archive: impl Into<Stdio>) -> Result<Image, ImageError> {
        let archive = archive.into();
        self.make(definition, |rootfs| archive::unpack(rootfs, definition, archive))
    }

    /// Makes it, by `fill`, which is told where the tree is to be.
    fn make(
        &self,
        definition: &Definition,
        fill: impl FnOnce(&Path) -> Result<(), ImageError>,
    ) -> Result<Image, ImageError> {
        if let Ok(image) = self.find(definition) {
            return Ok(image);
        }
        let name = definition.name().to_owned();
        Privilege::Auto.rights()?;
        let _lock = self.lock(&name)?;
        // Another process may have built it while this one waited for the lock.
        if let Ok(image) = self.find(definition) {
            return Ok(image);
        }
        let folder = self.image_folder(definition);
        let partial = folder.with_extension("partial");
        for leftover in [&partial, &folder] {
            if leftover.exists() {
                fs::remove_dir_all(leftover).map_err(ImageError::io(leftover))?;
            }
        }
        let result = make_in(&partial, definition, fill);
        if result.is_err() {
            let _ = fs::remove_dir_all(&partial);
        }
        result?;
        fs::rename(&partial, &folder).map_err(ImageError::io(&folder))?;
        self.find(definition)
    }
}

fn make_in(
    folder: &Path,
    definition: &Definition,
    fill: impl FnOnce(&Path) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    let rootfs = folder.join("rootfs");
    fs::create_dir_all(folder.join("mount")).map_err(ImageError::io(folder))?;
    fill(&rootfs)?;
    // The package does not bring it, and the engine does not make it on a read-only parent.
    for needed in ["var/lib/docker", "var/lib/containerd"] {
        let path = rootfs.join(needed);
        fs::create_dir_all(&path).map_err(ImageError::io(&path))?;
    }
    let tree = tree::digest(&rootfs)?;
    let manifest = Manifest {
        name: definition.name().to_owned(),
        suite: definition.suite().to_owned(),
        tree_sha256: tree.sha256,
        bytes: tree.bytes,
        packages: installed_packages(&rootfs)?,
    };
    let path = folder.join("manifest.toml");
    let text = toml::to_string(&manifest).map_err(|error| ImageError::BadDefinition {
        origin: path.display().to_string(),
        message: error.to_string(),
    })?;
    fs::write(&path, text).map_err(ImageError::io(&path))
}

fn run_mmdebstrap(rootfs: &Path, definition: &Definition) -> Result<(), ImageError> {
    let mut command = Command::new("mmdebstrap");
    // Root's mode also for the root of a user namespace, whose files then are those of the namespace's ids.
    command.args(["--mode=root", "--variant=minbase"]);
    command.arg(format!("--include={}", definition.packages()));
    for pattern in LEFT_OUT {
        command.arg(format!("--dpkgopt=path-exclude={pattern}"));
    }
    for option in definition.apt_options() {
        command.arg(format!("--aptopt={option}"));
    }
    if let Some(proxy) = apt_proxy() {
        command.arg(format!("--aptopt=Acquire::http::Proxy \"{proxy}\""));
    }
    command.arg(definition.suite()).arg(rootfs);
    command.args(mirror());
    command.stdin(Stdio::null());
    let output = command.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => ImageError::NoBuilder,
        _ => ImageError::Io { path: "mmdebstrap".into(), source: error },
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(ImageError::failed("mmdebstrap", definition, &output))
}

/// Where the packages come from, when it is not the default of `mmdebstrap`.
fn mirror() -> Option<String> {
    if let Some(mirror) = std::env::var("OPENSHELL_HARNESS_MIRROR").ok().filter(|it| !it.is_empty()) {
        return Some(mirror);
    }
    let release = fs::read_to_string("/etc/os-release").ok()?;
    if !release.lines().any(|line| line == "ID=debian") {
        return None;
    }
    let mut files = vec![Path::new("/etc/apt/sources.list").to_owned()];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).find_map(|text| debian_uri(&text))
}

/// The first archive of Debian itself in a `sources.list` of either format. Third parties' archives and the one of
/// security updates do not have the suites.
fn debian_uri(text: &str) -> Option<String> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter(|line| line.starts_with("URIs:") || line.starts_with("deb "))
        .flat_map(str::split_whitespace)
        .find(|word| word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian"))
        .map(str::to_owned)
}

fn apt_proxy() -> Option<String> {
    let output = Command::new("apt-config").args(["shell", "P", "Acquire::http::Proxy"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let value = text.trim().strip_prefix("P='")?.strip_suffix('\'')?;
    (!value.is_empty()).then(|| value.to_owned())
}

fn installed_packages(rootfs: &Path) -> Result<Vec<String>, ImageError> {
    let path = rootfs.join("var/lib/dpkg/status");
    let status = fs::read_to_string(&path).map_err(ImageError::io(&path))?;
    let field = |paragraph: &str, name: &str| {
        paragraph.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
    };
    let package = |paragraph: &str| {
        Some(format!("{} {}", field(paragraph, "Package:")?, field(paragraph, "Version:")?))
    };
    Ok(status.split("\n\n").filter_map(package).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_first_archive_of_debian_itself() {
        let deb822 = "Types: deb\n# http://old/debian\nURIs: http://mirror.test/debian\nSuites: trixie\n";
        assert_eq!(debian_uri(deb822).as_deref(), Some("http://mirror.test/debian"));
        let one_line =
            "deb https://third.test/apt ./\ndeb [signed-by=/k] http://m.test/debian/ trixie main\n";
        assert_eq!(debian_uri(one_line).as_deref(), Some("http://m.test/debian/"));
        assert_eq!(debian_uri("deb http://m.test/debian-security trixie main"), None);
    }
}

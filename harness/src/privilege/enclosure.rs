//! Enters a user namespace: this process becomes its root, and has no right outside that it had not before.

use std::fs;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use netns::sys::{Side, clone_into};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_dumpable;
use nix::sys::wait::waitpid;
use nix::unistd::{Gid, Pid, Uid, getegid, geteuid, setgroups, setresgid, setresuid};

use super::PrivilegeError;
use super::error::Hindrance;
use super::ids::{self, Kind, Stretch};
use crate::image::{Cache, closed_above};

/// Where the tools are when `PATH` has not their folder.
const TOOL_FOLDERS: [&str; 3] = ["/usr/bin", "/usr/sbin", "/bin"];

/// What is written into a map, and by whom.
struct Map {
    kind: Kind,
    stretches: Vec<Stretch>,
    /// The set-user-ID program that writes it for an ordinary user; root writes it itself.
    tool: Option<PathBuf>,
}

/// Enters. Everything that can be seen to be missing is looked for before the first step that cannot be taken back.
pub(super) fn enter() -> Result<(), PrivilegeError> {
    if fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() > 1) {
        return Err(PrivilegeError::Threads);
    }
    let maps = if geteuid().is_root() { of_root()? } else { of_user()? };
    let kernel = PrivilegeError::kernel;
    let pipe = || std::io::pipe().map_err(|error| errno_of(&error));
    let (ready, tell_ready) = pipe().map_err(kernel("make a pipe"))?;
    let (mut answer, tell_answer) = pipe().map_err(kernel("make a pipe"))?;
    let process = Pid::this();
    // A process that stays outside: nobody inside may write the maps, or run a set-user-ID program of outside.
    let mapper = match clone_into(CloneFlags::empty()) {
        Err(errno) => return Err(kernel("start a process")(errno)),
        Ok(Side::Child) => {
            drop((tell_ready, answer));
            map(&maps, process, ready, tell_answer)
        }
        Ok(Side::Parent(mapper)) => mapper,
    };
    drop((ready, tell_answer));
    let unshared = unshare(CloneFlags::CLONE_NEWUSER).map_err(kernel("make a user namespace"));
    // Without the byte it ends without a word.
    let told = unshared.is_ok().then(|| { tell_ready }.write_all(b"1"));
    let mut said = String::new();
    let read = answer.read_to_string(&mut said);
    while waitpid(mapper, None) == Err(Errno::EINTR) {}
    unshared?;
    if let (Some(Err(error)), _) | (_, Err(error)) = (told, read) {
        return Err(kernel("speak with the process that maps the ids")(errno_of(&error)));
    }
    if said != DONE {
        let (tool, said) = said.split_once(": ").unwrap_or(("the process that maps the ids", "it ended"));
        return Err(PrivilegeError::Refused { tool: tool.to_owned(), said: said.trim().to_owned() });
    }
    become_root()
}

/// What the mapper says when all is well.
const DONE: &str = "done";

fn become_root() -> Result<(), PrivilegeError> {
    let (root, group) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(group, group, group)
        .and_then(|()| setresuid(root, root, root))
        // It takes a right in the namespace, which AppArmor lets some machines' users not have.
        .and_then(|()| setgroups(&[]))
        .and_then(|()| set_dumpable(true))
        .map_err(PrivilegeError::kernel("become the root of a user namespace"))?;
    if super::Standing::now() == super::Standing::Enclosed {
        return Ok(());
    }
    let source = std::io::Error::other("the namespace is still the machine's");
    Err(PrivilegeError::Forbidden { step: "enter a user namespace", source, hindrance: Hindrance::Unknown })
}

fn of_user() -> Result<Vec<Map>, PrivilegeError> {
    let number = geteuid().as_raw();
    let name = ids::user_name(number);
    let map = |kind: Kind, own| {
        let tool = find(kind.tool()).ok_or(PrivilegeError::NoTool { tool: kind.tool() })?;
        let stretches = ids::of_user(kind, &name, number, own)?;
        Ok(Map { kind, stretches, tool: Some(tool) })
    };
    Ok(vec![map(Kind::User, number)?, map(Kind::Group, getegid().as_raw())?])
}

/// For root: ids that own nothing, and a folder in the cache that is theirs.
fn of_root() -> Result<Vec<Map>, PrivilegeError> {
    let maps = [Kind::User, Kind::Group].map(|kind| Map { kind, stretches: ids::of_root(kind), tool: None });
    let [user, group] = [&maps[0], &maps[1]].map(|map| map.stretches[0][1]);
    let folder = Cache::of(Some(user)).map_err(|error| PrivilegeError::Cache(error.to_string()))?;
    let folder = folder.folder();
    check_reach(folder)?;
    fs::create_dir_all(folder)
        .and_then(|()| chown(folder, Some(user), Some(group)))
        .map_err(|error| PrivilegeError::Cache(format!("{}: {error}", folder.display())))?;
    Ok(maps.into())
}

/// Whether everybody may go to where the folder is, or is to be: root's own home is closed to all others.
fn check_reach(folder: &Path) -> Result<(), PrivilegeError> {
    let Some(closed) = closed_above(folder) else { return Ok(()) };
    Err(PrivilegeError::Cache(format!(
        "the cache {} is not within the reach of a user that owns nothing: {} is closed\nhint: set \
         OPENSHELL_HARNESS_CACHE to a folder in one that everybody may enter, such as /var/cache/openshell-harness",
        folder.display(),
        closed.display(),
    )))
}

fn find(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .chain(TOOL_FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(tool))
        .find(|file| file.is_file())
}

/// The process outside: waits until the other is in its namespace, maps its ids, says how that went, and ends.
fn map(maps: &[Map], process: Pid, mut ready: PipeReader, mut answer: PipeWriter) -> ! {
    if ready.read_exact(&mut [0]).is_ok() {
        let failed = maps.iter().find_map(|map| write(map, process).err());
        let _ = answer.write_all(failed.as_deref().unwrap_or(DONE).as_bytes());
    }
    std::process::exit(0)
}

/// `tool: what it said` when it fails.
fn write(map: &Map, process: Pid) -> Result<(), String> {
    let Some(tool) = &map.tool else {
        let path = Path::new("/proc").join(process.to_string()).join(map.kind.map());
        let lines: Vec<_> = map
            .stretches
            .iter()
            .map(|[inside, outside, count]| format!("{inside} {outside} {count}\n"))
            .collect();
        return fs::write(&path, lines.concat()).map_err(|error| format!("{}: {error}", path.display()));
    };
    let mut command = Command::new(tool);
    command.arg(process.to_string()).args(map.stretches.iter().flatten().map(u32::to_string));
    let output = command.stdin(Stdio::null()).output();
    let name = map.kind.tool();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.trim().trim_start_matches(name).trim_start_matches(": ");
            Err(format!("{name}: {} ({said})", output.status))
        }
        Err(error) => Err(format!("{name}: {error}")),
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}

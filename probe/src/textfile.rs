//! Files of others, read so that none of them can hold this program up: configurations, and what the kernel shows as text.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::OFlag;

/// The most that is read. Ten thousand rules in UFW's own file are 2 MB.
const MOST: u64 = 16 * 1024 * 1024;

/// The text of a regular file, what is no UTF-8 in it replaced. `None` for what is not there or not for this user, for what is no
/// regular file (a FIFO would wait for a writer, a device has no end), and for what is too large to be a configuration.
pub(crate) fn read(path: impl AsRef<Path>) -> Option<String> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    let length = file.take(MOST + 1).read_to_end(&mut bytes).ok()?;
    // Half a file may end before the line that counts.
    (length as u64 <= MOST).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

/// The last value that a file of `KEY=VALUE` lines gives a key, without quotes and comments. Such files are shell to their own
/// programs: whatever needs a shell to be understood is no value here.
pub(crate) fn value<'text>(text: &'text str, key: &str) -> Option<&'text str> {
    let mut assignments = text.lines().rev().filter_map(|line| line.split('#').next()?.split_once('='));
    let (_, value) = assignments.find(|(name, _)| name.trim() == key)?;
    let value = value.trim();
    let bare = value.strip_prefix(['"', '\'']).and_then(|rest| rest.strip_suffix(['"', '\'']));
    let value = bare.unwrap_or(value);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (!value.is_empty() && value.bytes().all(plain)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_surely_text_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("plain"), b"ENABLED=yes\xff\n").unwrap();
        assert_eq!(read(path("plain")).as_deref(), Some("ENABLED=yes\u{fffd}\n"));
        std::os::unix::fs::symlink(path("plain"), path("link")).unwrap();
        assert!(read(path("link")).is_some());
        std::os::unix::fs::symlink(path("loop"), path("loop")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("endless")).unwrap();
        nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        let large = std::fs::File::create(path("large")).unwrap();
        large.set_len(MOST + 1).unwrap();
        for name in ["loop", "endless", "fifo", "large", "missing", "."] {
            assert_eq!(read(path(name)), None, "{name}");
        }
    }

    #[test]
    fn the_last_plain_value_counts() {
        for text in ["K=yes", "# c\nK=\"yes\" # on", "K=no\nK=yes", " K = yes ", "X=1\nK='yes'\r\n"] {
            assert_eq!(value(text, "K"), Some("yes"), "{text:?}");
        }
        for text in ["", "#K=yes", "KK=yes", "K=$(reboot)", "K=", "K=\"a b\"", "K=`x`", "export K"] {
            assert_eq!(value(text, "K"), None, "{text:?}");
        }
    }
}

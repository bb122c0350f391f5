//! The ids of a user namespace: whose they are outside.

use std::fs;
use std::io;

use super::PrivilegeError;

/// As many ids as a Debian has: the last is `nobody`'s.
pub(super) const COUNT: u32 = 65536;

/// The first id outside for hosts that root makes as an ordinary user, unless `/etc/subuid` has ids for root. Nobody gives
/// ids from there on to users, services or containers (systemd's list of them ends at 0x6FFFFFFF).
const NOBODYS: u32 = 0x7f00_0000;

/// The kinds of ids.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    User,
    Group,
}

impl Kind {
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::User => "/etc/subuid",
            Self::Group => "/etc/subgid",
        }
    }

    /// The tool that maps them for an ordinary user.
    pub(super) fn tool(self) -> &'static str {
        match self {
            Self::User => "newuidmap",
            Self::Group => "newgidmap",
        }
    }

    /// The kernel's file of a process.
    pub(super) fn map(self) -> &'static str {
        match self {
            Self::User => "uid_map",
            Self::Group => "gid_map",
        }
    }
}

/// A stretch of ids: inside, outside, how many.
pub(super) type Stretch = [u32; 3];

/// The map of an ordinary user: root inside is the user itself, so that what a host writes is the user's, and the others
/// are ids of its own.
pub(super) fn of_user(kind: Kind, name: &str, number: u32, own: u32) -> Result<Vec<Stretch>, PrivilegeError> {
    let text = match fs::read_to_string(kind.file()) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(no_ids(kind, name, format!("nothing ({error})"))),
    };
    let ranges = ranges(&text, name, number);
    match ranges.iter().find(|(_, count)| *count >= COUNT) {
        // Root inside is one of them already.
        Some((first, _)) => Ok(vec![[0, own, 1], [1, *first, COUNT - 1]]),
        None => Err(no_ids(
            kind,
            name,
            match ranges.iter().map(|(_, count)| count).max() {
                Some(most) => format!("{most} ids in a row"),
                None => "no ids".to_owned(),
            },
        )),
    }
}

/// The map of root's hosts without root's rights.
pub(super) fn of_root(kind: Kind) -> Vec<Stretch> {
    let text = fs::read_to_string(kind.file()).unwrap_or_default();
    let own = ranges(&text, "root", 0).into_iter().find(|(_, count)| *count >= COUNT);
    vec![[0, own.map_or(NOBODYS, |(first, _)| first), COUNT]]
}

fn no_ids(kind: Kind, user: &str, found: String) -> PrivilegeError {
    let hint = format!(
        "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}   (ids that nobody else has there)"
    );
    PrivilegeError::NoIds { file: kind.file(), user: user.to_owned(), found, hint }
}

/// What a file of `name:first:count` lines gives a user, who is named or numbered there.
fn ranges(text: &str, name: &str, number: u32) -> Vec<(u32, u32)> {
    let number = number.to_string();
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let whose = fields.next()?;
        if whose != name && whose != number {
            return None;
        }
        let range: (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        // Nobody's namespace has the machine's root in it by mistake.
        (range.0 != 0 && range.0.checked_add(range.1).is_some()).then_some(range)
    };
    text.lines().filter_map(range).collect()
}

/// The name of a user in `/etc/passwd`, else its number.
pub(super) fn user_name(number: u32) -> String {
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_in(&text, number).unwrap_or_else(|| number.to_string())
}

fn name_in(passwd: &str, number: u32) -> Option<String> {
    let number = number.to_string();
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(&number))?;
    line.split(':').next().map(str::to_owned)
}

/// Who the root of this process's user namespace is outside; `None` where the namespace has every id, as the machine's
/// first one.
pub(super) fn mapped() -> Option<u32> {
    outside(&fs::read_to_string("/proc/self/uid_map").ok()?)
}

fn outside(map: &str) -> Option<u32> {
    let stretches: Vec<Stretch> = map
        .lines()
        .filter_map(|line| {
            let numbers: Vec<u32> = line.split_whitespace().filter_map(|it| it.parse().ok()).collect();
            numbers.try_into().ok()
        })
        .collect();
    if stretches == [[0, 0, u32::MAX]] {
        return None;
    }
    stretches.iter().find(|[inside, ..]| *inside == 0).map(|[_, outside, _]| *outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_given_by_name_or_by_number() {
        let text =
            "other:1000:65536\nme:100000:65536\n\n1000:200000:70000\nme:x:1\nme:0:65536\nme:4294967295:2\n";
        assert_eq!(ranges(text, "me", 1000), [(100_000, 65536), (200_000, 70000)]);
        assert_eq!(ranges(text, "nobody", 1), []);
    }

    #[test]
    fn the_machines_own_namespace_has_every_id() {
        assert_eq!(outside("         0          0 4294967295\n"), None);
        assert_eq!(outside("0 1000 1\n1 100000 65535\n"), Some(1000));
        assert_eq!(outside("0 2130706432 65536\n"), Some(NOBODYS));
    }

    #[test]
    fn a_user_is_called_by_its_name_where_it_has_one() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nme:x:1000:1000::/home/me:/bin/sh\n";
        assert_eq!(name_in(passwd, 1000).as_deref(), Some("me"));
        assert_eq!(name_in(passwd, 1001), None);
    }
}

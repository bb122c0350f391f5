//! What a call changes, and whose that is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nix::libc::{self, c_long};
use nix::unistd::Pid;

use super::call::Call;
use super::engine::Conversation;
use super::sockets::{Sockets, sent, unix_path};
use super::spaces::Spaces;
use super::{netlink, paths};

/// Something that a call changes.
#[derive(Clone, Debug)]
pub(super) struct Deed {
    pub(super) what: String,
    /// Whether it is the machine that is changed.
    pub(super) machines: bool,
    /// Whether the call's success decides that it is done.
    pub(super) if_done: bool,
}

/// All that is to be known to judge.
pub(super) struct Judge {
    spaces: Spaces,
    sockets: Sockets,
    /// The processes and threads that are watched.
    pub(super) family: BTreeSet<Pid>,
    pub(super) programs: Vec<String>,
    pub(super) requests: Vec<String>,
}

/// Changes whatever namespace they are made in, or reads in a way that this watch does not see.
const ALWAYS: &[(c_long, &str)] = &[
    (libc::SYS_init_module, "loads a module"),
    (libc::SYS_finit_module, "loads a module"),
    (libc::SYS_delete_module, "removes a module"),
    (libc::SYS_reboot, "reboots"),
    (libc::SYS_swapon, "changes swapping"),
    (libc::SYS_swapoff, "changes swapping"),
    (libc::SYS_acct, "changes accounting"),
    (libc::SYS_settimeofday, "sets the clock"),
    (libc::SYS_clock_settime, "sets the clock"),
    (libc::SYS_quotactl, "changes quotas"),
    (libc::SYS_bpf, "uses bpf"),
    (libc::SYS_perf_event_open, "uses perf"),
    (libc::SYS_io_uring_setup, "uses io_uring, which is not seen"),
    (libc::SYS_ptrace, "traces a process"),
    (libc::SYS_process_vm_writev, "writes into a process"),
];
/// Changes of the mount namespace.
const MOUNTS: &[(c_long, &str)] = &[
    (libc::SYS_mount, "mounts"),
    (libc::SYS_umount2, "unmounts"),
    (libc::SYS_pivot_root, "changes its root"),
    (libc::SYS_move_mount, "mounts"),
    (libc::SYS_mount_setattr, "changes a mount"),
];
/// Requests of `ioctl` between these are about networking; those in the list read.
const NETWORKING: std::ops::RangeInclusive<u64> = 0x8900..=0x89ff;
/// SIOCATMARK, SIOCGSTAMP(NS), SIOCGIFNAME, -CONF, -FLAGS, -ADDR, -DSTADDR, -BRDADDR, -NETMASK, -METRIC, -MTU, -HWADDR,
/// -INDEX, -TXQLEN, SIOCGSKNS, SIOCGIFMAP.
const NETWORKING_READS: [u64; 18] = [
    0x8905, 0x8906, 0x8907, 0x8910, 0x8912, 0x8913, 0x8915, 0x8917, 0x8919, 0x891b, 0x891d, 0x8921, 0x8927,
    0x8933, 0x8942, 0x894c, 0x8970, 0x8903,
];
/// TUNSETIFF, TIOCSTI, FS_IOC_SETFLAGS.
const CHANGING_REQUESTS: [u64; 3] = [0x4004_54ca, 0x5412, 0x4008_6602];
/// The first option of iptables' and ip6tables', arptables' and ebtables' own.
const TABLES: [(i32, i32, &str); 4] = [
    (libc::SOL_IP, 64, "ip"),
    (libc::SOL_IPV6, 64, "ip6"),
    (libc::SOL_IP, 96, "arp"),
    (libc::SOL_IP, 128, "eb"),
];
/// IPVS.
const IPVS: std::ops::RangeInclusive<i32> = 0x480..=0x48f;
/// Where administration programs are.
const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

impl Judge {
    pub(super) fn new(spaces: Spaces) -> Self {
        let (family, programs, requests) = (BTreeSet::new(), Vec::new(), Vec::new());
        Self { spaces, sockets: Sockets::default(), family, programs, requests }
    }

    /// What a call is about to change.
    pub(super) fn entering(&mut self, call: &Call) -> Vec<Deed> {
        let number = call.number;
        let once = |what: String, machines: bool| vec![Deed { what, machines, if_done: true }];
        if let Some((_, what)) = ALWAYS.iter().find(|(known, _)| *known == number) {
            return vec![Deed { what: (*what).to_owned(), machines: true, if_done: false }];
        }
        if let Some((_, what)) = MOUNTS.iter().find(|(known, _)| *known == number) {
            let what = format!("{what}: {}", call.text(call.operands[1]));
            return once(what, self.spaces.hold(call.caller, "mnt"));
        }
        if let Some(touched) = paths::touched(call, &self.spaces) {
            return once(format!("writes {}", touched.path.display()), touched.machines);
        }
        match number {
            libc::SYS_execve => self.execution(call, paths::named(call, None, 0).as_path(), 1),
            libc::SYS_execveat => self.execution(call, paths::named(call, Some(0), 1).as_path(), 2),
            libc::SYS_setns => once("enters a namespace".to_owned(), self.spaces.hold(call.caller, "net")),
            libc::SYS_sethostname | libc::SYS_setdomainname => {
                once("names the machine".to_owned(), self.spaces.hold(call.caller, "uts"))
            }
            libc::SYS_syslog if call.int(0) > 3 && call.int(0) != 9 && call.int(0) != 10 => {
                once("changes the kernel's log".to_owned(), true)
            }
            libc::SYS_connect => self.connection(call),
            libc::SYS_bind => unix_path(call)
                .filter(|path| !path.is_empty() && !path.starts_with('@'))
                .map_or_else(Vec::new, |path| once(format!("makes the socket {path}"), true)),
            libc::SYS_setsockopt | libc::SYS_getsockopt => self.option(call),
            libc::SYS_ioctl => self.request(call),
            libc::SYS_kill | libc::SYS_tkill | libc::SYS_tgkill | libc::SYS_pidfd_send_signal => {
                self.signal(call)
            }
            _ => self.message(call),
        }
    }

    /// What has been made by a call that succeeded.
    pub(super) fn left(&mut self, call: &Call, result: i64) {
        if call.number == libc::SYS_socket && result >= 0 {
            self.sockets.made(call, result, &self.spaces);
        }
    }

    fn execution(&mut self, call: &Call, path: &Path, arguments: usize) -> Vec<Deed> {
        let words = call.texts(call.operands[arguments]);
        let rest = words.get(1..).unwrap_or_default();
        let line = [vec![path.display().to_string()], rest.to_vec()].concat().join(" ");
        let machines = self.spaces.hold(call.caller, "net") || self.spaces.hold(call.caller, "mnt");
        if machines {
            self.programs.push(line.clone());
        }
        if machines && only_reads(path, rest) {
            return Vec::new();
        }
        vec![Deed { what: format!("runs {line}"), machines, if_done: true }]
    }

    /// To which program's socket a connection goes: only the engine's is known.
    fn connection(&mut self, call: &Call) -> Vec<Deed> {
        let Some(path) = unix_path(call) else { return Vec::new() };
        if path.ends_with("/docker.sock") {
            if let Some(socket) = self.sockets.of(call) {
                socket.engine = Some(Conversation::default());
            }
            return Vec::new();
        }
        vec![Deed { what: format!("talks to {path}"), machines: true, if_done: true }]
    }

    fn option(&mut self, call: &Call) -> Vec<Deed> {
        let (level, name) = (call.int(1), call.int(2));
        let set = call.number == libc::SYS_setsockopt;
        let family =
            TABLES.iter().find(|(its, first, _)| *its == level && (*first..*first + 4).contains(&name));
        let what = match family {
            // For IPv6, 66 and more are other options.
            Some((libc::SOL_IPV6, ..)) if set && name > 65 => return Vec::new(),
            Some((.., family)) if set => format!("sets a table of {family}tables"),
            // The kernel makes the table that is asked about.
            Some((_, first, family)) if name - first < 2 => {
                let table = call.text(call.operands[3]);
                let known = fs::read_to_string(call.proc(&format!("net/{family}_tables_names")));
                if known.unwrap_or_default().lines().any(|line| line == table) {
                    return Vec::new();
                }
                format!("makes the table {table} of {family}tables by asking about it")
            }
            None if set && level == libc::SOL_IP && IPVS.contains(&name) => "changes ipvs".to_owned(),
            _ => return Vec::new(),
        };
        let machines = match self.sockets.of(call) {
            Some(socket) => socket.machines,
            None => self.spaces.hold(call.caller, "net"),
        };
        vec![Deed { what, machines, if_done: true }]
    }

    fn request(&mut self, call: &Call) -> Vec<Deed> {
        let request = call.operands[1] & 0xffff_ffff;
        let networking = NETWORKING.contains(&request) && !NETWORKING_READS.contains(&request);
        if !networking && !CHANGING_REQUESTS.contains(&request) {
            return Vec::new();
        }
        let machines = self.spaces.hold(call.caller, "net");
        vec![Deed { what: format!("ioctl {request:#x}"), machines, if_done: true }]
    }

    /// A signal is for the watched alone.
    fn signal(&self, call: &Call) -> Vec<Deed> {
        let (target, signal) = match call.number {
            libc::SYS_pidfd_send_signal => {
                let about =
                    fs::read_to_string(call.proc(&format!("fdinfo/{}", call.int(0)))).unwrap_or_default();
                let process = about.lines().find_map(|line| line.strip_prefix("Pid:"));
                (process.and_then(|it| it.trim().parse().ok()).unwrap_or(-1), call.int(1))
            }
            libc::SYS_tgkill => (call.int(0), call.int(2)),
            _ => (call.int(0), call.int(1)),
        };
        // Inside the twin, processes have other numbers, and there are none but its own.
        let own = self.family.contains(&Pid::from_raw(target.abs())) || !self.spaces.hold(call.caller, "pid");
        if signal == 0 || own {
            return Vec::new();
        }
        vec![Deed { what: format!("sends signal {signal} to {target}"), machines: true, if_done: true }]
    }

    /// What is said to the kernel by netlink, and to the engine.
    fn message(&mut self, call: &Call) -> Vec<Deed> {
        let Some(socket) = sent(call).and_then(|sent| Some((self.sockets.of(call)?, sent))) else {
            return Vec::new();
        };
        let (socket, sent) = socket;
        if socket.family == libc::AF_NETLINK {
            let machines = socket.machines;
            let deed = |what| Deed { what, machines, if_done: false };
            return netlink::changes(socket.protocol, &sent).into_iter().map(deed).collect();
        }
        let Some(request) = socket.engine.as_mut().and_then(|conversation| conversation.take(&sent)) else {
            return Vec::new();
        };
        self.requests.push(format!("{} {}", request.method, request.path));
        request.change().map(|what| Deed { what, machines: true, if_done: false }).into_iter().collect()
    }
}

/// Programs that read the rules, and the program itself, which becomes the twin.
fn only_reads(path: &Path, arguments: &[String]) -> bool {
    if path == Path::new("/proc/self/exe") {
        return true;
    }
    let known = path.parent().is_some_and(|folder| FOLDERS.iter().any(|it| Path::new(it) == folder));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    known
        && match &*name {
            // A word of a table's name is one argument, and nft reads all of them as one text.
            "nft" => match arguments[..] {
                ["-j", "-a", "list", "ruleset"] => true,
                ["-j", "-a", "list", "table", family, name] => [family, name].iter().all(|word| {
                    word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
                }),
                _ => false,
            },
            "ipset" => matches!(arguments[..], ["save"]),
            _ => {
                name.ends_with("tables-save") && arguments.iter().all(|it| *it == "-c")
                    || ["-nft-save", "-legacy-save"].iter().any(|it| name.ends_with(it))
                        && arguments.iter().all(|it| *it == "-c")
            }
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_read_are_known_by_their_whole_command_line() {
        let reads = |line: &str| {
            let mut words = line.split(' ').map(str::to_owned);
            let path = words.next().unwrap();
            only_reads(Path::new(&path), &words.collect::<Vec<_>>())
        };
        for line in [
            "/usr/sbin/iptables-legacy-save -c",
            "/usr/sbin/iptables-save",
            "/usr/sbin/nft -j -a list ruleset",
            "/usr/sbin/nft -j -a list table inet own",
        ] {
            assert!(reads(line), "{line}");
        }
        for line in [
            "/usr/sbin/iptables-legacy-save -t filter",
            "/usr/sbin/iptables -S",
            "/usr/sbin/nft flush ruleset",
            "/usr/sbin/nft -j -a list table inet own;flush",
            "/usr/sbin/nft -j -a reset table inet own",
            "/usr/sbin/ufw status",
            "/tmp/iptables-save",
            "/usr/sbin/ipset flush",
        ] {
            assert!(!reads(line), "{line}");
        }
    }
}

//! What drops packets besides a firewall's rules, as the kernel counts it for everybody to read.
//!
//! Below the rules there are filters of a `clsact` queueing discipline, among them eBPF programs, and queues that are too short:
//! each counts what it drops. An XDP program is to be seen, and counts nothing. Above the rules there are policies of IPsec and options
//! of TCP; their counters are the whole host's, so they only raise a doubt.

use std::collections::BTreeMap;
use std::fs;

use netns::Queues;
use serde::{Deserialize, Serialize};

/// What dropped packets while the probe dialled, besides rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Drops {
    /// Packets that traffic control has dropped on the network's bridge and its ports, whosever they were.
    pub queues: u64,
    /// Interfaces among those that have an XDP program.
    pub programs: Vec<String>,
    /// Packets that policies of IPsec and options of TCP have dropped on the whole host, by the kernel's own names of these counters, such as
    /// `XfrmInPolBlock` and `TCPMinTTLDrop`.
    pub host: BTreeMap<String, u64>,
}

impl Drops {
    /// Whether nothing of this can have stopped as many packets as that.
    #[must_use]
    pub fn exclude(&self, packets: u64) -> bool {
        self.queues == 0 && self.programs.is_empty() && self.host.values().sum::<u64>() < packets
    }
}

/// Drops of IPsec's policies (Linux's `Documentation/networking/xfrm_proc.rst`). Packets that are IPsec's themselves are another
/// matter.
const OF_IPSEC: [&str; 8] = [
    "XfrmInNoPols",
    "XfrmInPolBlock",
    "XfrmInPolError",
    "XfrmInTmplMismatch",
    "XfrmOutNoStates",
    "XfrmOutPolBlock",
    "XfrmOutPolDead",
    "XfrmOutPolError",
];

/// Drops of TCP that leave a SYN, or what follows, without an answer (Linux's `net/ipv4/proc.c`). Not those that a busy host has of
/// itself (full queues and backlogs), and not what other evidence tells of this very connection (`rp_filter`).
const OF_TCP: [&str; 7] = [
    "TCPAOKeyNotFound",
    "TCPAORequired",
    "TCPMD5Failure",
    "TCPMD5NotFound",
    "TCPMD5Unexpected",
    "TCPMinTTLDrop",
    "TCPReqQFullDrop",
];

/// The counters before the dials.
pub(crate) struct Before {
    bridge: u32,
    /// `None` where the kernel does not say, as one without traffic control.
    queues: Option<Queues>,
    host: BTreeMap<String, u64>,
}

impl Before {
    pub(crate) async fn look(bridge: u32) -> Self {
        Self { bridge, queues: Queues::look(bridge).await.ok(), host: host() }
    }

    /// What has been dropped since.
    pub(crate) async fn since(&self) -> Drops {
        let mut drops = Drops::default();
        if let (Some(before), Ok(now)) = (&self.queues, Queues::look(self.bridge).await) {
            drops.queues = now.dropped_since(before);
            drops.programs = now.programs().to_vec();
        }
        for (name, count) in host() {
            let more = count.saturating_sub(self.host.get(&name).copied().unwrap_or_default());
            if more > 0 {
                drops.host.insert(name, more);
            }
        }
        drops
    }
}

/// The counters of this network namespace that are looked at. What cannot be read is not there.
fn host() -> BTreeMap<String, u64> {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let mut all = of_ipsec(&read("/proc/net/xfrm_stat"));
    all.extend(of_tcp(&read("/proc/net/netstat")));
    all
}

fn of_ipsec(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (name, count) = line.split_once(char::is_whitespace)?;
        Some((name.to_owned(), count.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).filter(|(name, _)| OF_IPSEC.contains(&name.as_str())).collect()
}

/// A line of names, and a line of counts that begins with the same word.
fn of_tcp(text: &str) -> BTreeMap<String, u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (Some(names), Some(counts)) = (lines.next(), lines.next()) else { return BTreeMap::new() };
    let pairs = names.split_whitespace().zip(counts.split_whitespace());
    pairs
        .filter(|(name, _)| OF_TCP.contains(name))
        .filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_their_names() {
        let ipsec = of_ipsec("XfrmInError             \t0\nXfrmInPolBlock          \t3\nnonsense\n");
        assert_eq!(ipsec, BTreeMap::from([("XfrmInPolBlock".to_owned(), 3)]));
        let tcp = of_tcp("TcpExt: ListenDrops TCPMinTTLDrop\nTcpExt: 5 7\nIpExt: TCPMinTTLDrop\nIpExt: 9\n");
        assert_eq!(tcp, BTreeMap::from([("TCPMinTTLDrop".to_owned(), 7)]));
        assert!(of_tcp("").is_empty());
    }

    #[test]
    fn this_kernel_has_the_counters() {
        let all = host();
        assert!(all.contains_key("TCPMinTTLDrop") && all.contains_key("TCPReqQFullDrop"), "{all:?}");
    }
}

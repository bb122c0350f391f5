//! Messages of netlink: which of them change something. What is not known to read does.

use nix::libc;

/// A family of `NETLINK_NETFILTER`, and those of its messages that read.
const NETFILTER: [(u8, &str, &[u8]); 8] = [
    // GET, GET_STATS_CPU, GET_STATS, GET_DYING, GET_UNCONFIRMED; not GET_CTRZERO.
    (1, "conntrack", &[1, 4, 5, 6, 7]),
    (2, "expectation", &[1]),
    // PROTOCOL, LIST, SAVE, TEST, HEADER, TYPE, GET_BYNAME, GET_BYINDEX.
    (6, "ipset", &[1, 7, 8, 11, 12, 13, 14, 15]),
    (7, "accounting", &[1]),
    (8, "timeout", &[1]),
    // GETTABLE, GETCHAIN, GETRULE, GETSET, GETSETELEM, GETGEN, GETOBJ, GETFLOWTABLE; not those that reset.
    (10, "nf_tables", &[1, 4, 7, 10, 13, 16, 19, 23]),
    (11, "nft compat", &[0]),
    (12, "hook", &[0]),
];
/// GETSA, GETPOLICY, GETAE, GETSADINFO, GETSPDINFO.
const XFRM: [u16; 5] = [18, 21, 31, 35, 37];
/// TCPDIAG_GETSOCK, DCCPDIAG_GETSOCK, SOCK_DIAG_BY_FAMILY; not SOCK_DESTROY.
const SOCK_DIAG: [u16; 3] = [18, 19, 20];
/// Below are the messages of netlink itself.
const FIRST: u16 = 16;
const HEADER: usize = 16;

/// The changes among the messages of one call.
#[must_use]
pub fn changes(protocol: i32, mut message: &[u8]) -> Vec<String> {
    let mut changes = Vec::new();
    while let Some((length, kind, body)) = header(message) {
        if kind >= FIRST
            && let Some(change) = change(protocol, kind, body)
        {
            changes.push(change);
        }
        match message.get(length.next_multiple_of(4)..) {
            Some(rest) if length >= HEADER => message = rest,
            _ => break,
        }
    }
    changes
}

/// The length, the type and what follows the header.
fn header(message: &[u8]) -> Option<(usize, u16, &[u8])> {
    let length = u32::from_ne_bytes(message.get(..4)?.try_into().ok()?);
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    Some((usize::try_from(length).ok()?, kind, message.get(HEADER..)?))
}

fn change(protocol: i32, kind: u16, body: &[u8]) -> Option<String> {
    match protocol {
        libc::NETLINK_ROUTE => (kind % 4 != 2).then(|| format!("rtnetlink message {kind}")),
        libc::NETLINK_NETFILTER => {
            let [message, family] = kind.to_le_bytes();
            let known = NETFILTER.iter().find(|(number, ..)| *number == family);
            let Some((_, name, reads)) = known else {
                return Some(format!("netfilter message {message} of family {family}"));
            };
            (!reads.contains(&message)).then(|| format!("{name} message {message}"))
        }
        libc::NETLINK_SOCK_DIAG => (!SOCK_DIAG.contains(&kind)).then(|| format!("sock_diag message {kind}")),
        libc::NETLINK_XFRM => (!XFRM.contains(&kind)).then(|| format!("xfrm message {kind}")),
        // The controller's GETFAMILY.
        libc::NETLINK_GENERIC if kind == FIRST && body.first() == Some(&3) => None,
        _ => Some(format!("netlink message {kind} of protocol {protocol}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).unwrap();
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    #[test]
    fn reading_is_no_change_and_all_else_is() {
        let (route, netfilter) = (libc::NETLINK_ROUTE, libc::NETLINK_NETFILTER);
        for (protocol, kind) in
            [(route, 18), (route, 26), (netfilter, 10 << 8 | 7), (netfilter, 6 << 8 | 8), (4, 20)]
        {
            assert_eq!(changes(protocol, &message(kind, &[0; 4])), Vec::<String>::new(), "{protocol} {kind}");
        }
        for (protocol, kind, said) in [
            (route, 16, "rtnetlink message 16"),
            (route, 19, "rtnetlink message 19"),
            (netfilter, 16, "netfilter message 16 of family 0"),
            (netfilter, 10 << 8 | 6, "nf_tables message 6"),
            (netfilter, 10 << 8 | 25, "nf_tables message 25"),
            (netfilter, 6 << 8 | 4, "ipset message 4"),
            (libc::NETLINK_XFRM, 16, "xfrm message 16"),
            (4, 21, "sock_diag message 21"),
            (libc::NETLINK_GENERIC, 30, "netlink message 30 of protocol 16"),
        ] {
            assert_eq!(changes(protocol, &message(kind, &[1; 4])), [said]);
        }
        assert_eq!(changes(libc::NETLINK_GENERIC, &message(16, &[3, 1])), Vec::<String>::new());
    }

    #[test]
    fn each_message_of_a_batch_is_looked_at() {
        let batch = [message(10 << 8 | 16, &[0; 3]), message(10 << 8 | 6, &[0; 5]), vec![1, 0]].concat();
        assert_eq!(changes(libc::NETLINK_NETFILTER, &batch), ["nf_tables message 6"]);
        assert_eq!(changes(libc::NETLINK_ROUTE, &[0; 16]), Vec::<String>::new(), "a length of 0 ends it");
    }
}

//! The words by which a snapshot says what it does not carry.

/// What a part of a rule may be called that is not carried, or whose kind alone is: extensions of iptables and nft's
/// statements. Anything else is `other`.
pub const KINDS: [&str; 117] = [
    // Of ours.
    "address",
    "name",
    "option",
    "other",
    "too_much",
    // Matches of iptables.
    "addrtype",
    "ah",
    "bpf",
    "cgroup",
    "cluster",
    "comment",
    "connbytes",
    "connlabel",
    "connlimit",
    "connmark",
    "conntrack",
    "cpu",
    "dccp",
    "devgroup",
    "dscp",
    "ecn",
    "esp",
    "eui64",
    "frag",
    "hashlimit",
    "hbh",
    "helper",
    "hl",
    "icmp",
    "icmp6",
    "iprange",
    "ipv6header",
    "ipvs",
    "length",
    "limit",
    "mac",
    "mark",
    "mh",
    "multiport",
    "nfacct",
    "osf",
    "owner",
    "physdev",
    "pkttype",
    "policy",
    "quota",
    "rateest",
    "realm",
    "recent",
    "rpfilter",
    "rt",
    "sctp",
    "set",
    "socket",
    "srh",
    "state",
    "statistic",
    "string",
    "tcp",
    "tcpmss",
    "time",
    "tos",
    "ttl",
    "u32",
    "udp",
    // Targets.
    "AUDIT",
    "CHECKSUM",
    "CLASSIFY",
    "CLUSTERIP",
    "CONNMARK",
    "CONNSECMARK",
    "CT",
    "DNAT",
    "DNPT",
    "DSCP",
    "ECN",
    "HL",
    "HMARK",
    "IDLETIMER",
    "LED",
    "MARK",
    "NETMAP",
    "NFQUEUE",
    "QUEUE",
    "RATEEST",
    "REJECT",
    "SECMARK",
    "SET",
    "SNAT",
    "SNPT",
    "SYNPROXY",
    "TCPMSS",
    "TCPOPTSTRIP",
    "TEE",
    "TOS",
    "TPROXY",
    "TTL",
    // nft's own.
    "ct",
    "ct expectation",
    "ct helper",
    "ct timeout",
    "dup",
    "exthdr",
    "fib",
    "flow",
    "ipsec",
    "jhash",
    "map",
    "mangle",
    "match",
    "meta",
    "numgen",
    "payload",
    "queue",
    "tproxy",
    "vmap",
    "xt",
];

/// The kind of a text that is not understood: an extension's name, or nft's JSON. The text itself is never told.
pub(crate) fn kind_of(text: &str) -> &'static str {
    if let Some(known) = known(text) {
        return known;
    }
    if text.starts_with('-') {
        return "option";
    }
    let Ok(serde_json::Value::Object(object)) = serde_json::from_str(text) else { return "other" };
    let Some((key, body)) = object.iter().next() else { return "other" };
    let inner = match key.as_str() {
        "xt" => body.get("name").and_then(|name| name.as_str()),
        "match" => body.get("left").and_then(|left| left.as_object()?.keys().next()).map(String::as_str),
        _ => None,
    };
    // The whole of a question is not under "match" any more.
    let left = object.get("left").and_then(|left| left.as_object()?.keys().next()).map(String::as_str);
    inner.or(left).and_then(known).or_else(|| known(key)).unwrap_or("other")
}

/// The word, if it is one of [`KINDS`].
pub(crate) fn known(text: &str) -> Option<&'static str> {
    KINDS.into_iter().find(|kind| *kind == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_tells_no_contents() {
        assert_eq!(kind_of("string"), "string");
        assert_eq!(kind_of("--set-secret"), "option");
        assert_eq!(kind_of("s3cret words"), "other");
        assert_eq!(kind_of(r#"{"xt":{"type":"match","name":"string"}}"#), "string");
        assert_eq!(kind_of(r#"{"op":"==","left":{"payload":{"base":"th"}},"right":7}"#), "payload");
        assert_eq!(kind_of(r#"{"secret":1}"#), "other");
    }
}

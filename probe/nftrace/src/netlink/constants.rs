//! Numbers of the kernel's interface, by the header under `include/uapi/linux/` that has them. They never change.

/// `netlink.h`: kinds and flags of messages.
pub(crate) const NLMSG_ERROR: u16 = 2;
pub(crate) const NLMSG_DONE: u16 = 3;
pub(crate) const NLM_F_REQUEST: u16 = 0x01;
pub(crate) const NLM_F_ACK: u16 = 0x04;
pub(crate) const NLM_F_DUMP_INTR: u16 = 0x10;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
pub(crate) const NLM_F_APPEND: u16 = 0x800;

/// `netlink.h`: flags in an attribute's type.
pub(crate) const NLA_F_NESTED: u16 = 1 << 15;
pub(crate) const NLA_TYPE_MASK: u16 = 0x3fff;

/// `netfilter/nfnetlink.h`: subsystem, group and the frame of a batch.
pub(crate) const NFNL_SUBSYS_NFTABLES: u16 = 10;
pub(crate) const NFNLGRP_NFTRACE: u32 = 9;
pub(crate) const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
pub(crate) const NFNL_MSG_BATCH_END: u16 = 0x11;

/// `netfilter/nf_tables.h`, `enum nf_tables_msg_types`.
pub(crate) const NFT_MSG_NEWTABLE: u16 = 0;
pub(crate) const NFT_MSG_GETTABLE: u16 = 1;
pub(crate) const NFT_MSG_NEWCHAIN: u16 = 3;
pub(crate) const NFT_MSG_NEWRULE: u16 = 6;
pub(crate) const NFT_MSG_GETRULE: u16 = 7;
pub(crate) const NFT_MSG_NEWGEN: u16 = 15;
pub(crate) const NFT_MSG_GETGEN: u16 = 16;
pub(crate) const NFT_MSG_TRACE: u16 = 17;

/// `enum nft_table_attributes`, and the flag of a table that goes with the socket which made it (Linux 5.12).
pub(crate) const NFTA_TABLE_NAME: u16 = 1;
pub(crate) const NFTA_TABLE_FLAGS: u16 = 2;
pub(crate) const NFT_TABLE_F_OWNER: u32 = 2;

/// `enum nft_chain_attributes`, `enum nft_hook_attributes`.
pub(crate) const NFTA_CHAIN_TABLE: u16 = 1;
pub(crate) const NFTA_CHAIN_NAME: u16 = 3;
pub(crate) const NFTA_CHAIN_HOOK: u16 = 4;
pub(crate) const NFTA_CHAIN_POLICY: u16 = 5;
pub(crate) const NFTA_CHAIN_TYPE: u16 = 7;
pub(crate) const NFTA_HOOK_HOOKNUM: u16 = 1;
pub(crate) const NFTA_HOOK_PRIORITY: u16 = 2;
pub(crate) const NFTA_HOOK_DEV: u16 = 3;

/// `enum nft_rule_attributes`.
pub(crate) const NFTA_RULE_TABLE: u16 = 1;
pub(crate) const NFTA_RULE_CHAIN: u16 = 2;
pub(crate) const NFTA_RULE_HANDLE: u16 = 3;
pub(crate) const NFTA_RULE_EXPRESSIONS: u16 = 4;

/// `enum nft_list_attributes`, `enum nft_expr_attributes`, `enum nft_data_attributes`.
pub(crate) const NFTA_LIST_ELEM: u16 = 1;
pub(crate) const NFTA_EXPR_NAME: u16 = 1;
pub(crate) const NFTA_EXPR_DATA: u16 = 2;
pub(crate) const NFTA_DATA_VALUE: u16 = 1;
#[cfg(test)]
pub(crate) const NFTA_DATA_VERDICT: u16 = 2;

/// `enum nft_registers`: the first one of 16 bytes, and the one that holds a verdict.
pub(crate) const NFT_REG_1: u32 = 1;
#[cfg(test)]
pub(crate) const NFT_REG_VERDICT: u32 = 0;

/// `enum nft_meta_attributes`, `enum nft_meta_keys`.
pub(crate) const NFTA_META_DREG: u16 = 1;
pub(crate) const NFTA_META_KEY: u16 = 2;
pub(crate) const NFTA_META_SREG: u16 = 3;
pub(crate) const NFT_META_L4PROTO: u32 = 16;
pub(crate) const NFT_META_NFTRACE: u32 = 12;

/// `enum nft_payload_attributes`, `enum nft_payload_bases`.
pub(crate) const NFTA_PAYLOAD_DREG: u16 = 1;
pub(crate) const NFTA_PAYLOAD_BASE: u16 = 2;
pub(crate) const NFTA_PAYLOAD_OFFSET: u16 = 3;
pub(crate) const NFTA_PAYLOAD_LEN: u16 = 4;
pub(crate) const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;

/// `enum nft_cmp_attributes`, `enum nft_cmp_ops`.
pub(crate) const NFTA_CMP_SREG: u16 = 1;
pub(crate) const NFTA_CMP_OP: u16 = 2;
pub(crate) const NFTA_CMP_DATA: u16 = 3;
pub(crate) const NFT_CMP_EQ: u32 = 0;

/// `enum nft_bitwise_attributes`.
pub(crate) const NFTA_BITWISE_SREG: u16 = 1;
pub(crate) const NFTA_BITWISE_DREG: u16 = 2;
pub(crate) const NFTA_BITWISE_LEN: u16 = 3;
pub(crate) const NFTA_BITWISE_MASK: u16 = 4;
pub(crate) const NFTA_BITWISE_XOR: u16 = 5;

/// `enum nft_immediate_attributes`.
pub(crate) const NFTA_IMMEDIATE_DREG: u16 = 1;
pub(crate) const NFTA_IMMEDIATE_DATA: u16 = 2;

/// `enum nft_gen_attributes`.
pub(crate) const NFTA_GEN_ID: u16 = 1;

/// `enum nft_trace_attributes`.
pub(crate) const NFTA_TRACE_TABLE: u16 = 1;
pub(crate) const NFTA_TRACE_CHAIN: u16 = 2;
pub(crate) const NFTA_TRACE_RULE_HANDLE: u16 = 3;
pub(crate) const NFTA_TRACE_TYPE: u16 = 4;
pub(crate) const NFTA_TRACE_VERDICT: u16 = 5;
pub(crate) const NFTA_TRACE_ID: u16 = 6;
pub(crate) const NFTA_TRACE_NETWORK_HEADER: u16 = 8;
pub(crate) const NFTA_TRACE_TRANSPORT_HEADER: u16 = 9;
pub(crate) const NFTA_TRACE_IIF: u16 = 10;
pub(crate) const NFTA_TRACE_MARK: u16 = 14;
pub(crate) const NFTA_TRACE_POLICY: u16 = 16;

/// `enum nft_trace_types`.
pub(crate) const NFT_TRACETYPE_POLICY: u32 = 1;
pub(crate) const NFT_TRACETYPE_RETURN: u32 = 2;
pub(crate) const NFT_TRACETYPE_RULE: u32 = 3;

/// `enum nft_verdict_attributes`, `enum nft_verdicts`.
pub(crate) const NFTA_VERDICT_CODE: u16 = 1;
pub(crate) const NFTA_VERDICT_CHAIN: u16 = 2;
pub(crate) const NFT_CONTINUE: i32 = -1;
pub(crate) const NFT_BREAK: i32 = -2;
pub(crate) const NFT_JUMP: i32 = -3;
pub(crate) const NFT_GOTO: i32 = -4;
pub(crate) const NFT_RETURN: i32 = -5;

/// `netfilter.h`: verdicts of a hook, which are in the lowest byte.
pub(crate) const NF_DROP: u32 = 0;
pub(crate) const NF_ACCEPT: u32 = 1;
pub(crate) const NF_STOLEN: u32 = 2;
pub(crate) const NF_QUEUE: u32 = 3;
pub(crate) const NF_REPEAT: u32 = 4;
pub(crate) const NF_VERDICT_MASK: u32 = 0xff;

/// `netfilter.h`: families, and the hooks that they count.
pub(crate) const NFPROTO_INET: u8 = 1;
pub(crate) const NFPROTO_IPV4: u8 = 2;
pub(crate) const NFPROTO_ARP: u8 = 3;
pub(crate) const NFPROTO_NETDEV: u8 = 5;
pub(crate) const NFPROTO_BRIDGE: u8 = 7;
pub(crate) const NFPROTO_IPV6: u8 = 10;
pub(crate) const NF_INET_PRE_ROUTING: u32 = 0;
#[cfg(test)]
pub(crate) const NF_INET_LOCAL_IN: u32 = 1;
pub(crate) const NF_INET_LOCAL_OUT: u32 = 3;
pub(crate) const NF_BR_PRE_ROUTING: u32 = 0;
pub(crate) const NF_NETDEV_INGRESS: u32 = 0;

/// `if.h`: the longest name of an interface, with its zero; `nf_tables.h` gives names of its own 255 bytes.
pub(crate) const IFNAMSIZ: usize = 16;

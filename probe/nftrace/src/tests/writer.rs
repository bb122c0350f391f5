//! The rules of the tests, written over netlink: the machine need not have the program `nft`.

use crate::netlink::constants::*;
use crate::netlink::{Message, Messages, Socket};
use crate::place::{equals, expression, load};

/// What a rule says.
pub(super) enum Say {
    Accept,
    Continue,
    Drop,
    Jump(&'static str),
}

type Request = Box<dyn Fn(&mut Messages)>;

/// Tables, chains and rules that come into force together.
pub(super) struct Rules(Vec<Request>);

impl Rules {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    fn with(mut self, request: impl Fn(&mut Messages) + 'static) -> Self {
        self.0.push(Box::new(request));
        self
    }

    pub(super) fn table(self, family: u8, table: &'static str) -> Self {
        self.with(move |batch| {
            batch.add(NFT_MSG_NEWTABLE, NLM_F_CREATE, family, |it| it.name(NFTA_TABLE_NAME, table));
        })
    }

    pub(super) fn chain(self, family: u8, table: &'static str, chain: &'static str) -> Self {
        self.with(move |batch| {
            batch.add(NFT_MSG_NEWCHAIN, NLM_F_CREATE, family, |it| {
                it.name(NFTA_CHAIN_TABLE, table);
                it.name(NFTA_CHAIN_NAME, chain);
            });
        })
    }

    /// A chain of the input hook.
    pub(super) fn input(self, family: u8, table: &'static str, chain: &'static str, policy: u32) -> Self {
        self.input_at(0, family, table, chain, policy)
    }

    /// The same with a priority: lower ones come first.
    pub(super) fn input_at(
        self,
        priority: u32,
        family: u8,
        table: &'static str,
        chain: &'static str,
        policy: u32,
    ) -> Self {
        self.with(move |batch| {
            batch.add(NFT_MSG_NEWCHAIN, NLM_F_CREATE, family, |it| {
                it.name(NFTA_CHAIN_TABLE, table);
                it.name(NFTA_CHAIN_NAME, chain);
                it.name(NFTA_CHAIN_TYPE, "filter");
                it.number(NFTA_CHAIN_POLICY, policy);
                it.nested(NFTA_CHAIN_HOOK, |it| {
                    it.number(NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_IN);
                    it.number(NFTA_HOOK_PRIORITY, priority);
                });
            });
        })
    }

    /// A rule for a destination port, or for everything.
    pub(super) fn rule(
        self,
        family: u8,
        table: &'static str,
        chain: &'static str,
        port: Option<u16>,
        say: Say,
    ) -> Self {
        self.with(move |batch| {
            batch.add(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, family, |it| {
                it.name(NFTA_RULE_TABLE, table);
                it.name(NFTA_RULE_CHAIN, chain);
                it.nested(NFTA_RULE_EXPRESSIONS, |it| {
                    if let Some(port) = port {
                        load(it, 2, 2);
                        equals(it, &port.to_be_bytes());
                    }
                    verdict(it, &say);
                });
            });
        })
    }

    /// Puts them in force in the network namespace of the calling thread.
    pub(super) fn load(self) {
        let batch = Messages::batch(|batch| {
            self.0.iter().for_each(|request| request(batch));
            batch.add(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_ACK, NFPROTO_ARP, |it| {
                it.name(NFTA_TABLE_NAME, "end")
            });
        });
        Socket::open()
            .unwrap()
            .ask("load rules", &batch, |message| Ok(message.is_control(NLMSG_ERROR).then_some(())))
            .unwrap();
    }
}

fn verdict(rule: &mut Message<'_>, say: &Say) {
    let (code, chain) = match say {
        Say::Accept => (NF_ACCEPT, None),
        Say::Continue => (NFT_CONTINUE.cast_unsigned(), None),
        Say::Drop => (NF_DROP, None),
        Say::Jump(chain) => (NFT_JUMP.cast_unsigned(), Some(*chain)),
    };
    expression(rule, "immediate", |it| {
        it.number(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
        it.nested(NFTA_IMMEDIATE_DATA, |it| {
            it.nested(NFTA_DATA_VERDICT, |it| {
                it.number(NFTA_VERDICT_CODE, code);
                if let Some(chain) = chain {
                    it.name(NFTA_VERDICT_CHAIN, chain);
                }
            });
        });
    });
}

/// The names of the tables in the network namespace of the calling thread.
pub(super) fn tables() -> Vec<String> {
    let request = Messages::request(NFT_MSG_GETTABLE, NLM_F_DUMP, 0, |_| {});
    let mut names = Vec::new();
    Socket::open()
        .unwrap()
        .ask("list tables", &request, |message| {
            if message.is(NFT_MSG_NEWTABLE) {
                for attribute in crate::netlink::attributes(message.content()?.1) {
                    let attribute = attribute?;
                    if attribute.kind == NFTA_TABLE_NAME {
                        names.push(crate::netlink::name(attribute.value));
                    }
                }
            }
            Ok(message.is_control(NLMSG_DONE).then_some(()))
        })
        .unwrap();
    names
}

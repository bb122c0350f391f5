//! Where a rule is in its chain, and whether the rules are still the same.

use crate::netlink::constants::{
    NFT_MSG_GETGEN, NFT_MSG_GETRULE, NFT_MSG_GETTABLE, NFT_MSG_NEWGEN, NFT_MSG_NEWRULE, NFT_MSG_NEWTABLE,
    NFTA_GEN_ID, NFTA_RULE_CHAIN, NFTA_RULE_HANDLE, NFTA_RULE_TABLE, NFTA_TABLE_NAME, NLM_F_DUMP,
    NLM_F_DUMP_INTR, NLMSG_DONE,
};
use crate::netlink::{Messages, Socket, attributes, name, u32_be, u64_be};
use crate::{Error, Family};

/// How often rules are read that change meanwhile.
const ATTEMPTS: usize = 10;

/// The place of a rule in its chain, counted from 1: the rule's `-A CHAIN` line in what `iptables-nft-save` prints, and its
/// number in `iptables -L CHAIN --line-numbers`. None when the chain has no such rule.
///
/// # Errors
/// When there is no such table, or the rules could not be read.
pub fn position(family: Family, table: &str, chain: &str, handle: u64) -> Result<Option<usize>, Error> {
    Ok(handles(family, table, chain)?.iter().position(|it| *it == handle).map(|index| index + 1))
}

/// The number of the ruleset. Every change of it, by anybody in this network namespace, makes it another one.
///
/// # Errors
/// When it could not be read.
pub fn generation() -> Result<u32, Error> {
    let request = Messages::request(NFT_MSG_GETGEN, 0, 0, |_| {});
    Socket::open()?.ask("tell the ruleset's generation", &request, |message| {
        if !message.is(NFT_MSG_NEWGEN) {
            return Ok(None);
        }
        let (_, body) = message.content()?;
        let id = attribute(body, NFTA_GEN_ID)?;
        id.map(u32_be)
            .transpose()?
            .map_or(Err(Error::Malformed { what: "a generation without a number" }), |id| Ok(Some(id)))
    })
}

/// Every table of nf_tables, those of iptables-nft among them. It is what nobody needs the program `nft` for: whether a listing
/// is whole.
///
/// # Errors
/// When they could not be read.
pub fn tables() -> Result<Vec<(Family, String)>, Error> {
    let request = Messages::request(NFT_MSG_GETTABLE, NLM_F_DUMP, 0, |_| {});
    let mut tables = Vec::new();
    Socket::open()?.ask("list the tables", &request, |message| {
        if message.is_control(NLMSG_DONE) {
            return Ok(Some(()));
        }
        if message.is(NFT_MSG_NEWTABLE) {
            let (family, body) = message.content()?;
            let label = attribute(body, NFTA_TABLE_NAME)?;
            let label = label.ok_or(Error::Malformed { what: "a table without a name" })?;
            tables.push((Family::from_number(family), name(label)));
        }
        Ok(None)
    })?;
    Ok(tables)
}

/// The numbers that the kernel knows a chain's rules by, in their order; none for a chain that does not exist.
///
/// # Errors
/// When there is no such table, or the rules could not be read.
pub fn handles(family: Family, table: &str, chain: &str) -> Result<Vec<u64>, Error> {
    for _ in 0..ATTEMPTS {
        if let Some(handles) = read(family, table, chain)? {
            return Ok(handles);
        }
    }
    Err(Error::Unsteady { attempts: ATTEMPTS })
}

/// None when the rules changed meanwhile.
fn read(family: Family, table: &str, chain: &str) -> Result<Option<Vec<u64>>, Error> {
    let request = Messages::request(NFT_MSG_GETRULE, NLM_F_DUMP, family.number(), |it| {
        it.name(NFTA_RULE_TABLE, table);
        it.name(NFTA_RULE_CHAIN, chain);
    });
    let (mut handles, mut steady) = (Vec::new(), true);
    Socket::open()?.ask("list a chain's rules", &request, |message| {
        steady &= message.flags & NLM_F_DUMP_INTR == 0;
        if message.is_control(NLMSG_DONE) {
            return Ok(Some(()));
        }
        // Kernels before 4.9 do not know these filters and answer with everything.
        if message.is(NFT_MSG_NEWRULE) {
            let (from, body) = message.content()?;
            if from == family.number()
                && is_of(body, NFTA_RULE_TABLE, table)?
                && is_of(body, NFTA_RULE_CHAIN, chain)?
            {
                let handle = attribute(body, NFTA_RULE_HANDLE)?;
                handles.push(u64_be(handle.ok_or(Error::Malformed { what: "a rule without a handle" })?)?);
            }
        }
        Ok(None)
    })?;
    Ok(steady.then_some(handles))
}

fn is_of(body: &[u8], kind: u16, wanted: &str) -> Result<bool, Error> {
    Ok(attribute(body, kind)?.is_some_and(|value| name(value) == wanted))
}

fn attribute(body: &[u8], kind: u16) -> Result<Option<&[u8]>, Error> {
    for attribute in attributes(body) {
        let attribute = attribute?;
        if attribute.kind == kind {
            return Ok(Some(attribute.value));
        }
    }
    Ok(None)
}

//! `conntrack` and `state`.

use crate::condition::{Condition, CtProperty, CtTest, Network, ct_state, ct_status};
use crate::names;
use crate::place::Family;
use crate::save::options::Opt;
use crate::save::rule::network;

pub(super) fn state(options: &[Opt]) -> Option<Vec<Condition>> {
    let [option] = options else { return None };
    let list = option.one().filter(|_| option.key == "--state")?;
    let what = CtProperty::State(bits(list, state_bit)?);
    Some(vec![Condition::Conntrack(vec![CtTest { negated: option.negated, what }])])
}

pub(super) fn conntrack(family: Family, options: &[Opt]) -> Option<Vec<Condition>> {
    let test = |option: &Opt| {
        let what = property(family, &option.key, option.one()?)?;
        Some(CtTest { negated: option.negated, what })
    };
    let tests: Option<Vec<_>> = options.iter().map(test).collect();
    Some(vec![Condition::Conntrack(tests?)])
}

fn property(family: Family, key: &str, word: &str) -> Option<CtProperty> {
    let net = || {
        let (address, mask) = network(family, word)?;
        Some(Network { address, mask })
    };
    Some(match key {
        "--ctstate" => CtProperty::State(bits(word, state_bit)?),
        "--ctstatus" => CtProperty::Status(bits(word, status_bit)?),
        "--ctdir" => CtProperty::Reply(match word {
            "ORIGINAL" => false,
            "REPLY" => true,
            _ => return None,
        }),
        "--ctproto" => CtProperty::Protocol(names::protocol(word)?),
        "--ctorigsrc" => CtProperty::OriginalSource(net()?),
        "--ctorigdst" => CtProperty::OriginalDestination(net()?),
        "--ctreplsrc" => CtProperty::ReplySource(net()?),
        "--ctrepldst" => CtProperty::ReplyDestination(net()?),
        "--ctorigsrcport" => ports(word, CtProperty::OriginalSourcePort)?,
        "--ctorigdstport" => ports(word, CtProperty::OriginalDestinationPort)?,
        "--ctreplsrcport" => ports(word, CtProperty::ReplySourcePort)?,
        "--ctrepldstport" => ports(word, CtProperty::ReplyDestinationPort)?,
        _ => return None,
    })
}

fn ports(word: &str, property: fn(u16, u16) -> CtProperty) -> Option<CtProperty> {
    let (first, last) = word.split_once(':').unwrap_or((word, word));
    Some(property(first.parse().ok()?, last.parse().ok()?))
}

fn bits(list: &str, bit: fn(&str) -> Option<u32>) -> Option<u32> {
    list.split(',').try_fold(0, |bits, name| Some(bits | bit(name)?))
}

fn state_bit(name: &str) -> Option<u32> {
    Some(match name {
        "INVALID" => ct_state::INVALID,
        "NEW" => ct_state::NEW,
        "ESTABLISHED" => ct_state::ESTABLISHED,
        "RELATED" => ct_state::RELATED,
        "UNTRACKED" => ct_state::UNTRACKED,
        "SNAT" => ct_state::SNAT,
        "DNAT" => ct_state::DNAT,
        _ => return None,
    })
}

fn status_bit(name: &str) -> Option<u32> {
    Some(match name {
        "NONE" => 0,
        "EXPECTED" => ct_status::EXPECTED,
        "SEEN_REPLY" => ct_status::SEEN_REPLY,
        "ASSURED" => ct_status::ASSURED,
        "CONFIRMED" => ct_status::CONFIRMED,
        _ => return None,
    })
}

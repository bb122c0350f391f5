//! What the service says after the handshake.

use super::{flow, rules};
use crate::walk::{Outcome, Packet, Walk};
use crate::{Flow, World};

/// The way of a connection through rules for what the host sends.
fn output(lines: &[&str], data: u16, answer: Option<u16>) -> Walk {
    let lines: String =
        lines.iter().map(|line| format!("-A OUTPUT -p tcp -m tcp --sport 8080 {line}\n")).collect();
    let flow = Flow { data, answer, ..flow() };
    rules(&format!("*filter\n:OUTPUT ACCEPT [0:0]\n{lines}COMMIT\n")).connect(&flow, &World::new(&flow, 16))
}

/// The last packet, and what became of the connection.
fn end(walk: &Walk) -> (Packet, &'static str) {
    let word = match walk.outcome {
        Outcome::Open => "open",
        Outcome::Dropped(_) => "dropped",
        Outcome::Rejected { .. } => "rejected",
        _ => "undetermined",
    };
    (walk.packets.last().unwrap().packet, word)
}

#[test]
fn an_answer_that_is_dropped_after_the_handshake_is_seen() {
    let all = output(&["-m tcp --tcp-flags SYN NONE -j DROP"], 1, None);
    assert_eq!(end(&all), (Packet::Answer, "dropped"));
    let of = |packet| all.packets.iter().find(|it| it.packet == packet).map(|it| it.outcome.clone());
    assert_eq!(of(Packet::SynAck), Some(Outcome::Open));
    assert_eq!(of(Packet::AnswerAck), Some(all.outcome.clone()), "the acknowledgement of the data too");
    let only_data = output(&["-m tcp --tcp-flags SYN NONE -m length --length 53:65535 -j DROP"], 1, None);
    assert_eq!(end(&only_data), (Packet::Answer, "dropped"));
    assert_eq!(only_data.packets[4].outcome, Outcome::Open);
    let established =
        output(&["-m conntrack --ctstate ESTABLISHED -m tcp --tcp-flags SYN NONE -j DROP"], 1, None);
    assert_eq!(end(&established), (Packet::Answer, "dropped"));
}

#[test]
fn an_acknowledgement_that_the_answer_makes_good_is_no_loss() {
    let bare = "-m tcp --tcp-flags SYN NONE -m length --length 52";
    assert_eq!(end(&output(&[&format!("{bare} -j DROP")], 1, None)), (Packet::Answer, "open"));
    // What ICMP says of a connection that stands ends it for nobody, and a reset does.
    let refused = |with: &str| output(&[&format!("{bare} -j REJECT --reject-with {with}")], 1, None);
    assert_eq!(end(&refused("icmp-port-unreachable")), (Packet::Answer, "open"));
    assert_eq!(end(&refused("tcp-reset")), (Packet::AnswerAck, "rejected"));
    // To an end nothing is answered that could make it good.
    assert_eq!(end(&output(&[&format!("{bare} -j DROP")], 0, None)), (Packet::AnswerAck, "dropped"));
    assert_eq!(end(&output(&["-m length --length 61:65535 -j DROP"], 0, None)), (Packet::AnswerAck, "open"));
}

#[test]
fn the_length_of_an_answer_decides_only_where_it_does_for_all() {
    let with =
        |range: &str, answer| end(&output(&[&format!("-m length --length {range} -j DROP")], 1, answer)).1;
    assert_eq!(with("61:65535", None), "undetermined");
    assert_eq!((with("61:65535", Some(8)), with("61:65535", Some(9))), ("open", "dropped"));
    assert_eq!(with("1:52", None), "open");
    let push = |answer| end(&output(&["-m tcp --tcp-flags PSH PSH -j DROP"], 1, answer)).1;
    assert_eq!((push(None), push(Some(1))), ("undetermined", "dropped"));
    // The end of a service that hangs up may come with the acknowledgement.
    let end_of = |flags: &str| end(&output(&[&format!("-m tcp --tcp-flags {flags} -j DROP")], 0, None)).1;
    assert_eq!((end_of("FIN FIN"), end_of("SYN,RST,ACK ACK")), ("undetermined", "dropped"));
}

/// What the host says into a connection of which conntrack has seen nothing begins one, the other way round.
#[test]
fn an_answer_can_be_what_conntrack_sees_first() {
    let text = "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -p tcp -j CT --notrack\nCOMMIT\n\
        *filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -m conntrack --ctstate NEW --ctorigsrc 172.18.0.1 -j DROP\nCOMMIT\n";
    let walk = super::walk(&rules(text));
    assert_eq!(end(&walk), (Packet::AnswerAck, "undetermined"), "what is sent again may pass");
    assert_eq!(walk.packets[1].outcome, Outcome::Open, "a SYN-ACK begins none");
}

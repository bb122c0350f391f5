//! What the rules did to a connection, step by step.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::action::RejectWith;
use crate::place::Place;

/// The way of a connection's first packets through the rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Walk {
    /// The packets in order, up to the first that did not pass. A bare acknowledgement that is dropped is made good by what the
    /// same end says after it, which acknowledges too, so that follows it in any case.
    pub packets: Vec<PacketWalk>,
    /// What became of the connection.
    pub outcome: Outcome,
    /// What was taken for granted on the way.
    pub assumptions: Vec<Assumption>,
}

impl Walk {
    /// The places that its packets came by, in order.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.packets.iter().flat_map(|packet| &packet.steps).map(|step| &step.place)
    }
}

/// The way of one packet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PacketWalk {
    /// Which one.
    pub packet: Packet,
    /// The rules that matched and the policies that decided, in order. The deciding one is the last.
    pub steps: Vec<Step>,
    /// What became of it.
    pub outcome: Outcome,
}

/// A packet of a connection's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packet {
    /// The sandbox's first.
    Syn,
    /// The host's answer.
    SynAck,
    /// The sandbox's bare acknowledgement.
    Ack,
    /// The first data that the sandbox sends.
    Data,
    /// The service's bare acknowledgement of them.
    AnswerAck,
    /// The first data that the service answers.
    Answer,
}

impl Packet {
    /// Whether the service's end sends it.
    pub fn is_answer(self) -> bool {
        matches!(self, Self::SynAck | Self::AnswerAck | Self::Answer)
    }

    /// Whether it is nothing but an acknowledgement.
    pub fn is_bare(self) -> bool {
        matches!(self, Self::Ack | Self::AnswerAck)
    }
}

/// A rule that matched, or a policy that decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Where.
    pub place: Place,
    /// What it did.
    pub effect: Effect,
}

/// What a rule did to a packet that matched it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// To a chain.
    Jump(String),
    /// To a chain, without coming back.
    Goto(String),
    /// Back to the calling chain.
    Return,
    /// Out of the base chain, and on.
    Accept,
    /// Gone.
    Drop,
    /// Gone, and the sender is told.
    Reject(RejectWith),
    /// Nothing that ends the chain: a log, a count, a mark.
    Continue,
    /// The packet goes elsewhere.
    Redirect(SocketAddr),
    /// The base chain's policy let it pass.
    PolicyAccept,
    /// The base chain's policy dropped it.
    PolicyDrop,
    /// Nobody knows whether the rule matches, or what it does.
    Undetermined,
}

/// What became of a packet, or of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It passed.
    Open,
    /// It was dropped, and nobody is told.
    Dropped(Place),
    /// It was dropped, and its sender is told.
    Rejected {
        /// Where.
        place: Place,
        /// What the sender is told.
        with: RejectWith,
    },
    /// It was sent on to another address or port, and no rule stopped it on the way there.
    Redirected {
        /// Where.
        place: Place,
        /// To which.
        to: SocketAddr,
    },
    /// The rules alone do not say it.
    Undetermined {
        /// The first place that is not understood.
        place: Place,
        /// What is not.
        why: String,
    },
}

impl Outcome {
    /// The deciding place; an open path has none.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Open => None,
            Self::Dropped(place)
            | Self::Rejected { place, .. }
            | Self::Redirected { place, .. }
            | Self::Undetermined { place, .. } => Some(place),
        }
    }
}

/// Something that rules do not say and that was taken for granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assumption {
    /// The rule that asks for it.
    pub place: Place,
    /// What was assumed.
    pub what: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)
    }
}

impl fmt::Display for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for packet in &self.packets {
            writeln!(f, "{}", packet.packet)?;
            for step in &packet.steps {
                writeln!(f, "  {step}")?;
            }
        }
        for assumption in &self.assumptions {
            writeln!(f, "assumed: {} at {}", assumption.what, assumption.place)?;
        }
        write!(f, "{}", self.outcome)
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syn => "SYN",
            Self::SynAck => "SYN-ACK",
            Self::Ack => "ACK",
            Self::Data => "data",
            Self::AnswerAck => "ACK of the data",
            Self::Answer => "answer",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::Dropped(place) => write!(f, "dropped by {place}"),
            Self::Rejected { place, with } => write!(f, "rejected ({with}) by {place}"),
            Self::Redirected { place, to } => write!(f, "redirected to {to} by {place}"),
            Self::Undetermined { place, why } => write!(f, "undetermined ({why}) at {place}"),
        }
    }
}

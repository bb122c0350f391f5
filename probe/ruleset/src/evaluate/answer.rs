//! What a condition says of a packet.

/// An answer of three values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Truth {
    /// The packet is so.
    Yes,
    /// It is not.
    No,
    /// Nobody knows, and why.
    Maybe(String),
}

impl Truth {
    /// The answer turned, if it is to be.
    pub(super) fn turned(self, negated: bool) -> Self {
        match self {
            Self::Yes if negated => Self::No,
            Self::No if negated => Self::Yes,
            other => other,
        }
    }
}

impl From<bool> for Truth {
    fn from(answer: bool) -> Self {
        if answer { Self::Yes } else { Self::No }
    }
}

//! Which network namespaces a question means.

use crate::model::Netns;

/// Which network namespaces a question means. The same port in two of them is two places and no conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Space {
    /// The observer's own.
    #[default]
    Own,
    /// One.
    One(Netns),
    /// All that are known.
    All {
        /// Of which a verdict is, and from which it is asked: of a bind there is one for each. The observer's own when `None`.
        from: Option<Netns>,
    },
}

impl Space {
    /// Whether a socket in `netns` is meant; `own` is the observer's.
    pub fn holds(self, netns: Option<Netns>, own: Option<Netns>) -> bool {
        let wanted = match self {
            Self::All { .. } => return true,
            Self::One(wanted) => Some(wanted),
            Self::Own => own,
        };
        match (netns, wanted) {
            (Some(there), Some(wanted)) => there == wanted,
            // What cannot be told apart counts as here: "free" must be certain.
            _ => true,
        }
    }

    /// The one namespace that is meant, where all are that from which it is asked: whose rules decide about a bind.
    pub fn one(self, own: Option<Netns>) -> Option<Netns> {
        match self {
            Self::One(netns) => Some(netns),
            Self::All { from } => from.or(own),
            Self::Own => own,
        }
    }

    /// The namespace whose past is meant; `None` is any.
    pub fn only(self, own: Option<Netns>) -> Option<Netns> {
        match self {
            Self::One(netns) => Some(netns),
            Self::Own => own,
            Self::All { .. } => None,
        }
    }

    /// Every namespace, asked from the one that this is of.
    #[must_use]
    pub fn widened(self) -> Self {
        Self::All { from: self.one(None) }
    }

    /// The namespace whose settings and connections a bind meets, where it is not the observer's own.
    pub fn other(self, own: Option<Netns>) -> Option<Netns> {
        self.one(own).filter(|_| self.one(own) != own)
    }

    /// The question goes beyond the observer's own namespace.
    pub fn is_beyond(self, own: Option<Netns>) -> bool {
        match self {
            Self::Own => false,
            Self::One(netns) => own != Some(netns),
            Self::All { .. } => true,
        }
    }
}

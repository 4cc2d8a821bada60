//! Why something is not done, and what to do about it.

use super::User;
use crate::platform::user::ROOT;

/// Which kind of no: each has its exit code and HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenialKind {
    /// The order itself is wrong.
    Bad,
    /// It is another user's.
    NotPermitted,
    /// It cannot be had now.
    Refused,
    /// There is no such thing.
    Nothing,
    /// Several are meant where one is needed.
    Ambiguous,
}

/// Why not. The text says what is in the way; [`Denial::remedy`] what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// No name.
    #[error("'{name}' is not the name of {what}")]
    Name {
        /// As it was given.
        name: String,
        /// Of what.
        what: &'static str,
    },
    /// No text.
    #[error("{what} needs words")]
    Empty {
        /// Of what.
        what: &'static str,
    },
    /// Too long.
    #[error("{what} has at most {longest} bytes")]
    Long {
        /// What.
        what: &'static str,
        /// The limit.
        longest: usize,
    },
    /// Escape sequences and the like.
    #[error("{what} has a control character")]
    Control {
        /// What.
        what: &'static str,
    },
    /// No path.
    #[error("'{path}' is not an absolute path in its shortest form")]
    Path {
        /// As it was given.
        path: String,
    },
    /// Somebody has the lock.
    #[error("{name} is held by {owner}{}, {left}", of(user))]
    Held {
        /// The lock.
        name: String,
        /// Its holder.
        owner: String,
        /// The holder's user.
        user: User,
        /// `expires in 4m`
        left: String,
    },
    /// The lock is free and others are before the asker.
    #[error("{name} is free, and {count} wait for it")]
    Queue {
        /// The lock.
        name: String,
        /// How many.
        count: usize,
    },
    /// Somebody else has the lock, whose lock the asker may take away.
    #[error("{name} is held by {owner}{}, not by {asker}", user.as_ref().map(of).unwrap_or_default())]
    NotHolder {
        /// The lock.
        name: String,
        /// Its holder.
        owner: String,
        /// The holder's user, where that is not the asker's.
        user: Option<User>,
        /// Who asks.
        asker: String,
    },
    /// It is another user's.
    #[error("{what} belongs to {user}")]
    Foreign {
        /// What.
        what: String,
        /// Whose.
        user: User,
    },
    /// Notes of another user.
    #[error("notes of {session} belong to {user}")]
    Unread {
        /// Whose notes.
        session: String,
        /// Whose session.
        user: User,
    },
    /// A channel that is not shared.
    #[error("channel {name} is private to {user}")]
    Private {
        /// The channel.
        name: String,
        /// Whose.
        user: User,
    },
    /// There is no such thing.
    #[error("there is no {what} {name}")]
    Nothing {
        /// What.
        what: &'static str,
        /// Name.
        name: String,
        /// What to do.
        remedy: &'static str,
    },
    /// So many are enough.
    #[error("{user} has {most} {what} already, as many as one user may")]
    TooMany {
        /// Who.
        user: User,
        /// What.
        what: &'static str,
        /// The limit.
        most: u32,
        /// What to do.
        remedy: &'static str,
    },
    /// The process that is named is gone.
    #[error("pid {pid} is gone")]
    Gone {
        /// Its pid.
        pid: u32,
    },
    /// The process that is named is another user's.
    #[error("pid {pid} is another user's")]
    ForeignProcess {
        /// Its pid.
        pid: u32,
    },
    /// Something that stands in the way, in a sentence of its own.
    #[error("{what}")]
    Refused {
        /// What is in the way.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// Several are meant.
    #[error("{what}")]
    Ambiguous {
        /// Which.
        what: String,
        /// What to do.
        remedy: String,
    },
}

fn of(user: &User) -> String {
    format!(" ({user})")
}

impl Denial {
    /// Which kind of no it is.
    pub const fn kind(&self) -> DenialKind {
        match self {
            Self::Name { .. }
            | Self::Empty { .. }
            | Self::Long { .. }
            | Self::Control { .. }
            | Self::Path { .. } => DenialKind::Bad,
            Self::Foreign { .. }
            | Self::Unread { .. }
            | Self::Private { .. }
            | Self::ForeignProcess { .. } => DenialKind::NotPermitted,
            Self::Nothing { .. } => DenialKind::Nothing,
            Self::Ambiguous { .. } => DenialKind::Ambiguous,
            Self::Held { .. }
            | Self::Queue { .. }
            | Self::NotHolder { .. }
            | Self::TooMany { .. }
            | Self::Gone { .. }
            | Self::Refused { .. } => DenialKind::Refused,
        }
    }

    /// What to do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Name { .. } => {
                "write letters, digits and ._:/@+-, beginning with a letter or digit, at most 128".to_owned()
            }
            Self::Empty { .. } | Self::Long { .. } | Self::Control { .. } | Self::Path { .. } => {
                "nothing was changed".to_owned()
            }
            Self::Held { name, .. } => {
                format!("wait for it: portwatch lock {name} --wait 1m; portwatch locks shows all")
            }
            Self::Queue { name, .. } => format!("get in line: portwatch lock {name} --wait 1m"),
            Self::NotHolder { name, user: Some(user), .. } => {
                format!("leave it to {user}, or take it away: portwatch unlock {name} --force")
            }
            Self::NotHolder { name, user: None, .. } => format!(
                "name the holder (--owner, PORTWATCH_AGENT), or take it away: portwatch unlock {name} --force"
            ),
            Self::Foreign { .. } => format!("only its owner and {ROOT} may change it; nothing was changed"),
            Self::Unread { .. } => format!("only that user and {ROOT} may read them"),
            Self::Private { name, user } => {
                format!("choose another name, or ask {user} to share it: portwatch channels --share {name}")
            }
            Self::Nothing { remedy, .. } | Self::TooMany { remedy, .. } => (*remedy).to_owned(),
            Self::Gone { .. } | Self::ForeignProcess { .. } => "name a living process of your own".to_owned(),
            Self::Refused { remedy, .. } | Self::Ambiguous { remedy, .. } => remedy.clone(),
        }
    }
}

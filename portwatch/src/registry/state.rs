//! What a claim is worth, as the machine shows it. Never stored: computed from the claim and what listens now.

use std::path::Path;

use super::{Claim, name::slug};

/// The state of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// A program of its own has the port.
    Live,
    /// Nobody has the port, and a program of its own had it before.
    Ghost,
    /// Somebody else has the port.
    Squatted,
    /// Nobody has the port, and no program of its own was ever seen there.
    Idle,
    /// What is on the port could not be seen.
    Unknown,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Live, Self::Ghost, Self::Squatted, Self::Idle, Self::Unknown];

    /// The word used everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Ghost => "ghost",
            Self::Squatted => "squatted",
            Self::Idle => "idle",
            Self::Unknown => "unknown",
        }
    }

    /// Of a claim on whose ports these were found. `complete`: nothing can have been missed.
    pub fn of(claim: &Claim, ties: impl IntoIterator<Item = Tie>, complete: bool) -> Self {
        let (mut own, mut strange) = (false, false);
        for tie in ties {
            own |= tie == Tie::Own;
            strange |= tie == Tie::Stranger;
        }
        match (own, strange) {
            (true, _) => Self::Live,
            (false, true) => Self::Squatted,
            (false, false) if !complete => Self::Unknown,
            (false, false) if claim.seen.is_some() => Self::Ghost,
            (false, false) => Self::Idle,
        }
    }
}

/// A program on a claimed port, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Occupant<'a> {
    /// Uid of its socket or process.
    pub uid: Option<u32>,
    /// Its working directory.
    pub cwd: Option<&'a Path>,
    /// Name and directory of its project.
    pub project: Option<(&'a str, &'a Path)>,
    /// It passes connections on to a container; whose it is, is not its own uid.
    pub forwarder: bool,
    /// The compose project of that container.
    pub compose: Option<&'a str>,
}

/// How a program on a claimed port belongs to the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// It is what the claim is for.
    Own,
    /// It is somebody else.
    Stranger,
}

/// Whether a program is what a claim is for:
///
/// 1. another user's is a stranger (a forwarder runs as root for everybody, and is told by its project alone);
/// 2. one whose project is known belongs when that is the project the claim was made in (either directory inside the
///    other), or has the name's first part; else it is a stranger;
/// 3. one without a project is a stranger when the claim was made in a project and it works outside of that;
///    where nothing is known that speaks against it, its user is enough.
pub fn tie(claim: &Claim, occupant: &Occupant<'_>) -> Tie {
    if !occupant.forwarder && occupant.uid.is_some_and(|uid| uid != claim.owner) {
        return Tie::Stranger;
    }
    if let Some(compose) = occupant.compose {
        // Compose calls a project by its directory.
        let directory =
            claim.root.as_deref().and_then(Path::file_name).and_then(|name| slug(&name.to_string_lossy()));
        let same = slug(compose).is_some_and(|c| c == claim.name.project() || Some(c) == directory);
        return if same { Tie::Own } else { Tie::Stranger };
    }
    let inside = |a: &Path, b: &Path| a.starts_with(b) || b.starts_with(a);
    let root = claim.root.as_deref();
    if let Some((name, directory)) = occupant.project {
        let same = slug(name).is_some_and(|name| name == claim.name.project());
        return if same || root.is_some_and(|root| inside(root, directory)) {
            Tie::Own
        } else {
            Tie::Stranger
        };
    }
    match (root, occupant.cwd) {
        // Services work in `/`, wherever they belong.
        (Some(root), Some(cwd)) if cwd != Path::new("/") && !cwd.starts_with(root) => Tie::Stranger,
        _ => Tie::Own,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Occupant, State, Tie, tie};
    use crate::{
        model::Timestamp,
        registry::{Claim, Kind},
    };

    fn claim(root: Option<&str>) -> Claim {
        Claim {
            id: 1,
            name: "myapp:api".parse().unwrap(),
            kind: Kind::Explicit,
            owner: 1000,
            owner_name: None,
            agent: None,
            session: None,
            root: root.map(Into::into),
            worktree: None,
            ports: Vec::new(),
            created: Timestamp::UNIX_EPOCH,
            renewed: Timestamp::UNIX_EPOCH,
            expires: None,
            seen: None,
        }
    }

    #[test]
    fn a_program_belongs_by_user_project_and_place() {
        let at = |path: &'static str| Some(Path::new(path));
        let mine = Occupant { uid: Some(1000), ..Occupant::default() };
        let (rooted, free) = (claim(Some("/code/myapp")), claim(None));
        for (claim, occupant, expected) in [
            (&free, mine, Tie::Own),
            (&free, Occupant { uid: Some(1001), ..mine }, Tie::Stranger),
            (&free, Occupant { uid: None, ..mine }, Tie::Own),
            (&free, Occupant { project: Some(("MyApp", Path::new("/x"))), ..mine }, Tie::Own),
            (&free, Occupant { project: Some(("other", Path::new("/x"))), ..mine }, Tie::Stranger),
            (&rooted, Occupant { project: Some(("web", Path::new("/code/myapp/web"))), ..mine }, Tie::Own),
            (&rooted, Occupant { project: Some(("mono", Path::new("/code"))), ..mine }, Tie::Own),
            (
                &rooted,
                Occupant { project: Some(("myapp2", Path::new("/code/myapp2"))), ..mine },
                Tie::Stranger,
            ),
            (&rooted, Occupant { cwd: at("/home/u"), ..mine }, Tie::Stranger),
            (&rooted, Occupant { cwd: at("/code/myapp/deep"), ..mine }, Tie::Own),
            (&rooted, Occupant { cwd: at("/"), ..mine }, Tie::Own),
            (&free, Occupant { uid: Some(0), forwarder: true, ..mine }, Tie::Own),
            (&free, Occupant { uid: Some(0), forwarder: true, compose: Some("myapp"), ..mine }, Tie::Own),
            (
                &free,
                Occupant { uid: Some(0), forwarder: true, compose: Some("other"), ..mine },
                Tie::Stranger,
            ),
            (&rooted, Occupant { uid: Some(0), forwarder: true, compose: Some("myapp"), ..mine }, Tie::Own),
        ] {
            assert_eq!(tie(claim, &occupant), expected, "{occupant:?} for {:?}", claim.root);
        }
    }

    #[test]
    fn the_state_follows_from_what_listens() {
        let never = claim(None);
        let before = Claim { seen: Some(Timestamp::UNIX_EPOCH), ..claim(None) };
        for (claim, ties, complete, expected) in [
            (&never, vec![], true, State::Idle),
            (&before, vec![], true, State::Ghost),
            (&never, vec![], false, State::Unknown),
            (&before, vec![Tie::Stranger], false, State::Squatted),
            (&before, vec![Tie::Stranger, Tie::Own], true, State::Live),
        ] {
            assert_eq!(State::of(claim, ties.clone(), complete), expected, "{ties:?}");
        }
    }
}

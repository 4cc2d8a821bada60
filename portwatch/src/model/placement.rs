//! Where a process was put: systemd unit, container, pod.

/// A systemd unit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unit {
    /// Its name, as `systemctl` takes it: `nginx.service`, `session-3.scope`.
    pub name: String,
    /// The slice it lies in: `system.slice`, `app.slice`.
    pub slice: Option<String>,
    /// Uid of the user whose manager runs it; `None` for a unit of the system's manager.
    pub manager: Option<u32>,
}

/// What runs containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Engine {
    /// Docker.
    Docker,
    /// Podman (libpod).
    Podman,
    /// containerd by itself: Kubernetes, nerdctl.
    Containerd,
    /// CRI-O.
    Crio,
    /// LXC, LXD, Incus.
    Lxc,
    /// systemd-nspawn.
    Nspawn,
}

impl Engine {
    /// Every value.
    pub const ALL: [Self; 6] =
        [Self::Docker, Self::Podman, Self::Containerd, Self::Crio, Self::Lxc, Self::Nspawn];

    /// The word used in JSON and the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
            Self::Crio => "cri-o",
            Self::Lxc => "lxc",
            Self::Nspawn => "nspawn",
        }
    }

    /// The inverse of [`Engine::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|e| e.as_str() == word)
    }
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Container {
    /// Who runs it; `None` where the control group does not tell.
    pub engine: Option<Engine>,
    /// 64 hex digits, or the name where the engine has names only (LXC, nspawn).
    pub id: String,
    /// Uid of the Kubernetes pod it belongs to, with dashes.
    pub pod: Option<String>,
    /// What its engine calls it; `None` until the engine has told.
    pub name: Option<String>,
    /// The image it was made of, as the engine names it.
    pub image: Option<String>,
    /// Compose project and service.
    pub compose: Option<Compose>,
    /// Uid of the user whose own engine runs it; `None` for one of the system's.
    pub owner: Option<u32>,
}

/// Who could have made a control group: whoever owns one of those above it. The kernel lets an owner make groups of any
/// name below, and move processes of its own there (cgroups(7), delegation).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Maker {
    /// Only whoever owns the whole hierarchy.
    System,
    /// The system, or who is root in another container around it.
    Container,
    /// This user too.
    User(u32),
    /// It cannot be told, or several users.
    Unknown,
}

/// A container whose name a control group has that others than the system could have made. Whether it is that container
/// is for an engine to say.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unproven {
    /// What the name says.
    pub container: Container,
    /// The unit, where it is that container: the one inside.
    pub unit: Option<Unit>,
    /// Who could have made the group.
    pub maker: Maker,
}

impl Container {
    /// Its name is in the control group, where everybody may read it, and no secret of its engine.
    pub const fn names_itself(&self) -> bool {
        matches!(self.engine, Some(Engine::Lxc | Engine::Nspawn))
    }
}

/// What compose calls a container.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Compose {
    /// Project.
    pub project: String,
    /// Service.
    pub service: String,
}

/// What a control group's path says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// The unit; in a container, the one inside it, else the service that was made to run it.
    pub unit: Option<Unit>,
    /// The innermost container whose group only the system can have made, or who is root in a container around it.
    pub container: Option<Container>,
    /// The innermost container, where others could have made its group.
    pub unproven: Option<Unproven>,
}

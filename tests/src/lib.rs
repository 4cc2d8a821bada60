//! What portwatch's end-to-end tests are made of: real programs ([`Actor`]) in network namespaces of their own
//! ([`Netns`]), the real binary with a state of its own ([`Portwatch`]), and waiting for conditions, never for
//! seconds ([`wait_until`]). Everything ends with the value that stands for it.

mod actor;
mod burst;
mod capability;
mod docker;
mod group;
pub mod guest;
pub mod http;
pub mod kernel;
mod netns;
mod others;
mod podman;
mod portwatch;
mod source;
mod systemd;
mod wait;

pub use actor::{Actor, free_port};
pub use burst::{Burst, Told, told};
pub use capability::{
    init_is_closed, kernel_tells, require_bpf, require_docker, require_netns, require_node, require_podman,
    require_program, require_python, require_root, require_systemd, require_uring, windows_program,
};
pub use docker::{Docker, IMAGE};
pub use group::{Delegated, Group};
pub use netns::{Netns, in_own_netns};
pub use others::Others;
pub use podman::Podman;
pub use portwatch::{Environment, Portwatch, Ran};
pub use source::Source;
pub use systemd::Systemd;
pub use wait::{DEADLINE, wait_until};

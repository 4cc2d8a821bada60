//! The vocabulary every stage shares. No I/O happens here and no clock is read.

mod connection;
mod event;
mod evidence;
mod net;
mod observation;
mod placement;
mod process;
mod rules;
mod size;
mod socket;
mod url;
mod viewer;

pub use connection::{
    Connection, ConnectionScope, Connections, ConnectionsLeft, Interface, Interfaces, OfProcess, TcpState,
};
pub use event::{CLOCK_SET, Change, Event, EventFilter, EventKind, LoggedEvent, Order};
pub use evidence::{Coverage, Degradation, Evidence, Fact};
pub use net::{Endpoint, Local, Netns, ParsePortError, Port, Protocol, Zone, addresses_overlap, needs_zone};
pub use observation::{
    Beyond, BindRefused, Bound, Closed, Completeness, Execed, Exited, Forked, GapReason, Listening,
    LossCounts, Observation, Seen, Snapshot, SnapshotSocket, Unlistened,
};
pub use placement::{Compose, Container, Engine, Maker, Placement, Unit, Unproven};
pub use process::{
    Ancestor, Cgroup, CommandLine, ExitStatus, Process, ProcessId, ProcessSeen, Project, ProjectKind,
    SignalOrigin, SignalSent, Worktree,
};
pub use rules::BindRules;
pub use size::{is_written_by_number, json_bytes};
pub use socket::{
    AskedPort, Attached, Began, DeviceName, Holder, LeftOpen, Owner, Phase, Sharing, Socket, SocketKey,
    SocketOptions, SocketSeen, Tunnel, described,
};
pub use url::{UrlError, without_url};
pub use viewer::{Sight, Viewer};

/// A moment, UTC, nanosecond resolution.
pub type Timestamp = jiff::Timestamp;

//! Who is connected.

use crate::query::Viewer;

/// Credentials of a connection, taken from the socket when it was accepted (`SO_PEERCRED`): the peer cannot
/// choose them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Effective uid of the process that connected.
    pub uid: u32,
    /// Its pid, where the platform tells.
    pub pid: Option<i32>,
    /// What it may be shown.
    pub viewer: Viewer,
}

impl Peer {
    /// A peer as the server sees it. The server's own user and root see everything this process sees.
    pub fn new(uid: u32, pid: Option<i32>, server_uid: u32, hidepid: bool) -> Self {
        let viewer = if uid == 0 || (uid == server_uid) {
            Viewer::Unrestricted
        } else {
            Viewer::User { uid, hidepid }
        };
        Self { uid, pid, viewer }
    }
}

//! By Unix sockets.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net,
        },
    },
    path::{Path, PathBuf},
};

use nix::sys::socket::{MsgFlags, recv};
use tokio::net::UnixListener;

use super::Credentials;

/// A connection.
pub type Stream = tokio::net::UnixStream;

/// Connects. `NotFound`: there is no socket; `ConnectionRefused`: nobody listens any more; `InvalidInput`: something else
/// is there, of which the kernel says ECONNREFUSED too (`unix_find_bsd`).
pub async fn connect(path: &Path) -> io::Result<Stream> {
    let connected = Stream::connect(path).await;
    connected.map_err(|error| match path.metadata() {
        Ok(found) if error.kind() == io::ErrorKind::ConnectionRefused && !found.file_type().is_socket() => {
            io::ErrorKind::InvalidInput.into()
        }
        _ => error,
    })
}

/// The most bytes that the path of a socket may have: with a NUL behind it, it has to fit `sockaddr_un` (108 bytes on Linux, 104 on macOS).
pub fn longest() -> Option<usize> {
    // SAFETY: it is integers and an array of them, of which all zeroes are a value.
    let address: nix::libc::sockaddr_un = unsafe { std::mem::zeroed() };
    Some(address.sun_path.len() - 1)
}

/// Who serves the other end: whoever made it listen.
pub fn served_by(stream: &Stream) -> io::Result<Credentials> {
    let peer = stream.peer_cred()?;
    // One that is not seen from this pid namespace has 0 (`pid_vnr`).
    Ok(Credentials { uid: peer.uid(), pid: peer.pid().filter(|&pid| pid > 0) })
}

/// The other end of a stream that somebody else has. To be asked while that stream is open: later its descriptor may be another's.
#[derive(Debug, Clone, Copy)]
pub struct OtherEnd(RawFd);

impl OtherEnd {
    /// That of `stream`.
    pub fn of(stream: &Stream) -> Self {
        Self(stream.as_raw_fd())
    }

    /// It was closed: at once where nothing can reach it any more (POLLHUP of `unix_poll`), or where it says no more (`shutdown(SHUT_WR)`),
    /// when all that it sent was read.
    pub fn is_gone(self) -> bool {
        let mut asked = nix::libc::pollfd { fd: self.0, events: 0, revents: 0 };
        // SAFETY: one whole pollfd is given, which lives until the call returns, at once; a number that is no descriptor is told as such.
        let told = unsafe { nix::libc::poll(&raw mut asked, 1, 0) };
        let hung_up = told > 0 && asked.revents & nix::libc::POLLHUP != 0;
        let ends = || {
            let mut next = [0];
            let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
            matches!(recv(self.0, &mut next, flags), Ok(0))
        };
        hung_up || ends()
    }
}

/// The directory that must be there before a listener can be.
pub fn directory_of(path: &Path) -> Option<&Path> {
    path.parent()
}

/// Whether something is there. What may not be seen may be there.
pub fn exists(path: &Path) -> bool {
    !matches!(path.metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// Accepts connections at a path.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket's file.
    identity: Option<(u64, u64)>,
}

impl Listener {
    /// Listens at `path`, which users other than this one may use as `mode` says. A file left there by a server that
    /// is gone is replaced; one that a live server listens on is left alone (`AddrInUse`). To be called in a runtime.
    pub fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "something that is not a socket is there",
                ));
            }
            Ok(_) => match net::UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
                Ok(_) => {
                    return Err(io::Error::new(io::ErrorKind::AddrInUse, "another server listens there"));
                }
                Err(error) => return Err(error),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = net::UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        Ok(Self { socket: listener, path: path.to_owned(), identity: identity(path) })
    }

    /// The next connection. May be dropped while it waits, and nothing is lost.
    pub async fn accept(&mut self) -> io::Result<Incoming> {
        self.socket.accept().await.map(|(stream, _)| Incoming(stream))
    }

    /// Ends, and takes the socket's file away: only our own, since one that somebody put there meanwhile is theirs.
    pub fn close(self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

/// A connection of somebody who is not known yet.
#[derive(Debug)]
pub struct Incoming(Stream);

impl Incoming {
    /// The user whose it seems to be: enough to count by, and no more.
    pub fn seems(&self) -> Option<u32> {
        self.0.peer_cred().ok().map(|peer| peer.uid())
    }

    /// Finds out who it is (`SO_PEERCRED`, `LOCAL_PEERCRED`).
    #[expect(clippy::unused_async, reason = "other systems have to wait for it")]
    pub async fn identify(self) -> io::Result<(Stream, Credentials)> {
        let peer = self.0.peer_cred()?;
        Ok((self.0, Credentials { uid: peer.uid(), pid: peer.pid() }))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn who_says_no_more_is_gone_when_all_was_read_and_who_closes_at_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut said, mut heard) = Stream::pair().unwrap();
            let other = OtherEnd::of(&heard);
            said.write_all(b"word").await.unwrap();
            said.shutdown().await.unwrap();
            assert!(!other.is_gone());
            heard.read_exact(&mut [0; 4]).await.unwrap();
            assert!(other.is_gone());
            let (mut said, heard) = Stream::pair().unwrap();
            said.write_all(b"word").await.unwrap();
            drop(said);
            assert!(OtherEnd::of(&heard).is_gone());
        });
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_what_is_no_socket_is_left_alone() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.sock");
        drop(net::UnixListener::bind(&path).unwrap());
        let live = Listener::bind(&path, 0o600).unwrap();
        assert_eq!(Listener::bind(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        // Dropped without its end, as by a crash: the file stays.
        drop(live);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        assert!(Listener::bind(&path, 0o600).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn a_file_that_is_no_socket_is_told_from_one_that_nobody_listens_on() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let kind_of = |path: &Path| runtime.block_on(connect(path)).unwrap_err().kind();
        let path = directory.path().join("p.sock");
        assert_eq!(kind_of(&path), io::ErrorKind::NotFound);
        drop(net::UnixListener::bind(&path).unwrap());
        assert_eq!(kind_of(&path), io::ErrorKind::ConnectionRefused);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        assert_eq!(kind_of(&path), io::ErrorKind::InvalidInput);
        assert_eq!(kind_of(directory.path()), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn only_the_file_of_our_own_is_taken_away() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.sock");
        let ours = Listener::bind(&path, 0o600).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "theirs").unwrap();
        ours.close();
        assert!(path.exists());
    }
}

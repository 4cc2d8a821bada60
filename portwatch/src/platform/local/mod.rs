//! Streams between processes of this machine, at a path: Unix sockets, and named pipes on Windows.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

pub use self::system::{
    Incoming, Listener, OtherEnd, Stream, connect, directory_of, exists, longest, served_by,
};

/// Who is at the other end, as the kernel says: nobody can choose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// Effective user.
    pub uid: u32,
    /// Its pid, where the system tells.
    pub pid: Option<i32>,
}

#[cfg(test)]
mod tests {
    use std::{io, path::PathBuf, time::Duration};

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::timeout,
    };

    use super::*;
    use crate::platform::user;

    /// A place that nobody else uses.
    fn place(folder: &tempfile::TempDir) -> PathBuf {
        if cfg!(windows) {
            let name = folder.path().file_name().unwrap().to_string_lossy().into_owned();
            return PathBuf::from(format!(r"\\.\pipe\portwatch-test-{name}"));
        }
        folder.path().join("s")
    }

    fn wait<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn both_ends_learn_who_the_other_is_and_what_was_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = place(&folder);
        wait(async {
            let mut listener = Listener::bind(&path, 0o600).unwrap();
            let talking = async {
                let mut stream = connect(&path).await.unwrap();
                let server = served_by(&stream).unwrap();
                assert_eq!(
                    (server.uid, server.pid),
                    (user::own_uid(), i32::try_from(std::process::id()).ok())
                );
                stream.write_all(b"question").await.unwrap();
                let mut answer = [0; 6];
                stream.read_exact(&mut answer).await.unwrap();
                assert_eq!(&answer, b"answer");
            };
            let serving = async {
                let (mut stream, peer) = listener.accept().await.unwrap().identify().await.unwrap();
                assert_eq!(peer.uid, user::own_uid());
                let mut question = [0; 8];
                stream.read_exact(&mut question).await.unwrap();
                assert_eq!(&question, b"question");
                stream.write_all(b"answer").await.unwrap();
            };
            tokio::join!(talking, serving);
            listener.close();
        });
    }

    #[test]
    fn an_end_that_was_closed_is_gone_when_all_that_it_sent_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = place(&folder);
        wait(async {
            let mut listener = Listener::bind(&path, 0o600).unwrap();
            let mut client = connect(&path).await.unwrap();
            client.write_all(b"question").await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap().identify().await.unwrap();
            let other = OtherEnd::of(&stream);
            assert!(!other.is_gone());
            drop(client);
            let mut question = [0; 8];
            stream.read_exact(&mut question).await.unwrap();
            // On Windows a handle is closed when what was begun with it has been called off.
            let gone = async {
                while !other.is_gone() {
                    tokio::task::yield_now().await;
                }
            };
            timeout(Duration::from_secs(10), gone).await.unwrap();
            listener.close();
        });
    }

    #[test]
    fn a_place_where_nobody_listens_and_one_that_is_taken_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = place(&folder);
        wait(async {
            assert_eq!(connect(&path).await.unwrap_err().kind(), io::ErrorKind::NotFound);
            assert!(!exists(&path));
            let listener = Listener::bind(&path, 0o600).unwrap();
            assert!(exists(&path));
            assert_eq!(Listener::bind(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            listener.close();
            assert!(!exists(&path));
        });
    }
}

//! By named pipes.
//!
//! The first instance of a pipe must be ours, so that nobody else serves under its name, and to whom the pipe is open it gives no right to
//! make further ones; clients over the network are rejected; a client lets itself be identified and not be acted for
//! (`SECURITY_IDENTIFICATION`), which is enough to learn its user. Its pid is told for the log alone: by the time it is looked at, it may be
//! another's.

use std::{
    ffi::OsString,
    fs::OpenOptions,
    io,
    os::windows::{
        fs::OpenOptionsExt,
        io::{AsRawHandle, IntoRawHandle},
    },
    path::Path,
    pin::Pin,
    ptr,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::windows::named_pipe::{NamedPipeClient, NamedPipeServer, ServerOptions},
};
use windows_sys::Win32::{
    Foundation::{ERROR_BROKEN_PIPE, ERROR_FILE_NOT_FOUND, ERROR_PIPE_BUSY, GetLastError, HANDLE},
    Security::{Authorization::SE_KERNEL_OBJECT, RevertToSelf},
    Storage::FileSystem::{
        FILE_APPEND_DATA, FILE_FLAG_OVERLAPPED, FILE_GENERIC_READ, FILE_GENERIC_WRITE,
        SECURITY_IDENTIFICATION,
    },
    System::Pipes::{
        GetNamedPipeClientProcessId, GetNamedPipeServerProcessId, ImpersonateNamedPipeClient, PeekNamedPipe,
        WaitNamedPipeW,
    },
};

use super::Credentials;
use crate::platform::windows::{Guard, Token, done, owner_of, wide};

/// Where the pipes of this machine are. Those of others, `\\SERVER\pipe\…`, are never opened.
const PIPES: &str = r"\\.\pipe\";
/// What a client asks of a pipe, and is given by [`Guard::pipe_for_all`]: to read, write and wait, and to see whose it is. Not
/// `GENERIC_WRITE`, which has the right to serve the pipe in it (`FILE_CREATE_PIPE_INSTANCE`).
const RIGHTS: u32 = FILE_GENERIC_READ | (FILE_GENERIC_WRITE & !FILE_APPEND_DATA);
/// Between two attempts while all instances of a pipe are taken.
const AGAIN: Duration = Duration::from_millis(10);
/// What is read of a client before it is asked who it is.
const FIRST: usize = 4096;

/// A connection.
#[derive(Debug)]
pub struct Stream {
    pipe: End,
    /// Read already, to be read again.
    first: Vec<u8>,
    /// So much of it was.
    taken: usize,
}

#[derive(Debug)]
enum End {
    Server(NamedPipeServer),
    Client(NamedPipeClient),
}

fn of_this_machine(path: &Path) -> io::Result<()> {
    let text = path.to_string_lossy();
    let name = text
        .get(..PIPES.len())
        .filter(|start| start.eq_ignore_ascii_case(PIPES))
        .and_then(|_| text.get(PIPES.len()..))
        // By way of `..` and what stands for `\`, other devices, drives and machines are reached.
        .filter(|name| {
            !name.contains('/') && !name.split('\\').any(|part| part.is_empty() || part.starts_with('.'))
        });
    name.map(|_| ()).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            r"it is not the name of a pipe of this machine (\\.\pipe\NAME)",
        )
    })
}

/// No limit of ours: the system says it of a name of a pipe itself.
pub const fn longest() -> Option<usize> {
    None
}

/// Connects. `NotFound`: there is no such pipe.
pub async fn connect(path: &Path) -> io::Result<Stream> {
    of_this_machine(path)?;
    loop {
        match client_of(path) {
            Ok(pipe) => return Ok(Stream { pipe: End::Client(pipe), first: Vec::new(), taken: 0 }),
            Err(error) if error.raw_os_error() == Some(ERROR_PIPE_BUSY.cast_signed()) => {
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn client_of(path: &Path) -> io::Result<NamedPipeClient> {
    let mut options = OpenOptions::new();
    let options = options.access_mode(RIGHTS).share_mode(0).custom_flags(FILE_FLAG_OVERLAPPED);
    let pipe = options.security_qos_flags(SECURITY_IDENTIFICATION).open(path)?;
    // SAFETY: the handle is open, overlapped, that of a pipe by its name, and given away.
    unsafe { NamedPipeClient::from_raw_handle(pipe.into_raw_handle()) }
}

/// Who serves the other end: the pipe's owner, which nobody can set to somebody else. The pid is to be told alone.
pub fn served_by(stream: &Stream) -> io::Result<Credentials> {
    let uid = owner_of(stream.handle(), SE_KERNEL_OBJECT)?;
    let mut pid = 0;
    // SAFETY: the handle is open, and the pid is written to.
    let told = done(unsafe { GetNamedPipeServerProcessId(stream.handle(), &raw mut pid) });
    Ok(Credentials { uid, pid: told.ok().and_then(|()| i32::try_from(pid).ok()) })
}

/// The other end of a stream that somebody else has. To be asked while that stream is open: later its handle may be another's.
#[derive(Debug, Clone, Copy)]
pub struct OtherEnd(isize);

impl OtherEnd {
    /// That of `stream`.
    pub fn of(stream: &Stream) -> Self {
        Self(stream.handle() as isize)
    }

    /// It was closed, and all that it sent was read.
    pub fn is_gone(self) -> bool {
        let nothing = ptr::null_mut();
        // SAFETY: nothing is read and nothing is written to; a handle that is none is told as such.
        let told = unsafe { PeekNamedPipe(self.0 as HANDLE, ptr::null_mut(), 0, nothing, nothing, nothing) };
        // SAFETY: the call takes nothing.
        told == 0 && unsafe { GetLastError() } == ERROR_BROKEN_PIPE
    }
}

/// A pipe lies in no directory.
pub fn directory_of(_: &Path) -> Option<&Path> {
    None
}

/// Whether something is there. It is not connected to.
pub fn exists(path: &Path) -> bool {
    if of_this_machine(path).is_err() {
        return false;
    }
    let name = wide(path.as_os_str());
    // SAFETY: the name ends with a NUL.
    let free = unsafe { WaitNamedPipeW(name.as_ptr(), 1) };
    // SAFETY: the call takes nothing.
    free != 0 || unsafe { GetLastError() } != ERROR_FILE_NOT_FOUND
}

/// Accepts connections at a path.
#[derive(Debug)]
pub struct Listener {
    path: OsString,
    guard: Guard,
    /// The instance that the next client gets.
    next: NamedPipeServer,
}

impl Listener {
    /// Serves the pipe `path`, which other users of this machine may use where `mode` has a bit for them. One that
    /// another server has is left alone (`AddrInUse`). To be called in a runtime.
    pub fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        of_this_machine(path)?;
        let guard = if mode & 0o006 != 0 { Guard::pipe_for_all() } else { Guard::private() }?;
        let next = instance(path.as_os_str(), &guard, true).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => {
                io::Error::new(io::ErrorKind::AddrInUse, "another server has the pipe")
            }
            _ => error,
        })?;
        Ok(Self { path: path.as_os_str().to_owned(), guard, next })
    }

    /// The next connection. May be dropped while it waits, and nothing is lost.
    pub async fn accept(&mut self) -> io::Result<Incoming> {
        if let Err(error) = self.next.connect().await {
            // The client went before it was met: the instance is for the next one.
            let _ = self.next.disconnect();
            return Err(error);
        }
        // Made before the client is served: without a free instance others would find no pipe at all.
        let next = instance(&self.path, &self.guard, false)?;
        Ok(Incoming(std::mem::replace(&mut self.next, next)))
    }

    /// Ends. The name goes with the last instance.
    pub fn close(self) {}
}

fn instance(path: &std::ffi::OsStr, guard: &Guard, first: bool) -> io::Result<NamedPipeServer> {
    let mut attributes = guard.attributes();
    let mut options = ServerOptions::new();
    options.first_pipe_instance(first).reject_remote_clients(true);
    // SAFETY: the attributes are whole and live until the call returns.
    unsafe { options.create_with_security_attributes_raw(path, (&raw mut attributes).cast()) }
}

/// A connection of somebody who is not known yet.
#[derive(Debug)]
pub struct Incoming(NamedPipeServer);

impl Incoming {
    /// The user whose it seems to be: enough to count by, and no more, since the pid may be another's by now.
    pub fn seems(&self) -> Option<u32> {
        let pid = client_pid(self.0.as_raw_handle() as HANDLE)?;
        Token::of_pid(u32::try_from(pid).ok()?).ok()?.uid()
    }

    /// Finds out who it is. Windows tells only once something was read.
    pub async fn identify(self) -> io::Result<(Stream, Credentials)> {
        let mut first = vec![0; FIRST];
        let length = loop {
            self.0.readable().await?;
            match self.0.try_read(&mut first) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => break length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        };
        first.truncate(length);
        let handle = self.0.as_raw_handle() as HANDLE;
        let peer = Credentials { uid: client(handle)?, pid: client_pid(handle) };
        Ok((Stream { pipe: End::Server(self.0), first, taken: 0 }, peer))
    }
}

/// The client's user. This thread acts as the client for no longer than it takes to get hold of who that is.
fn client(pipe: HANDLE) -> io::Result<u32> {
    let token = {
        let _acting = Acting::as_client(pipe)?;
        Token::impersonated()?
    };
    token.uid().ok_or_else(|| io::Error::other("the client's user is not known"))
}

/// This thread acts as a client, until the end of this value.
struct Acting;

impl Acting {
    fn as_client(pipe: HANDLE) -> io::Result<Self> {
        // SAFETY: the handle is open.
        done(unsafe { ImpersonateNamedPipeClient(pipe) }).map(|()| Self)
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        // SAFETY: the call takes nothing.
        if unsafe { RevertToSelf() } == 0 {
            // Going on as somebody else would be worse than ending.
            std::process::abort();
        }
    }
}

fn client_pid(pipe: HANDLE) -> Option<i32> {
    let mut pid = 0;
    // SAFETY: the handle is open, and the pid is written to.
    done(unsafe { GetNamedPipeClientProcessId(pipe, &raw mut pid) }).ok()?;
    i32::try_from(pid).ok()
}

impl Stream {
    fn handle(&self) -> HANDLE {
        match &self.pipe {
            End::Server(pipe) => pipe.as_raw_handle() as HANDLE,
            End::Client(pipe) => pipe.as_raw_handle() as HANDLE,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(rest) = this.first.get(this.taken..).filter(|rest| !rest.is_empty()) {
            let count = rest.len().min(buffer.remaining());
            buffer.put_slice(rest.get(..count).unwrap_or_default());
            this.taken += count;
            return Poll::Ready(Ok(()));
        }
        match &mut this.pipe {
            End::Server(pipe) => Pin::new(pipe).poll_read(context, buffer),
            End::Client(pipe) => Pin::new(pipe).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.pipe {
            End::Server(pipe) => Pin::new(pipe).poll_write(context, bytes),
            End::Client(pipe) => Pin::new(pipe).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.pipe {
            End::Server(pipe) => Pin::new(pipe).poll_flush(context),
            End::Client(pipe) => Pin::new(pipe).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pipes_of_this_machine_are_opened() {
        for wrong in [
            r"\\server\pipe\portwatch",
            r"C:\x",
            r"\\.\pipe\",
            r"\\.\C:",
            "portwatch",
            r"\\.\pipe\..\C:\x",
            r"\\.\pipe\..\UNC\server\pipe\x",
            r"\\.\pipe\../C:/x",
            r"\\.\pipe\a\.. \x",
            r"\\.\pipe\\x",
        ] {
            assert!(of_this_machine(Path::new(wrong)).is_err(), "{wrong}");
            assert!(!exists(Path::new(wrong)), "{wrong}");
        }
        for right in [r"\\.\PIPE\portwatch", r"\\.\pipe\ProtectedPrefix\Administrators\portwatch"] {
            assert!(of_this_machine(Path::new(right)).is_ok(), "{right}");
        }
    }
}

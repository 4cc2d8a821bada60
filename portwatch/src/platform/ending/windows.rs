//! By an event with a name, which only the process's own user, the system and administrators may set.

use std::{
    ffi::OsStr, io, mem, os::windows::process::CommandExt, process::Command, sync::Arc, time::Duration,
};

use tokio::{
    signal::windows::{
        CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
    },
    sync::Notify,
};
use windows_sys::Win32::{
    Foundation::{
        ERROR_ALREADY_EXISTS, FILETIME, GetLastError, HANDLE, HANDLE_FLAG_INHERIT, SetHandleInformation,
        WAIT_OBJECT_0, WAIT_TIMEOUT,
    },
    System::{
        Console::{GetStdHandle, STD_ERROR_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE},
        Threading::{
            CREATE_NEW_PROCESS_GROUP, CreateEventW, DETACHED_PROCESS, EVENT_MODIFY_STATE, GetCurrentProcess,
            GetProcessTimes, INFINITE, OpenEventW, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION,
            PROCESS_SYNCHRONIZE, PROCESS_TERMINATE, SetEvent, TerminateProcess, WaitForSingleObject,
        },
    },
};

use crate::platform::windows::{Guard, Handle, done, wide};

/// The event of a process; in every session's namespace, so that an administrator's terminal finds a service's. Anybody may make
/// events there: the moment at which the process began is in the name, so that nobody makes those of pids to come.
fn name(process: HANDLE, pid: u32) -> io::Result<Vec<u16>> {
    // SAFETY: all zero is a valid value of it.
    let mut times: [FILETIME; 4] = unsafe { mem::zeroed() };
    let [start, exit, kernel, user] = &mut times;
    // SAFETY: the handle is open, and the four are written to.
    done(unsafe { GetProcessTimes(process, start, exit, kernel, user) })?;
    let start = u64::from(start.dwHighDateTime) << 32 | u64::from(start.dwLowDateTime);
    Ok(wide(OsStr::new(&format!(r"Global\portwatch-end-{pid}-{start:x}"))))
}

/// The exit code of a process that was ended: what `taskkill /F` gives.
const ENDED: u32 = 1;

/// There are no signals, and so no numbers of them.
pub(super) const fn number(_: super::Signal) -> Option<i32> {
    None
}

/// Whether this process may end the one that has the pid now.
pub fn may_end(pid: u32) -> bool {
    // SAFETY: the call takes no memory of ours.
    Handle::new(unsafe { OpenProcess(PROCESS_TERMINATE, 0, pid) }).is_ok()
}

/// Whether the error says that there is no such process (any more): what is said of it is said of others, too.
pub const fn is_gone(_: &io::Error) -> bool {
    false
}

/// A handle of a process: while it is open, nobody else gets its pid.
#[derive(Debug)]
pub struct Running {
    process: Handle,
    pid: u32,
}

impl Running {
    /// Of whoever has the pid now: compare its start afterwards.
    pub fn open(pid: u32) -> io::Result<Self> {
        let access = PROCESS_SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION;
        // SAFETY: the call takes no memory of ours.
        let process = Handle::new(unsafe { OpenProcess(access, 0, pid) })?;
        Ok(Self { process, pid })
    }

    /// Asks a portwatch to end.
    pub fn ask(&self) -> io::Result<()> {
        let name = name(self.process.raw(), self.pid)?;
        // SAFETY: the name ends with a NUL.
        let event = Handle::new(unsafe { OpenEventW(EVENT_MODIFY_STATE, 0, name.as_ptr()) })?;
        // SAFETY: the handle is open.
        done(unsafe { SetEvent(event.raw()) })
    }

    /// Ends it at once, whatever was said: there are no signals. The handle that this one was opened with does not
    /// carry the right to it, so that looking needs none; the new one is of the same process, whose pid is nobody
    /// else's while the first is open.
    pub fn signal(&self, _: super::Signal) -> io::Result<()> {
        // SAFETY: the call takes no memory of ours.
        let process = Handle::new(unsafe { OpenProcess(PROCESS_TERMINATE, 0, self.pid) })?;
        // SAFETY: the handle is open.
        done(unsafe { TerminateProcess(process.raw(), ENDED) })
    }

    /// Waits until it has ended; `false` when the time passes before.
    pub fn wait(&self, time: Duration) -> io::Result<bool> {
        let millis = u32::try_from(time.as_millis()).unwrap_or(INFINITE - 1);
        // SAFETY: the handle is open.
        match unsafe { WaitForSingleObject(self.process.raw(), millis) } {
            WAIT_OBJECT_0 => Ok(true),
            WAIT_TIMEOUT => Ok(false),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// What this process is asked to end by: its event, and what a console sends.
#[derive(Debug)]
pub struct Asked {
    event: Arc<Notify>,
    c: CtrlC,
    r#break: CtrlBreak,
    close: CtrlClose,
    shutdown: CtrlShutdown,
}

impl Asked {
    /// From now on they are heard. To be called in a runtime.
    pub fn hear() -> io::Result<Self> {
        let guard = Guard::private()?;
        let attributes = guard.attributes();
        // SAFETY: the call takes nothing.
        let name = name(unsafe { GetCurrentProcess() }, std::process::id())?;
        // SAFETY: the attributes and the name, which ends with a NUL, live until the call returns.
        let event = unsafe { CreateEventW(&raw const attributes, 1, 0, name.as_ptr()) };
        // SAFETY: the call takes nothing.
        let before = unsafe { GetLastError() };
        let event = Handle::new(event)?;
        if before == ERROR_ALREADY_EXISTS {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "somebody else made this process's event",
            ));
        }
        let heard = Arc::new(Notify::new());
        let told = Arc::clone(&heard);
        std::thread::Builder::new().name("ending".to_owned()).stack_size(64 * 1024).spawn(move || {
            // SAFETY: the handle is open as long as this thread runs.
            if unsafe { WaitForSingleObject(event.raw(), INFINITE) } == WAIT_OBJECT_0 {
                told.notify_one();
            }
        })?;
        Ok(Self {
            event: heard,
            c: ctrl_c()?,
            r#break: ctrl_break()?,
            close: ctrl_close()?,
            shutdown: ctrl_shutdown()?,
        })
    }

    /// Waits for one.
    pub async fn wait(&mut self) {
        tokio::select! {
            () = self.event.notified() => {}
            _ = self.c.recv() => {}
            _ = self.r#break.recv() => {}
            _ = self.close.recv() => {}
            _ = self.shutdown.recv() => {}
        }
    }
}

/// Leaves the caller's session: [`detached`] has done that already.
pub fn detach() {}

/// A command whose process has no console and outlives the caller's. It inherits nothing but the streams that it is
/// given: whoever reads what this process prints would else wait for the end of that one, too.
pub fn detached(command: &mut Command) -> &mut Command {
    for stream in [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE] {
        // SAFETY: the calls take numbers; a stream that is not there is an error that changes nothing.
        unsafe { SetHandleInformation(GetStdHandle(stream), HANDLE_FLAG_INHERIT, 0) };
    }
    command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP)
}

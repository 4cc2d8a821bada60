//! By handles of processes, and a list of all of them for parents.

use std::{collections::HashMap, ffi::OsString, mem, os::windows::ffi::OsStringExt, path::PathBuf, ptr};

use windows_sys::{
    Wdk::System::Threading::{
        NtQueryInformationProcess, ProcessBasicInformation, ProcessCommandLineInformation,
    },
    Win32::{
        Foundation::{CloseHandle, ERROR_ACCESS_DENIED, FILETIME, GetLastError, HANDLE, UNICODE_STRING},
        System::{
            Diagnostics::Debug::ReadProcessMemory,
            Diagnostics::ToolHelp::{
                CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW,
                TH32CS_SNAPPROCESS,
            },
            Threading::{
                GetProcessTimes, IsWow64Process, OpenProcess, PROCESS_BASIC_INFORMATION,
                PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_VM_READ, QueryFullProcessImageNameW,
            },
        },
    },
};

use super::{Absent, Extras};
use crate::{
    model::{CommandLine, Evidence, Netns, ProcessId, ProcessSeen},
    platform::windows::Token,
    source::SourceError,
};

/// The pid of the kernel's own process, which holds the ports of its HTTP server and of file sharing.
const SYSTEM: u32 = 4;
/// From 1601, where Windows counts from, to 1970, in units of 100 ns.
const EPOCH: u64 = 116_444_736_000_000_000;
/// Units of 100 ns in a tick of [`ProcessId::start_ticks`].
const PER_TICK: u64 = 100_000;
/// Where in a process's environment block its parameters are, and in these its working directory and its command line: of every version of
/// 64-bit Windows (`PEB` and `RTL_USER_PROCESS_PARAMETERS` of winternl.h and of the debugger's symbols).
const PARAMETERS: usize = 0x20;
const DIRECTORY: usize = 0x38;
const COMMAND: usize = 0x70;
/// A path or a command line has 32,767 characters at most.
const LONGEST: usize = 32_768;

/// Processes of this machine.
#[derive(Debug, Default)]
pub struct Processes {
    /// Parents and names, of one look.
    listed: Option<HashMap<u32, Listed>>,
}

#[derive(Debug)]
struct Listed {
    parent: u32,
    name: String,
}

/// There are no network namespaces.
pub fn own_netns() -> Result<Option<Netns>, SourceError> {
    Ok(None)
}

/// This moment as [`ProcessId::start_ticks`] counts; `None` where the clock says nothing.
pub fn now() -> Option<u64> {
    let now = std::time::UNIX_EPOCH.elapsed().ok()?;
    u64::try_from(now.as_millis() / 10).ok()
}

impl Processes {
    /// Nothing needs to be opened.
    pub fn open() -> Result<Self, SourceError> {
        Ok(Self::default())
    }

    /// Forgets what a look before has found.
    pub fn look_again(&mut self) {
        self.listed = None;
    }

    /// The process that has `pid` now.
    pub fn identify(&mut self, pid: u32) -> Result<ProcessId, Absent> {
        Process::open(pid)?.id(pid)
    }

    /// Facts of exactly this process.
    pub fn process(&mut self, id: ProcessId) -> Option<ProcessSeen> {
        // While the handle is open its pid is nobody else's.
        let process = Process::open(id.pid).ok()?;
        if process.id(id.pid) != Ok(id) {
            return None;
        }
        let listed = self.listed.get_or_insert_with(list);
        if !listed.contains_key(&id.pid) {
            // It began after the list was made.
            *listed = list();
        }
        let own = listed.get(&id.pid);
        let parent_pid = own.map_or(0, |own| own.parent);
        let path = process.path();
        let name = path.as_ref().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        Some(ProcessSeen {
            id,
            parent_pid,
            // A parent that is gone may have left its pid to a stranger: only an older process is the parent.
            parent_comm: listed.get(&parent_pid).filter(|_| is_older(parent_pid, id)).map(|p| p.name.clone()),
            uid: process.token().and_then(|token| token.uid()),
            gid: None,
            comm: name.or_else(|| own.map(|own| own.name.clone())).unwrap_or_default(),
            // Before Windows 8.1, and under Wine 8, the kernel is not asked for it.
            command: process
                .command()
                .or_else(|| Some(Process::readable(id)?.parameter(COMMAND)?.to_string_lossy().into_owned()))
                .map(|line| CommandLine { args: super::words(&line), truncated: false }),
            cgroup_id: None,
            evidence: Evidence::Scan,
        })
    }

    /// Where exactly this process lies and works, and whose it is; `None` when it is gone.
    pub fn extras(&mut self, id: ProcessId) -> Option<Extras> {
        let process = Process::open(id.pid).ok()?;
        if process.id(id.pid) != Ok(id) {
            return None;
        }
        let user = process.token().and_then(|token| token.user()).and_then(|user| user.account());
        let cwd = Process::readable(id).and_then(|process| process.directory());
        Some(Extras { exe: process.path(), cwd, user })
    }
}

fn is_older(pid: u32, than: ProcessId) -> bool {
    Process::open(pid).and_then(|process| process.id(pid)).is_ok_and(|id| id.start_ticks <= than.start_ticks)
}

/// An open handle of a process.
struct Process(HANDLE);

impl Process {
    fn open(pid: u32) -> Result<Self, Absent> {
        Self::open_for(pid, PROCESS_QUERY_LIMITED_INFORMATION)
    }

    fn open_for(pid: u32, access: u32) -> Result<Self, Absent> {
        if pid == SYSTEM {
            return Err(Absent::Kernel);
        }
        // SAFETY: the call takes no memory of ours.
        let handle = unsafe { OpenProcess(access, 0, pid) };
        if !handle.is_null() {
            return Ok(Self(handle));
        }
        // SAFETY: as above.
        let error = unsafe { GetLastError() };
        Err(if error == ERROR_ACCESS_DENIED { Absent::NotPermitted } else { Absent::Gone })
    }

    /// Exactly this process, with its memory.
    fn readable(id: ProcessId) -> Option<Self> {
        let process = Self::open_for(id.pid, PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_VM_READ).ok()?;
        (process.id(id.pid) == Ok(id)).then_some(process)
    }

    fn id(&self, pid: u32) -> Result<ProcessId, Absent> {
        let none = FILETIME { dwLowDateTime: 0, dwHighDateTime: 0 };
        let (mut created, mut exited, mut kernel, mut user) = (none, none, none, none);
        // SAFETY: the handle is open, and the four times live until the call returns.
        let done = unsafe {
            GetProcessTimes(self.0, &raw mut created, &raw mut exited, &raw mut kernel, &raw mut user)
        };
        if done == 0 {
            return Err(Absent::NotPermitted);
        }
        // An ended process stays as long as somebody has a handle of it, and holds nothing.
        if moment(exited) != 0 {
            return Err(Absent::Gone);
        }
        Ok(ProcessId { pid, start_ticks: moment(created).saturating_sub(EPOCH) / PER_TICK })
    }

    /// As whom it runs; only of processes that this one may look into.
    fn token(&self) -> Option<Token> {
        Token::of_process(self.0).ok()
    }

    /// The working directory, which only the process's own memory tells.
    fn directory(&self) -> Option<PathBuf> {
        let path = PathBuf::from(self.parameter(DIRECTORY)?);
        // It ends with a separator, which a drive's root keeps.
        let path: PathBuf = path.components().collect();
        path.is_absolute().then_some(path)
    }

    /// A text of the process's parameters, out of its memory. `None` for a 32-bit program, whose memory has another layout.
    fn parameter(&self, at: usize) -> Option<OsString> {
        let mut narrow = 0;
        // SAFETY: the handle is open, and the answer is written to.
        let told = unsafe { IsWow64Process(self.0, &raw mut narrow) } != 0;
        if cfg!(not(target_pointer_width = "64")) || !told || narrow != 0 {
            return None;
        }
        // SAFETY: all zero is a valid value of it.
        let mut basic: PROCESS_BASIC_INFORMATION = unsafe { mem::zeroed() };
        let size = u32::try_from(size_of::<PROCESS_BASIC_INFORMATION>()).ok()?;
        let mut written = 0;
        // SAFETY: the buffer is as long as is said.
        let status = unsafe {
            NtQueryInformationProcess(
                self.0,
                ProcessBasicInformation,
                (&raw mut basic).cast(),
                size,
                &raw mut written,
            )
        };
        if status < 0 {
            return None;
        }
        let mut parameters = [0_u8; 8];
        self.memory((basic.PebBaseAddress as usize).checked_add(PARAMETERS)?, &mut parameters)?;
        let parameters = usize::try_from(u64::from_ne_bytes(parameters)).ok()?;
        // A UNICODE_STRING: length in bytes, capacity, padding, address.
        let mut text = [0_u8; 16];
        self.memory(parameters.checked_add(at)?, &mut text)?;
        let (length, address) = text.split_at_checked(8)?;
        let length = usize::from(u16::from_ne_bytes([*length.first()?, *length.get(1)?]));
        let mut characters = vec![0_u8; length];
        let address = usize::try_from(u64::from_ne_bytes(address.try_into().ok()?)).ok()?;
        self.memory(address, &mut characters)?;
        let wide: Vec<u16> = characters.as_chunks().0.iter().map(|&pair| u16::from_ne_bytes(pair)).collect();
        Some(OsString::from_wide(&wide))
    }

    /// Fills `to` with the memory at an address in the process.
    fn memory(&self, from: usize, to: &mut [u8]) -> Option<()> {
        let mut read = 0;
        // SAFETY: the buffer is as long as is said; an address that is not there is an error.
        let done = unsafe {
            ReadProcessMemory(
                self.0,
                ptr::with_exposed_provenance(from),
                to.as_mut_ptr().cast(),
                to.len(),
                &raw mut read,
            )
        };
        (done != 0 && read == to.len()).then_some(())
    }

    /// The program.
    fn path(&self) -> Option<PathBuf> {
        let mut buffer = vec![0_u16; LONGEST];
        let mut length = u32::try_from(buffer.len()).ok()?;
        // SAFETY: the buffer is as long as is said.
        let done = unsafe { QueryFullProcessImageNameW(self.0, 0, buffer.as_mut_ptr(), &raw mut length) };
        if done == 0 {
            return None;
        }
        Some(PathBuf::from(OsString::from_wide(buffer.get(..usize::try_from(length).ok()?)?)))
    }

    /// The command line, one text on this platform.
    fn command(&self) -> Option<String> {
        // A UNICODE_STRING and, behind it, its characters. u64s, for its alignment.
        let mut buffer = vec![0_u64; (size_of::<UNICODE_STRING>() + 2 * LONGEST) / 8 + 1];
        let bytes = u32::try_from(buffer.len() * 8).ok()?;
        let mut written = 0;
        // SAFETY: the buffer is as long as is said and aligned for what is written into it.
        let status = unsafe {
            NtQueryInformationProcess(
                self.0,
                ProcessCommandLineInformation,
                buffer.as_mut_ptr().cast(),
                bytes,
                &raw mut written,
            )
        };
        if status < 0 {
            return None;
        }
        // SAFETY: the call has written a UNICODE_STRING to the beginning, and all zero is one, too.
        let text: UNICODE_STRING = unsafe { ptr::read(buffer.as_ptr().cast()) };
        let begin = text.Buffer as usize;
        let characters = usize::from(text.Length) / 2;
        let area = buffer.as_ptr() as usize..buffer.as_ptr() as usize + buffer.len() * 8;
        if !area.contains(&begin) || begin + 2 * characters > area.end || !begin.is_multiple_of(2) {
            return None;
        }
        // SAFETY: it was just seen to lie inside the buffer, aligned.
        let characters = unsafe { std::slice::from_raw_parts(text.Buffer.cast_const(), characters) };
        Some(String::from_utf16_lossy(characters))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SAFETY: the handle is ours and closed nowhere else.
        unsafe {
            CloseHandle(self.0);
        }
    }
}

fn moment(time: FILETIME) -> u64 {
    u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime)
}

/// Every process, with its parent. Empty where it cannot be had.
fn list() -> HashMap<u32, Listed> {
    let mut listed = HashMap::new();
    // SAFETY: the call takes no memory of ours.
    let handle = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0) };
    if handle as isize == -1 {
        return listed;
    }
    let handle = Process(handle);
    // SAFETY: all zero is a valid entry.
    let mut entry: PROCESSENTRY32W = unsafe { mem::zeroed() };
    entry.dwSize = u32::try_from(size_of::<PROCESSENTRY32W>()).unwrap_or(0);
    // SAFETY: the handle is open and the entry has the size it says.
    let mut more = unsafe { Process32FirstW(handle.0, &raw mut entry) };
    while more != 0 {
        let name: Vec<u16> = entry.szExeFile.iter().copied().take_while(|&c| c != 0).collect();
        let name = String::from_utf16_lossy(&name);
        listed.insert(entry.th32ProcessID, Listed { parent: entry.th32ParentProcessID, name });
        // SAFETY: as above.
        more = unsafe { Process32NextW(handle.0, &raw mut entry) };
    }
    listed
}

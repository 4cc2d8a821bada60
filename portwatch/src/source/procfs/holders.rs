//! From socket inodes to the processes that have them open.

use std::{
    collections::{HashMap, HashSet},
    ffi::CStr,
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    time::Instant,
};

use rustix::{
    fs::{AtFlags, Mode, RawDir, openat, readlinkat_raw, statat},
    io::Errno,
};

use super::{ProcFs, READ_DIR, Stat, numbered, stat::number};
use crate::{
    model::{Netns, Owner, ProcessId},
    source::scan::HolderSearch,
};

/// So many holders are confirmed one by one, in a few milliseconds, where there is a faster way to all of them.
const MANY: usize = 256;

/// A socket whose holders are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Its inode.
    pub inode: u64,
    /// Its owner, whose processes are looked at first.
    pub uid: Option<u32>,
}

/// A descriptor found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Whose.
    pub process: ProcessId,
    /// Its number there.
    pub fd: u32,
}

/// A socket's descriptor in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// Whose.
    pub process: ProcessId,
    /// Its number there.
    pub fd: u32,
    /// The socket's inode.
    pub inode: u64,
}

/// A faster way to all descriptors than one directory per process.
pub trait Descriptors {
    /// Every descriptor of a socket in every process.
    fn all(&mut self) -> io::Result<Vec<Descriptor>>;

    /// Whether "every process" means every process of the machine: also those that procfs hides or keeps closed.
    fn sees_all(&self) -> bool;
}

/// What a search came to.
#[derive(Debug, Default)]
pub struct Search {
    /// Inodes looked for.
    pub asked: Vec<u64>,
    /// Holders by inode, the lowest descriptor of each process.
    pub found: HashMap<u64, Vec<Found>>,
    /// Processes whose descriptors may not be read, or processes that are hidden altogether (hidepid).
    pub denied: bool,
    /// Every process that may be read was read.
    pub complete: bool,
}

impl Search {
    fn count(&self) -> usize {
        self.found.values().map(Vec::len).sum()
    }

    /// Takes what is asked for from a list of everything.
    fn fill(&mut self, inodes: &Inodes, all: Vec<Descriptor>) {
        for Descriptor { process, fd, inode } in all {
            if inodes.contains(inode) {
                self.found.entry(inode).or_default().push(Found { process, fd });
            }
        }
    }

    /// Why the holders of `inode` are as they are.
    pub fn owner(&self, inode: u64) -> Owner {
        match (self.found.get(&inode), self.denied, self.complete) {
            (Some(holders), _, _) if !holders.is_empty() => Owner::Known,
            (_, true, _) => Owner::NotPermitted,
            (_, false, true) => Owner::NoProcess,
            (_, false, false) => Owner::Unknown,
        }
    }
}

impl ProcFs {
    /// Looks for the holders of `wanted`. `known` are holders that were seen before: they are confirmed
    /// first, and where one still holds its socket, [`HolderSearch::First`] needs no walk. `table` takes the place
    /// of a walk as long as it can be read.
    pub fn holders(
        &mut self,
        wanted: &[Wanted],
        known: &HashMap<u64, Vec<Found>>,
        mode: HolderSearch,
        mut table: Option<&mut dyn Descriptors>,
    ) -> io::Result<Search> {
        let mut search = Search::default();
        if mode == HolderSearch::None || wanted.is_empty() {
            return Ok(search);
        }
        // To confirm thousands one by one takes longer than a pass over all.
        let confirmed: usize = wanted.iter().filter_map(|w| known.get(&w.inode)).map(Vec::len).sum();
        let mode = if confirmed > MANY && table.is_some() { HolderSearch::All } else { mode };
        let inodes = Inodes::new(wanted);
        search.asked.clone_from(&inodes.0);
        if mode == HolderSearch::First {
            for inode in wanted.iter().map(|w| w.inode) {
                for found in known.get(&inode).into_iter().flatten() {
                    if self.confirm(inode, *found) {
                        search.found.entry(inode).or_default().push(*found);
                    }
                }
            }
        }
        let mut tabled = false;
        if mode == HolderSearch::All || !inodes.all_found(&search) {
            tabled = read(&mut table).map(|all| search.fill(&inodes, all)).is_some();
            let missing = inodes.missing(&search);
            if !tabled {
                self.walk(wanted, &inodes, mode, &mut search)?;
            } else if missing.0.is_empty() {
                // Each has a holder.
            } else if table.as_ref().is_some_and(|table| table.sees_all())
                && let Some(all) = read(&mut table)
            {
                // Looked at twice: a descriptor may have passed to a process that was read already.
                search.fill(&missing, all);
                search.complete = true;
            } else {
                // What the table does not show may still be somebody's, if only of one that may not be looked into.
                self.walk(wanted, &missing, HolderSearch::First, &mut search)?;
            }
        }
        if mode == HolderSearch::First && !tabled {
            self.follow_family(&inodes, &mut search);
        }
        for holders in search.found.values_mut() {
            holders.sort_by_key(|found| (found.process, found.fd));
            holders.dedup_by_key(|found| found.process);
        }
        Ok(search)
    }

    /// The process with this pid, the network namespace in which it is, and the inodes of the sockets that it has open. `None` where there is no such process,
    /// it may not be looked into, or its descriptors are not all read by `until`.
    pub fn sockets_of(&mut self, pid: u32, until: Instant) -> Option<(ProcessId, Netns, HashSet<u64>)> {
        let before = self.identify(pid)?;
        let stat = statat(&self.root, format!("{pid}/ns/net"), AtFlags::empty()).ok()?;
        let netns = Netns(u32::try_from(stat.st_ino).ok()?);
        let directory = openat(&self.root, format!("{pid}/fd"), READ_DIR, Mode::empty()).ok()?;
        let mut inodes = HashSet::new();
        each_socket(&directory, Some(until), &mut |_, inode| {
            inodes.insert(inode);
        })
        .ok()?;
        // The pid may have passed to another process between the reads.
        (self.identify(pid)? == before).then_some((before, netns, inodes))
    }

    /// Whether this very process still has this socket under this descriptor.
    pub fn confirm(&mut self, inode: u64, found: Found) -> bool {
        let mut target = [MaybeUninit::uninit(); 32];
        let path = format!("{}/fd/{}", found.process.pid, found.fd);
        let same = match readlinkat_raw(&self.root, path, &mut target) {
            Ok((target, _)) => socket_inode(target) == Some(inode),
            Err(_) => false,
        };
        same && self.identify(found.process.pid) == Some(found.process)
    }

    fn walk(
        &mut self,
        wanted: &[Wanted],
        inodes: &Inodes,
        mode: HolderSearch,
        search: &mut Search,
    ) -> io::Result<()> {
        let mut pids = self.pids()?;
        // Under hidepid only our own processes are listed; pid 1 is then among the hidden.
        search.denied |= !pids.contains(&1);
        let mut later = Vec::new();
        // What is asked about was most often started lately. Pids grow, and after their maximum start again:
        // the newest process has the number given out last.
        let newest = self.newest_pid().unwrap_or(u32::MAX);
        pids.sort_unstable_by_key(|&pid| newest.wrapping_sub(pid));
        for pid in pids {
            let of_owner = match statat(&self.root, pid.to_string(), AtFlags::empty()) {
                Ok(stat) => wanted.iter().any(|w| w.uid.is_none_or(|uid| uid == stat.st_uid)),
                Err(_) => continue,
            };
            if !of_owner {
                later.push(pid);
                continue;
            }
            self.read_descriptors(pid, inodes, search)?;
            if mode == HolderSearch::First && inodes.all_found(search) {
                return Ok(());
            }
        }
        for pid in later {
            self.read_descriptors(pid, inodes, search)?;
            if mode == HolderSearch::First && inodes.all_found(search) {
                return Ok(());
            }
        }
        search.complete = true;
        Ok(())
    }

    /// Adds what one process holds. A process that ends meanwhile holds nothing.
    fn read_descriptors(&mut self, pid: u32, inodes: &Inodes, search: &mut Search) -> io::Result<()> {
        let directory = match openat(&self.root, format!("{pid}/fd"), READ_DIR, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::SRCH) => return Ok(()),
            Err(Errno::ACCESS | Errno::PERM) => {
                search.denied = true;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let mut hits: Vec<(u64, u32)> = Vec::new();
        let read = each_socket(&directory, None, &mut |fd, inode| {
            if inodes.contains(inode) && !hits.iter().any(|(known, _)| *known == inode) {
                hits.push((inode, fd));
            }
        });
        match read {
            Ok(()) | Err(Errno::NOENT | Errno::SRCH) => {}
            Err(Errno::ACCESS | Errno::PERM) => search.denied = true,
            Err(error) => return Err(error.into()),
        }
        if hits.is_empty() {
            return Ok(());
        }
        let Some(process) = self.identify(pid) else { return Ok(()) };
        for (inode, fd) in hits {
            // The pid may have passed to another process between the two reads.
            let found = Found { process, fd };
            search.found.entry(inode).or_default().push(found);
        }
        Ok(())
    }

    /// Adds relatives of the holders found so far: parents, children and brothers, and theirs in turn as far as
    /// they hold a socket too.
    fn follow_family(&mut self, inodes: &Inodes, search: &mut Search) {
        let mut queue: Vec<u32> = search.found.values().flatten().map(|f| f.process.pid).collect();
        let mut visited: HashSet<u32> = queue.iter().copied().collect();
        // Of thousands of brothers each has the same parent, whose children are read once.
        let mut asked = HashSet::new();
        while let Some(pid) = queue.pop() {
            let mut family = if asked.insert(pid) { self.children(pid) } else { Vec::new() };
            if let Some(parent) = self.parent(pid) {
                family.push(parent);
                // The children of pid 1 are everybody's orphans.
                if parent > 1 && asked.insert(parent) {
                    family.extend(self.children(parent));
                }
            }
            for relative in family {
                if !visited.insert(relative) {
                    continue;
                }
                let before = search.count();
                // What cannot be read here is not shown; whether holders may be missing, `First` does not say.
                let denied = search.denied;
                let _ = self.read_descriptors(relative, inodes, search);
                search.denied = denied;
                if search.count() > before {
                    queue.push(relative);
                }
            }
        }
    }

    fn parent(&mut self, pid: u32) -> Option<u32> {
        let stat = Stat::parse(self.read(&format!("{pid}/stat"), 4096).ok()?)?;
        (stat.parent_pid != 0).then_some(stat.parent_pid)
    }

    /// Children of every thread of `pid`. Empty where the kernel keeps no such list (CONFIG_PROC_CHILDREN).
    fn children(&mut self, pid: u32) -> Vec<u32> {
        let Ok(tasks) = openat(&self.root, format!("{pid}/task"), READ_DIR, Mode::empty()) else {
            return Vec::new();
        };
        let mut threads = Vec::new();
        if numbered(&tasks, &mut |tid| threads.push(tid)).is_err() {
            return Vec::new();
        }
        let mut children = Vec::new();
        for tid in threads {
            if let Ok(list) = self.read(&format!("{pid}/task/{tid}/children"), 1 << 20) {
                children.extend(list.split(u8::is_ascii_whitespace).filter_map(number::<u32>));
            }
        }
        children
    }
}

/// Everything that the table has; `None` where there is none, or it cannot be read.
fn read(table: &mut Option<&mut dyn Descriptors>) -> Option<Vec<Descriptor>> {
    let all = table.as_mut()?.all();
    all.inspect_err(|error| tracing::debug!(%error, "descriptors not read in the kernel")).ok()
}

/// The inodes asked for, sorted.
struct Inodes(Vec<u64>);

impl Inodes {
    fn new(wanted: &[Wanted]) -> Self {
        let mut inodes: Vec<u64> = wanted.iter().map(|w| w.inode).collect();
        inodes.sort_unstable();
        inodes.dedup();
        Self(inodes)
    }

    fn contains(&self, inode: u64) -> bool {
        self.0.binary_search(&inode).is_ok()
    }

    fn missing(&self, search: &Search) -> Self {
        Self(self.0.iter().copied().filter(|inode| !search.found.contains_key(inode)).collect())
    }

    fn all_found(&self, search: &Search) -> bool {
        self.0.iter().all(|inode| search.found.contains_key(inode))
    }
}

/// Calls `each` with (descriptor, inode) of every socket of a `/proc/PID/fd` directory; [`Errno::TIMEDOUT`] where that is not done by `until`.
fn each_socket(
    directory: &OwnedFd,
    until: Option<Instant>,
    each: &mut dyn FnMut(u32, u64),
) -> Result<(), Errno> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 8192];
    let mut target = [MaybeUninit::<u8>::uninit(); 32];
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        if until.is_some_and(|until| until <= Instant::now()) {
            return Err(Errno::TIMEDOUT);
        }
        let entry = entry?;
        let name: &CStr = entry.file_name();
        let Some(fd) = number(name.to_bytes()) else { continue };
        match readlinkat_raw(directory, name, &mut target) {
            Ok((target, _)) => {
                if let Some(inode) = socket_inode(target) {
                    each(fd, inode);
                }
            }
            // Closed since the directory was read.
            Err(Errno::NOENT | Errno::SRCH) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The inode of a link `socket:[N]`.
fn socket_inode(target: &[u8]) -> Option<u64> {
    number(target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?)
}

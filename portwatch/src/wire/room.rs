//! How much of processes one answer tells. A user can have thousands of processes whose descriptions are as large as they may be, and
//! let each hold every socket: what does not fit is told by pid and comm alone, and what does not fit then is counted.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use super::SourceInfo;
use crate::{
    model::{Process, Viewer},
    query::Sight,
};

/// Bytes of a process that is told by pid and comm alone, and of what is around it.
const NAMED: usize = 512;

/// What is left of the room for processes in one answer.
#[derive(Debug)]
pub struct Room {
    /// For descriptions.
    left: Cell<usize>,
    /// Those of one user's processes, other than root's, take no more than this: one user's do not keep the others' out.
    share: usize,
    taken: RefCell<HashMap<Option<u32>, usize>>,
    /// For names.
    names: Cell<usize>,
    named: Cell<u64>,
    left_out: Cell<u64>,
}

impl Room {
    /// So many bytes for descriptions, and as many for names of the processes that are not described.
    pub fn new(bytes: usize) -> Self {
        Self {
            left: Cell::new(bytes),
            share: bytes / 2,
            taken: RefCell::default(),
            names: Cell::new(bytes),
            named: Cell::new(0),
            left_out: Cell::new(0),
        }
    }

    /// What `viewer` sees, as far as there is room.
    pub fn view(&self, viewer: Viewer) -> View<'_> {
        View { viewer, room: Some(self) }
    }

    fn describes(&self, process: &Process) -> bool {
        let size = process.json_bytes();
        let mut taken = self.taken.borrow_mut();
        let of_user = taken.entry(process.uid).or_default();
        // Root's are the machine's own: nobody makes them so large to keep others out.
        let in_share = process.uid == Some(0) || of_user.saturating_add(size) <= self.share;
        let fits = size <= self.left.get() && in_share;
        if fits {
            *of_user += size;
            self.left.set(self.left.get() - size);
        } else {
            self.named.set(self.named.get() + 1);
        }
        fits
    }

    fn names(&self) -> bool {
        let left = self.names.get().checked_sub(NAMED);
        match left {
            Some(left) => self.names.set(left),
            None => self.left_out.set(self.left_out.get() + 1),
        }
        left.is_some()
    }

    /// Says in the answer what it does not tell.
    pub fn say(&self, source: &mut SourceInfo) {
        let mut words = Vec::new();
        let of = |count: u64, what: &str| match count {
            1 => format!("one process {what}"),
            count => format!("{count} processes {what}"),
        };
        if self.named.get() > 0 {
            words.push(of(
                self.named.get(),
                "told by name alone, as all of it would be too much for one answer",
            ));
        }
        if self.left_out.get() > 0 {
            words.push(of(self.left_out.get(), "left out"));
        }
        if words.is_empty() {
            return;
        }
        let said = words.join(", ");
        source.note = Some(match source.note.take() {
            Some(note) => format!("{note}; {said}"),
            None => said,
        });
    }
}

/// Who is shown something, and how much of it fits.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Who.
    pub viewer: Viewer,
    room: Option<&'a Room>,
}

impl From<Viewer> for View<'_> {
    /// All that this one may see.
    fn from(viewer: Viewer) -> Self {
        Self { viewer, room: None }
    }
}

impl View<'_> {
    /// How much of `process` is told.
    pub fn sight(self, process: &Process) -> Sight {
        let sight = self.viewer.sight(process);
        if sight == Sight::Identity || self.room.is_none_or(|room| room.describes(process)) {
            return sight;
        }
        Sight::Identity
    }

    /// Whether another process is named at all.
    pub fn names(self) -> bool {
        self.room.is_none_or(Room::names)
    }

    /// Says in the answer what it does not tell.
    pub fn say(self, source: &mut SourceInfo) {
        if let Some(room) = self.room {
            room.say(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{CommandLine, Evidence, ProcessId},
        wire::convert,
    };

    fn process(uid: u32) -> Process {
        Process {
            id: ProcessId { pid: 7, start_ticks: 7 },
            started: None,
            comm: "node".to_owned(),
            command: Some(CommandLine { args: vec!["x".repeat(2000)], truncated: false }),
            exe: None,
            cwd: None,
            uid: Some(uid),
            user: None,
            cgroup: None,
            unit: None,
            container: None,
            unproven: None,
            lineage: Vec::new(),
            project: None,
            evidence: Evidence::Scan,
        }
    }

    #[test]
    fn what_does_not_fit_is_named_and_one_user_does_not_keep_the_others_out() {
        let room = Room::new(100_000);
        let view = room.view(Viewer::Unrestricted);
        let told = |uid: u32| {
            let told = convert::process(&process(uid), view);
            assert_eq!((told.pid, told.comm.as_str(), told.uid), (7, "node", Some(uid)));
            told.command.is_some()
        };
        let of_many = (0..1000).filter(|_| told(1000)).count();
        assert!((10..30).contains(&of_many), "{of_many}");
        assert!(told(1001));
        let others = (2000..3000).filter(|&uid| told(uid)).count();
        assert!((10..30).contains(&others), "{others}");
        let names = (0..1000).filter(|_| view.names()).count();
        assert_eq!(names, 100_000 / NAMED);
        let whole = Room::new(100_000);
        let of_root =
            |_: &i32| convert::process(&process(0), whole.view(Viewer::Unrestricted)).command.is_some();
        assert!(
            (30..50).contains(&(0..1000).filter(of_root).count()),
            "the machine's own may take all of it"
        );

        let mut source = SourceInfo {
            source: "fake".to_owned(),
            daemon: true,
            note: Some("so it is".to_owned()),
            degradations: vec![],
        };
        view.say(&mut source);
        let note = source.note.unwrap();
        assert!(note.starts_with("so it is; 19") && note.contains(" processes told by name alone"), "{note}");
        assert!(note.ends_with(&format!(", {} processes left out", 1000 - names)), "{note}");
    }

    #[test]
    fn where_all_fits_nothing_is_said() {
        let room = Room::new(100_000);
        let view = room.view(Viewer::Unrestricted);
        assert!(convert::process(&process(1000), view).command.is_some() && view.names());
        let mut source =
            SourceInfo { source: "fake".to_owned(), daemon: true, note: None, degradations: vec![] };
        view.say(&mut source);
        assert_eq!(source.note, None);
    }
}

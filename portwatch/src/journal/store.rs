//! Rows in: one transaction a batch.

use std::{collections::HashMap, num::NonZeroUsize};

use lru::LruCache;
use rusqlite::{Connection, OptionalExtension, named_params, params};
use serde_json::json;

use super::{Entry, code, open, time};
use crate::model::{
    Ancestor, AskedPort, Cgroup, CommandLine, Container, Engine, Event, EventKind, LossCounts, Process,
    ProcessId, SocketKey,
};

/// Rows of processes whose ids are remembered, so that an event costs no look-up.
const REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(8191);

const INSERT_EVENT: &str = "INSERT INTO event (
    at, type, evidence, boot, protocol, address, port, netns, cookie, inode, state, asked_port, reuse_addr,
    reuse_port, v6_only, process, other, errno, exit_code, exit_signal, core_dumped, gap, lost, lost_counts,
    since, count, message, other_evidence, claim, sent_signal, sent_by, subject, sent_again
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,
    ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33)";

const INSERT_PROCESS: &str = "INSERT INTO process (
    boot, pid, start_ticks, started, comm, command, command_truncated, exe, cwd, uid, user, cgroup, lineage,
    project, project_root, project_kind, project_evidence, worktree, worktree_root, branch, evidence,
    unit, unit_slice, unit_manager, container
) VALUES (:boot, :pid, :start_ticks, :started, :comm, :command, :command_truncated, :exe, :cwd, :uid, :user,
    :cgroup, :lineage, :project, :project_root, :project_kind, :project_evidence, :worktree, :worktree_root,
    :branch, :evidence, :unit, :unit_slice, :unit_manager, :container)
ON CONFLICT (pid, start_ticks, boot) DO UPDATE SET
    started = excluded.started, comm = excluded.comm, command = excluded.command,
    command_truncated = excluded.command_truncated, exe = excluded.exe, cwd = excluded.cwd,
    uid = excluded.uid, user = excluded.user, cgroup = excluded.cgroup, lineage = excluded.lineage,
    project = excluded.project, project_root = excluded.project_root, project_kind = excluded.project_kind,
    project_evidence = excluded.project_evidence,
    worktree = excluded.worktree, worktree_root = excluded.worktree_root, branch = excluded.branch,
    evidence = excluded.evidence, unit = excluded.unit, unit_slice = excluded.unit_slice,
    unit_manager = excluded.unit_manager, container = excluded.container
RETURNING id";

/// What the engine told once stays when it cannot be asked any more.
const INSERT_CONTAINER: &str = "INSERT INTO container (
    engine, container_id, pod, name, image, compose_project, compose_service, owner
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT (container_id, ifnull(engine, ''), ifnull(owner, -1)) DO UPDATE SET
    pod = ifnull(excluded.pod, pod), name = ifnull(excluded.name, name), image = ifnull(excluded.image, image),
    compose_project = ifnull(excluded.compose_project, compose_project),
    compose_service = ifnull(excluded.compose_service, compose_service)
RETURNING id";

/// What the writer keeps between batches.
pub(super) struct Store {
    pub(super) connection: Connection,
    boot: i64,
    processes: LruCache<ProcessId, i64>,
    cgroups: HashMap<Cgroup, i64>,
    /// Events in the database.
    pub(super) events: u64,
}

impl Store {
    /// Finds or makes the row of this boot.
    pub(super) fn new(connection: Connection, boot_id: &str) -> rusqlite::Result<Self> {
        connection.execute("INSERT INTO boot (uuid) VALUES (?1) ON CONFLICT DO NOTHING", [boot_id])?;
        let boot =
            connection.query_row("SELECT id FROM boot WHERE uuid = ?1", [boot_id], |row| row.get(0))?;
        let events = open::count(&connection)?;
        Ok(Self { connection, boot, processes: LruCache::new(REMEMBERED), cgroups: HashMap::new(), events })
    }

    /// The row id of this boot.
    pub(super) const fn boot(&self) -> i64 {
        self.boot
    }

    /// So many events were deleted.
    pub(super) fn fewer(&mut self, deleted: usize) {
        self.events = self.events.saturating_sub(u64::try_from(deleted).unwrap_or(u64::MAX));
    }

    /// The rows of these processes, of this boot or another, were deleted: their pids and start times.
    pub(super) fn forget_those(&mut self, processes: Vec<(i64, i64)>) {
        for (pid, start_ticks) in processes {
            if let Ok(pid) = u32::try_from(pid) {
                self.processes.pop(&ProcessId { pid, start_ticks: start_ticks.cast_unsigned() });
            }
        }
    }

    /// Row ids are to be looked up again: a transaction was rolled back, or rows were deleted.
    pub(super) fn forget(&mut self) {
        self.processes.clear();
        self.cgroups.clear();
    }

    /// Writes all of it or nothing. The row id of the last event, if there was one.
    pub(super) fn write(&mut self, first: &[Entry], batch: &[Entry]) -> rusqlite::Result<Option<i64>> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let done = self.rows(first.iter().chain(batch)).and_then(|last| {
            self.connection.execute_batch("COMMIT")?;
            Ok(last)
        });
        if done.is_ok() {
            let is_event = |entry: &&Entry| matches!(entry, Entry::Event(_));
            let written = first.iter().chain(batch).filter(is_event).count();
            self.events = self.events.saturating_add(u64::try_from(written).unwrap_or(0));
        } else {
            self.forget();
            // SQLite has rolled back by itself after some errors; then there is nothing to roll back.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        done
    }

    fn rows<'a>(&mut self, entries: impl Iterator<Item = &'a Entry>) -> rusqlite::Result<Option<i64>> {
        let Self { connection, boot, processes, cgroups, .. } = self;
        let mut rows = Rows { connection, boot: *boot, processes, cgroups };
        let mut insert = rows.connection.prepare_cached(INSERT_EVENT)?;
        let mut last = None;
        for entry in entries {
            match entry {
                Entry::Process(process) => rows.process(process)?,
                Entry::Event(event) => last = Some(rows.event(&mut insert, event)?),
            }
        }
        Ok(last)
    }
}

/// One batch.
struct Rows<'a> {
    connection: &'a Connection,
    boot: i64,
    processes: &'a mut LruCache<ProcessId, i64>,
    cgroups: &'a mut HashMap<Cgroup, i64>,
}

impl Rows<'_> {
    fn event(&mut self, insert: &mut rusqlite::Statement<'_>, event: &Event) -> rusqlite::Result<i64> {
        let process = event.process.map(|id| self.process_row(id)).transpose()?;
        let other = event.other.map(|id| self.process_row(id)).transpose()?;
        let (cookie, inode, key_netns) = match event.socket {
            Some(SocketKey::Cookie(cookie)) => (Some(cookie.cast_signed()), None, None),
            Some(SocketKey::Inode { netns, inode }) => (None, Some(inode.cast_signed()), netns),
            // A number of a run means nothing to a later one.
            Some(SocketKey::Numbered(_)) | None => (None, None, None),
        };
        let asked = match event.asked {
            AskedPort::Explicit(port) => Some(i64::from(port.get())),
            AskedPort::KernelChosen => Some(0),
            AskedPort::Unknown => None,
        };
        let at = time::to_ns(event.at);
        let id = insert.insert(params![
            at,
            code::kind(event.kind),
            code::evidence(event.evidence),
            self.boot,
            event.protocol.map(code::protocol),
            event.address.map(|a| a.to_string()),
            event.port.map(|p| i64::from(p.get())),
            event.netns.or(key_netns).map(|n| i64::from(n.0)),
            cookie,
            inode,
            event.phase.map(code::phase),
            asked,
            event.options.reuse_addr,
            event.options.reuse_port,
            event.options.v6_only,
            process,
            other,
            event.errno,
            event.exit.and_then(|e| e.code),
            event.exit.and_then(|e| e.signal),
            event.exit.map(|e| e.core_dumped),
            event.gap.map(code::gap),
            event.lost.map(|l| i64::try_from(l.total()).unwrap_or(i64::MAX)),
            event.lost.as_ref().map(loss_text),
            event.since.map(time::to_ns),
            i64::try_from(event.count).unwrap_or(i64::MAX),
            event.message,
            event.other_evidence.map(code::evidence),
            event.claim,
            event.exit.and_then(|e| e.sent).map(|s| s.signal),
            event.exit.and_then(|e| e.sent).map(|s| code::sent_by(s.by)),
            event.subject,
            event.exit.and_then(|e| e.sent).map(|s| s.again),
        ])?;
        if event.kind == EventKind::Exit
            && let Some(row) = process
        {
            let mut ended = self.connection.prepare_cached("UPDATE process SET ended = ?2 WHERE id = ?1")?;
            ended.execute([row, at])?;
        }
        Ok(id)
    }

    /// The row of a process; one that nobody described gets a row with nothing but its identity.
    fn process_row(&mut self, id: ProcessId) -> rusqlite::Result<i64> {
        if let Some(&row) = self.processes.get(&id) {
            return Ok(row);
        }
        let key = params![i64::from(id.pid), id.start_ticks.cast_signed(), self.boot];
        let mut find = self
            .connection
            .prepare_cached("SELECT id FROM process WHERE pid = ?1 AND start_ticks = ?2 AND boot = ?3")?;
        let row = match find.query_row(key, |row| row.get(0)).optional()? {
            Some(row) => row,
            None => self
                .connection
                .prepare_cached("INSERT INTO process (pid, start_ticks, boot) VALUES (?1, ?2, ?3)")?
                .insert(key)?,
        };
        self.processes.put(id, row);
        Ok(row)
    }

    fn process(&mut self, process: &Process) -> rusqlite::Result<()> {
        let cgroup = process.cgroup.as_ref().map(|c| self.cgroup_row(c)).transpose()?;
        let container = process.container.as_ref().map(|c| self.container_row(c)).transpose()?;
        let unit = process.unit.as_ref();
        let project = process.project.as_ref();
        let worktree = project.and_then(|p| p.worktree.as_ref());
        let mut insert = self.connection.prepare_cached(INSERT_PROCESS)?;
        let row = insert.query_row(
            named_params! {
                ":boot": self.boot,
                ":pid": i64::from(process.id.pid),
                ":start_ticks": process.id.start_ticks.cast_signed(),
                ":started": process.started.map(time::to_ns),
                ":comm": process.comm,
                ":command": process.command.as_ref().map(|c| json!(c.args).to_string()),
                ":command_truncated": process.command.as_ref().is_some_and(|c| c.truncated),
                ":exe": process.exe.as_ref().map(|p| p.to_string_lossy()),
                ":cwd": process.cwd.as_ref().map(|p| p.to_string_lossy()),
                ":uid": process.uid,
                ":user": process.user,
                ":cgroup": cgroup,
                ":lineage": lineage_text(&process.lineage),
                ":project": project.map(|p| &p.name),
                ":project_root": project.map(|p| p.root.to_string_lossy()),
                ":project_kind": project.map(|p| p.kind.as_str()),
                ":project_evidence": project.map(|p| code::evidence(p.evidence)),
                ":worktree": worktree.map(|w| &w.name),
                ":worktree_root": worktree.map(|w| w.root.to_string_lossy()),
                ":branch": worktree.and_then(|w| w.branch.as_ref()),
                ":evidence": code::evidence(process.evidence),
                ":unit": unit.map(|u| &u.name),
                ":unit_slice": unit.and_then(|u| u.slice.as_ref()),
                ":unit_manager": unit.and_then(|u| u.manager),
                ":container": container,
            },
            |row| row.get(0),
        )?;
        self.processes.put(process.id, row);
        Ok(())
    }

    fn container_row(&mut self, container: &Container) -> rusqlite::Result<i64> {
        let compose = container.compose.as_ref();
        self.connection.prepare_cached(INSERT_CONTAINER)?.query_row(
            params![
                container.engine.map(Engine::as_str),
                container.id,
                container.pod,
                container.name,
                container.image,
                compose.map(|c| &c.project),
                compose.map(|c| &c.service),
                container.owner,
            ],
            |row| row.get(0),
        )
    }

    fn cgroup_row(&mut self, cgroup: &Cgroup) -> rusqlite::Result<i64> {
        /// Machines with more cgroups than this pay a look-up now and then.
        const MOST: usize = 4096;
        if let Some(&row) = self.cgroups.get(cgroup) {
            return Ok(row);
        }
        let id = cgroup.id.map(u64::cast_signed);
        let mut find = self.connection.prepare_cached(
            "SELECT id FROM cgroup WHERE boot = ?1 AND path = ?2 AND ifnull(kernel_id, -1) = ifnull(?3, -1)",
        )?;
        let key = params![self.boot, cgroup.path, id];
        let row = match find.query_row(key, |row| row.get(0)).optional()? {
            Some(row) => row,
            None => self
                .connection
                .prepare_cached("INSERT INTO cgroup (boot, path, kernel_id) VALUES (?1, ?2, ?3)")?
                .insert(key)?,
        };
        if self.cgroups.len() >= MOST {
            self.cgroups.clear();
        }
        self.cgroups.insert(cgroup.clone(), row);
        Ok(row)
    }
}

fn command_json(command: Option<&CommandLine>) -> serde_json::Value {
    command.map_or(serde_json::Value::Null, |c| json!(c.args))
}

fn lineage_text(lineage: &[Ancestor]) -> String {
    let steps: Vec<_> = lineage
        .iter()
        .map(|a| {
            json!({
                "pid": a.pid,
                "start_ticks": a.start_ticks,
                "comm": a.comm,
                "command": command_json(a.command.as_ref()),
                "command_truncated": a.command.as_ref().is_some_and(|c| c.truncated),
            })
        })
        .collect();
    serde_json::Value::Array(steps).to_string()
}

fn loss_text(lost: &LossCounts) -> String {
    json!({
        "process": lost.process,
        "bind": lost.bind,
        "refused": lost.refused,
        "listen": lost.listen,
        "close": lost.close,
        "exit": lost.exit,
        "undecodable": lost.undecodable,
    })
    .to_string()
}

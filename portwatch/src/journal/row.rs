//! Rows out.

use std::path::{Path, PathBuf};

use rusqlite::Row;
use serde::Deserialize;

use super::{JournalError, code, time};
use crate::model::{
    Ancestor, AskedPort, Cgroup, CommandLine, Compose, Container, Engine, Event, Evidence, ExitStatus,
    LossCounts, Netns, Port, Process, ProcessId, Project, ProjectKind, SignalSent, SocketKey, SocketOptions,
    Unit, Worktree,
};

/// Columns of an event, in the order in which [`event`] reads them.
pub(super) const EVENT_COLUMNS: &str = "event.id, event.at, event.type, event.evidence, event.protocol,
    event.address, event.port, event.netns, event.cookie, event.inode, event.state, event.asked_port,
    event.reuse_addr, event.reuse_port, event.v6_only, event.process, event.other, event.errno, event.exit_code,
    event.exit_signal, event.core_dumped, event.gap, event.lost_counts, event.since, event.count, event.message,
    event.other_evidence, event.claim, event.sent_signal, event.sent_by, event.subject,
    event.sent_again";

/// Columns of a process, in the order in which [`process`] reads them.
pub(super) const PROCESS_COLUMNS: &str = "p.pid, p.start_ticks, p.started, p.comm, p.command,
    p.command_truncated, p.exe, p.cwd, p.uid, p.user, c.kernel_id, c.path, p.lineage, p.project, p.project_root,
    p.project_kind, p.project_evidence, p.worktree, p.worktree_root, p.branch, p.evidence,
    p.unit, p.unit_slice, p.unit_manager, k.engine, k.container_id, k.pod, k.name, k.image, k.compose_project,
    k.compose_service, k.owner";

/// An event whose processes are row ids still.
pub(super) struct EventRow {
    pub(super) id: i64,
    pub(super) event: Event,
    pub(super) process: Option<i64>,
    pub(super) other: Option<i64>,
}

/// What a row's text or number should have been.
type Unknown = (&'static str, String);

#[derive(Deserialize, Default)]
#[serde(default)]
struct LossText {
    process: u64,
    bind: u64,
    refused: u64,
    listen: u64,
    close: u64,
    exit: u64,
    undecodable: u64,
}

#[derive(Deserialize)]
struct AncestorText {
    pid: u32,
    start_ticks: Option<u64>,
    comm: String,
    command: Option<Vec<String>>,
    #[serde(default)]
    command_truncated: bool,
}

fn required<T>(value: Option<T>, column: &'static str, code: &impl ToString) -> Result<T, Unknown> {
    value.ok_or_else(|| (column, code.to_string()))
}

pub(super) fn event(row: &Row<'_>, path: &Path) -> Result<EventRow, JournalError> {
    let failed = |error| JournalError::sqlite("read", path, error);
    let id: i64 = row.get(0).map_err(failed)?;
    event_columns(row, id).map_err(failed)?.map_err(|(column, value)| JournalError::Row {
        path: path.to_owned(),
        table: "event",
        id,
        column,
        value,
    })
}

fn event_columns(row: &Row<'_>, id: i64) -> rusqlite::Result<Result<EventRow, Unknown>> {
    let kind: i64 = row.get(2)?;
    let evidence: i64 = row.get(3)?;
    let address: Option<String> = row.get(5)?;
    let port: Option<u16> = row.get(6)?;
    let netns = row.get::<_, Option<u32>>(7)?.map(Netns);
    let cookie: Option<i64> = row.get(8)?;
    let inode: Option<i64> = row.get(9)?;
    let asked: Option<u16> = row.get(11)?;
    let exit_code: Option<u8> = row.get(18)?;
    let exit_signal: Option<u8> = row.get(19)?;
    let core_dumped: Option<bool> = row.get(20)?;
    let lost: Option<String> = row.get(22)?;
    let (protocol, state, gap) =
        (row.get::<_, Option<i64>>(4)?, row.get(10)?, row.get::<_, Option<i64>>(21)?);
    let state: Option<i64> = state;
    let options = SocketOptions { reuse_addr: row.get(12)?, reuse_port: row.get(13)?, v6_only: row.get(14)? };
    let (at, errno, since) = (row.get(1)?, row.get(17)?, row.get::<_, Option<i64>>(23)?);
    let (count, message): (i64, _) = (row.get(24)?, row.get(25)?);
    let (process, other) = (row.get(15)?, row.get(16)?);
    let other_evidence: Option<i64> = row.get(26)?;
    let (claim, subject) = (row.get(27)?, row.get(30)?);
    let (sent_signal, sent_by): (Option<u8>, Option<i64>) = (row.get(28)?, row.get(29)?);
    let sent_again: Option<bool> = row.get(31)?;
    let decode = || {
        let kind = required(code::to_kind(kind), "type", &kind)?;
        let mut event = Event::new(
            time::from_ns(at),
            kind,
            required(code::to_evidence(evidence), "evidence", &evidence)?,
        );
        event.protocol = protocol.map(|c| required(code::to_protocol(c), "protocol", &c)).transpose()?;
        event.address = address.map(|text| required(text.parse().ok(), "address", &text)).transpose()?;
        event.port = port.and_then(Port::new);
        event.netns = netns;
        event.socket = match (cookie, inode) {
            (Some(cookie), _) => Some(SocketKey::Cookie(cookie.cast_unsigned())),
            (None, Some(inode)) => Some(SocketKey::Inode { netns, inode: inode.cast_unsigned() }),
            (None, None) => None,
        };
        event.phase = state.map(|c| required(code::to_phase(c), "state", &c)).transpose()?;
        event.asked = match asked {
            None => AskedPort::Unknown,
            Some(port) => Port::new(port).map_or(AskedPort::KernelChosen, AskedPort::Explicit),
        };
        event.options = options;
        event.errno = errno;
        let sent = match (sent_signal, sent_by) {
            (Some(signal), Some(by)) => {
                let by = required(code::to_sent_by(by), "sent_by", &by)?;
                Some(SignalSent { signal, by, again: sent_again.unwrap_or(false) })
            }
            _ => None,
        };
        event.exit = core_dumped.map(|core_dumped| ExitStatus {
            code: exit_code,
            signal: exit_signal,
            core_dumped,
            sent,
        });
        event.other_evidence =
            other_evidence.map(|c| required(code::to_evidence(c), "other_evidence", &c)).transpose()?;
        event.gap = gap.map(|c| required(code::to_gap(c), "gap", &c)).transpose()?;
        event.lost = lost
            .map(|text| {
                let l: LossText = required(serde_json::from_str(&text).ok(), "lost_counts", &text)?;
                Ok(LossCounts {
                    process: l.process,
                    bind: l.bind,
                    refused: l.refused,
                    listen: l.listen,
                    close: l.close,
                    exit: l.exit,
                    undecodable: l.undecodable,
                })
            })
            .transpose()?;
        event.since = since.map(time::from_ns);
        event.count = u64::try_from(count).unwrap_or(0);
        event.claim = claim;
        event.subject = subject;
        event.message = message;
        Ok(EventRow { id, event, process, other })
    };
    Ok(decode())
}

/// A process's identity, and its facts where somebody described it.
pub(super) fn process(row: &Row<'_>) -> rusqlite::Result<(ProcessId, Option<Process>)> {
    let id = ProcessId { pid: row.get(0)?, start_ticks: row.get::<_, i64>(1)?.cast_unsigned() };
    let Some(comm) = row.get::<_, Option<String>>(3)? else { return Ok((id, None)) };
    let command: Option<String> = row.get(4)?;
    let truncated = row.get(5)?;
    let path = |column| row.get::<_, Option<String>>(column).map(|text| text.map(PathBuf::from));
    let cgroup_id = row.get::<_, Option<i64>>(10)?.map(i64::cast_unsigned);
    let cgroup = row.get::<_, Option<String>>(11)?.map(|path| Cgroup { id: cgroup_id, path });
    let lineage: String = row.get(12)?;
    let evidence: i64 = row.get(20)?;
    Ok((
        id,
        Some(Process {
            id,
            started: row.get::<_, Option<i64>>(2)?.map(time::from_ns),
            comm,
            command: command
                .and_then(|text| serde_json::from_str(&text).ok())
                .map(|args| CommandLine { args, truncated }),
            exe: path(6)?,
            cwd: path(7)?,
            uid: row.get(8)?,
            user: row.get(9)?,
            cgroup,
            unit: unit(row)?,
            container: container(row)?,
            unproven: None,
            lineage: self::lineage(&lineage),
            project: project(row)?,
            evidence: code::to_evidence(evidence).unwrap_or(Evidence::Unknown),
        }),
    ))
}

fn lineage(text: &str) -> Vec<Ancestor> {
    let steps: Vec<AncestorText> = serde_json::from_str(text).unwrap_or_default();
    steps
        .into_iter()
        .map(|a| Ancestor {
            pid: a.pid,
            start_ticks: a.start_ticks,
            comm: a.comm,
            command: a.command.map(|args| CommandLine { args, truncated: a.command_truncated }),
        })
        .collect()
}

fn unit(row: &Row<'_>) -> rusqlite::Result<Option<Unit>> {
    let Some(name) = row.get(21)? else { return Ok(None) };
    Ok(Some(Unit { name, slice: row.get(22)?, manager: row.get(23)? }))
}

fn container(row: &Row<'_>) -> rusqlite::Result<Option<Container>> {
    let Some(id) = row.get(25)? else { return Ok(None) };
    let engine = row.get::<_, Option<String>>(24)?.and_then(|word| Engine::from_word(&word));
    let (project, service): (Option<String>, Option<String>) = (row.get(29)?, row.get(30)?);
    let compose = project.zip(service).map(|(project, service)| Compose { project, service });
    let (pod, name, image, owner) = (row.get(26)?, row.get(27)?, row.get(28)?, row.get(31)?);
    Ok(Some(Container { engine, id, pod, name, image, compose, owner }))
}

fn project(row: &Row<'_>) -> rusqlite::Result<Option<Project>> {
    let name: Option<String> = row.get(13)?;
    let root: Option<String> = row.get(14)?;
    let kind = row.get::<_, Option<String>>(15)?.and_then(|word| ProjectKind::from_word(&word));
    let evidence = row.get::<_, Option<i64>>(16)?.and_then(code::to_evidence).unwrap_or(Evidence::Unknown);
    let worktree: Option<String> = row.get(17)?;
    let worktree_root: Option<String> = row.get(18)?;
    let branch = row.get(19)?;
    let worktree =
        worktree.zip(worktree_root).map(|(name, root)| Worktree { name, root: PathBuf::from(root), branch });
    Ok(match (name, root, kind) {
        (Some(name), Some(root), Some(kind)) => {
            Some(Project { root: PathBuf::from(root), name, kind, worktree, evidence })
        }
        _ => None,
    })
}

//! Deciding who would be ended. Looks, and changes nothing.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::{
    Member, Plan, Refusal, Role, UnitStop,
    dependents::around,
    judge::{Asker, Judgement, judge, without_holder},
    units::{self, Told},
};
use crate::{
    attribute::{Attributor, Redaction, Roots as AttributeRoots},
    model::{Process, ProcessId, Protocol, SnapshotSocket},
    resolve::{Place, ResolveError},
    source::{
        procfs::{ProcFs, Stat},
        scan::{HolderSearch, Roots, Scanner},
    },
};

/// What freeing each place takes.
pub fn plan(places: &[Place], redaction: &Redaction, force: bool) -> Result<Vec<Plan>, ResolveError> {
    let mut scanner = Scanner::new(&Roots::default())?;
    let mut attributor = Attributor::with_redaction(AttributeRoots::default(), redaction.clone());
    let asker = asker(&mut attributor, force);
    let ports: Vec<_> = places.iter().map(|place| place.port).collect();
    let snapshot = scanner.snapshot_ports(&ports, HolderSearch::All)?;
    let mut known: BTreeMap<ProcessId, Arc<Process>> = BTreeMap::new();
    for seen in &snapshot.processes {
        known.insert(seen.id, attributor.learn(seen));
    }
    places
        .iter()
        .map(|place| {
            let sockets: Vec<_> = snapshot.sockets.iter().filter(|s| place.meets(&s.socket)).collect();
            let udp = |s: &&SnapshotSocket| s.socket.endpoint.protocol == Protocol::Udp;
            let udp_too = !place.protocol_said
                && snapshot.sockets.iter().filter(udp).any(|s| s.socket.endpoint.port == place.port);
            let mut plan = of_place(place, &sockets, &known, &asker);
            plan.udp_too = udp_too;
            if place.protocol == Protocol::Tcp {
                let around = around(&mut scanner, &mut attributor, place, plan.held)?;
                plan.dependents = around.dependents;
                plan.time_wait = around.time_wait;
                plan.borrowers = around.borrowers;
            }
            Ok(plan)
        })
        .collect()
}

fn of_place(
    place: &Place,
    sockets: &[&SnapshotSocket],
    known: &BTreeMap<ProcessId, Arc<Process>>,
    asker: &Asker,
) -> Plan {
    let port = place.to_string();
    let mut holders: BTreeMap<ProcessId, Vec<u64>> = BTreeMap::new();
    let mut refusals: Vec<Refusal> = Vec::new();
    for socket in sockets {
        if socket.holders.is_empty() {
            refusals.push(without_holder(socket, &port));
        }
        for holder in &socket.holders {
            holders.entry(holder.process).or_default().extend(socket.socket.inode);
        }
    }
    let (mut members, mut units): (Vec<Member>, Vec<UnitStop>) = (Vec::new(), Vec::new());
    for (id, inodes) in holders {
        // One that has ended since it was found holds nothing.
        let Some(process) = known.get(&id) else { continue };
        let note = match judge(process, asker, &port, &may_signal) {
            Judgement::Refused(refusal) if refusal.forceable && asker.force => None,
            Judgement::Refused(refusal) => {
                refusals.push(refusal);
                continue;
            }
            Judgement::May(note) => note,
            Judgement::AskUnit => match process.unit.as_ref().map(|unit| (unit, units::ask(unit, process))) {
                Some((_, Told::Stop(stop))) => {
                    if !units.contains(&stop) {
                        units.push(stop);
                    }
                    continue;
                }
                Some((unit, Told::Within)) => Some(format!("it runs within {}, which stays", unit.name)),
                Some((_, Told::NoManager)) | None => None,
            },
        };
        members.push(Member { process: Arc::clone(process), inodes, role: Role::Alone, note });
    }
    give_roles(&mut members);
    Plan {
        place: place.clone(),
        members,
        units,
        refusals,
        dependents: Vec::new(),
        time_wait: Vec::new(),
        borrowers: Vec::new(),
        udp_too: false,
        held: !sockets.is_empty(),
    }
}

/// Masters first, then those that are alone, then workers; by pid within.
fn give_roles(members: &mut [Member]) {
    let pids: Vec<u32> = members.iter().map(|m| m.process.id.pid).collect();
    let above = |process: &Process| -> Vec<u32> {
        process.lineage.iter().map(|a| a.pid).filter(|pid| pids.contains(pid)).collect()
    };
    let masters: Vec<u32> = members.iter().flat_map(|m| above(&m.process)).collect();
    for member in members.iter_mut() {
        member.role = if !above(&member.process).is_empty() {
            Role::Worker
        } else if masters.contains(&member.process.id.pid) {
            Role::Master
        } else {
            Role::Alone
        };
    }
    members.sort_by_key(|m| (m.role, m.process.id.pid));
}

/// Whether the kernel would let us: signal 0 asks and does nothing.
fn may_signal(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    !matches!(nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None), Err(nix::errno::Errno::EPERM))
}

fn asker(attributor: &mut Attributor, force: bool) -> Asker {
    let mut own = Vec::new();
    let mut pid = std::process::id();
    while pid > 1 && !own.contains(&pid) {
        own.push(pid);
        let parent = std::fs::read(format!("/proc/{pid}/stat")).ok();
        pid = parent.and_then(|bytes| Stat::parse(&bytes).map(|stat| stat.parent_pid)).unwrap_or(0);
    }
    let this =
        ProcFs::open(Path::new("/proc")).ok().and_then(|mut procfs| procfs.identify(std::process::id()));
    let container =
        this.and_then(|id| attributor.of(id)).and_then(|p| Some(p.container.as_ref()?.id.clone()));
    Asker { own, container, force }
}

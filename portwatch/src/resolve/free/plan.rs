//! Deciding who would be ended. Looks, and changes nothing.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    ContainerStop, Image, Member, Plan, Refusal, Role, Scope, UnitStop, activation,
    containers::{Around, Told as Engines},
    dependents::around,
    judge::{self, Asker, Judgement, judge, without_holder},
    supervisor,
    units::{self, Told},
};
use crate::{
    attribute::{Attributor, Roots as AttributeRoots},
    model::{Ancestor, Netns, Owner, Process, ProcessId, Protocol, SnapshotSocket},
    platform::ending::may_end,
    resolve::{Place, ResolveError, look},
    source::{
        process::{Processes, own_ancestors},
        scan::HolderSearch,
    },
};

/// What freeing each place takes.
pub fn plan(places: &[Place], scope: &Scope) -> Result<Vec<Plan>, ResolveError> {
    let mut scanner = look()?;
    let mut attributor = Attributor::with_redaction(AttributeRoots::default(), scope.redaction.clone());
    let mut deciding = Deciding {
        asker: asker(&mut attributor, scope.force),
        scope,
        engines: None,
        netns: scanner.netns(),
        processes: Processes::open().ok(),
    };
    let ports: Vec<_> = places.iter().map(|place| place.port).collect();
    let snapshot = scanner.snapshot(&ports, HolderSearch::All)?;
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
            let mut plan = deciding.of_place(place, &sockets, &known);
            plan.udp_too = udp_too;
            if place.protocol == Protocol::Tcp {
                let around = around(scanner.as_mut(), &mut attributor, place, plan.held)?;
                plan.dependents = around.dependents;
                plan.time_wait = around.time_wait;
                plan.borrowers = around.borrowers;
            }
            Ok(plan)
        })
        .collect()
}

/// Holders are judged with this.
struct Deciding<'a> {
    asker: Asker,
    scope: &'a Scope,
    /// What the engines say, once somebody needs it.
    engines: Option<Engines>,
    netns: Option<Netns>,
    processes: Option<Processes>,
}

/// What is to be done at a place.
#[derive(Default)]
struct Decided {
    members: Vec<Member>,
    units: Vec<UnitStop>,
    containers: Vec<ContainerStop>,
    refusals: Vec<Refusal>,
}

impl Deciding<'_> {
    fn of_place(
        &mut self,
        place: &Place,
        sockets: &[&SnapshotSocket],
        known: &BTreeMap<ProcessId, Arc<Process>>,
    ) -> Plan {
        let port = place.to_string();
        let mut decided = Decided::default();
        let mut holders: BTreeMap<ProcessId, Vec<&SnapshotSocket>> = BTreeMap::new();
        for socket in sockets {
            for holder in &socket.holders {
                holders.entry(holder.process).or_default().push(socket);
            }
            if socket.holders.is_empty() {
                // The proxies of an engine are root's; whoever may ask the engine need not see them.
                let behind = if socket.owner == Owner::NotPermitted {
                    self.engines().behind(&socket.socket, socket.socket.uid)
                } else {
                    Vec::new()
                };
                if !decided.stop(behind) {
                    decided.refusals.push(without_holder(socket, &port));
                }
            }
        }
        for (id, held) in holders {
            // One that has ended since it was found holds nothing.
            let Some(process) = known.get(&id) else { continue };
            let giver = self.giver(process, &held);
            self.of_holder(process, (&held, giver), &port, &mut decided);
        }
        if sockets.is_empty() {
            let netns = self.netns;
            let published = self.engines().at(place, netns);
            decided.stop(published);
        }
        let Decided { mut members, units, containers, refusals } = decided;
        give_roles(&mut members);
        let held = !sockets.is_empty() || !containers.is_empty();
        Plan { members, units, containers, refusals, held, ..Plan::of(place.clone()) }
    }

    fn of_holder(
        &mut self,
        process: &Arc<Process>,
        (held, giver): (&[&SnapshotSocket], Option<u32>),
        port: &str,
        decided: &mut Decided,
    ) {
        let asker = Asker { giver, ..self.asker.clone() };
        let mut judgement = judge(process, &asker, port, &may_end);
        if let Judgement::MayForward(refusal) = judgement {
            let behind: Vec<_> =
                held.iter().flat_map(|s| self.engines().behind(&s.socket, process.uid)).collect();
            if decided.stop(behind) {
                return;
            }
            let ordinary = asker.force || self.engines().disown(process);
            judgement = match self.engines().problem.clone() {
                _ if ordinary => judge(process, &Asker { engine_told: true, ..asker }, port, &may_end),
                Some(problem) => Judgement::Refused(unasked(refusal, &problem)),
                None => {
                    let why = format!(
                        "{}; no engine that answers knows which (--engines names its socket)",
                        refusal.why
                    );
                    Judgement::Refused(Refusal { why, ..refusal })
                }
            };
        }
        let note = match judgement {
            Judgement::AskEngine(mut refusal) => {
                match self.engines().around(process) {
                    Around::Container(stop) => {
                        decided.stop(vec![*stop]);
                        return;
                    }
                    Around::Named => {
                        "its control group has the name of a container, which its engine runs elsewhere: \
                                       such names can be forged, and no container is stopped for it"
                            .clone_into(&mut refusal.why);
                        refusal.instead = format!("find out what it is: portwatch who {port}");
                    }
                    Around::Unknown => {}
                }
                if !(refusal.forceable && self.asker.force) {
                    decided.refusals.push(match self.engines().problem.clone() {
                        Some(problem) => unasked(refusal, &problem),
                        None => refusal,
                    });
                    return;
                }
                None
            }
            Judgement::Refused(refusal) | Judgement::MayForward(refusal) => {
                decided.refusals.push(refusal);
                return;
            }
            Judgement::May(note) => note,
            Judgement::AskSockets(refusal) => {
                match activation::ask(process, held) {
                    Told::Stop(stop) => decided.stop_unit(stop),
                    Told::Silent(problem) => {
                        let why = format!("{}; it did not say for which unit: {problem}", refusal.why);
                        decided.refusals.push(Refusal { why, ..refusal });
                    }
                    Told::Within | Told::NoManager => decided.refusals.push(refusal),
                }
                return;
            }
            Judgement::AskUnit => match process.unit.as_ref().map(|unit| (unit, units::ask(unit, process))) {
                Some((_, Told::Stop(stop))) => {
                    decided.stop_unit(stop);
                    return;
                }
                Some((unit, Told::Silent(why))) if !self.asker.force => {
                    decided.refusals.push(Refusal {
                        process: Some(Arc::clone(process)),
                        why: format!(
                            "it is of {}, and systemd did not say whether it would start it again: {why}",
                            unit.name
                        ),
                        instead: format!("systemctl stop {}", supervisor::word(&unit.name)),
                        forceable: true,
                    });
                    return;
                }
                Some((unit, Told::Within)) => Some(format!("it runs within {}, which stays", unit.name)),
                Some((_, Told::NoManager | Told::Silent(_))) | None => None,
            },
        };
        let inodes = held.iter().filter_map(|s| s.socket.inode).collect();
        let image = Image::of(process);
        let sockets = held.iter().map(|s| s.socket.endpoint).collect();
        decided.members.push(Member {
            process: Arc::clone(process),
            inodes,
            sockets,
            image,
            role: Role::Alone,
            note,
        });
    }

    /// The user who made the sockets, where that is not the holder's own, nor root, and nobody above the holder is theirs: a
    /// descriptor can be sent to anybody (SCM_RIGHTS), and whoever frees the port would end them.
    fn giver(&mut self, process: &Process, held: &[&SnapshotSocket]) -> Option<u32> {
        let maker =
            held.iter().filter_map(|s| s.socket.uid).find(|&uid| uid != 0 && Some(uid) != process.uid)?;
        let theirs = |above: &Ancestor| self.uid_of(above) == Some(maker);
        (!process.lineage.iter().any(theirs)).then_some(maker)
    }

    /// Whose an ancestor is, if it still is that process.
    fn uid_of(&mut self, above: &Ancestor) -> Option<u32> {
        let processes = self.processes.as_mut()?;
        let id = processes.identify(above.pid).ok()?;
        let same = above.start_ticks == Some(id.start_ticks);
        processes.process(id).filter(|_| same)?.uid
    }

    fn engines(&mut self) -> &Engines {
        self.engines.get_or_insert_with(|| Engines::ask(&self.scope.engines))
    }
}

impl Decided {
    /// This unit is to be stopped.
    fn stop_unit(&mut self, stop: UnitStop) {
        if !self.units.iter_mut().any(|known| known.joined(&stop)) {
            self.units.push(stop);
        }
    }

    /// These containers are to be stopped; `false` when there are none.
    fn stop(&mut self, containers: Vec<ContainerStop>) -> bool {
        let any = !containers.is_empty();
        for container in containers {
            if !self.containers.contains(&container) {
                self.containers.push(container);
            }
        }
        any
    }
}

/// The engine would know, and did not answer.
fn unasked(refusal: Refusal, problem: &str) -> Refusal {
    Refusal { why: format!("{}; the engine could not be asked ({problem})", refusal.why), ..refusal }
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

/// This process and its ancestors. Who is the parent of everybody is nobody's in particular: that one is told of elsewhere.
pub(super) fn own_line() -> Vec<u32> {
    own_ancestors().into_iter().filter(|&pid| pid > 1).collect()
}

fn asker(attributor: &mut Attributor, force: bool) -> Asker {
    let this = Processes::open().ok().and_then(|mut processes| processes.identify(std::process::id()).ok());
    let container =
        this.and_then(|id| attributor.of(id)).and_then(|p| judge::placed_in(&p).map(|c| c.id.clone()));
    Asker { own: own_line(), container, force, engine_told: false, giver: None }
}

//! The ladders, each climbed by itself: for a fact the best hook whose programs all attach.

use std::{collections::HashMap, time::Instant};

use aya::{Ebpf, maps::Array};
use portwatch_common::serves;

use super::{
    attach::{AttachError, attach, attach_loaded, forbids, summary, try_out, unload},
    machine::Machine,
};
use crate::{
    model::{Coverage, Degradation, Fact},
    source::ebpf::hooks::{
        EXIT_LISTEN, Family, HookChoice, LISTEN_END, LISTEN_EXIT, Ladder, Program, RETURN_LISTEN, Rung,
        SHUTDOWN_EXIT,
    },
};

/// What became of a program that was tried.
enum Outcome {
    /// It is attached.
    Attached,
    /// It can be, and waits for a need.
    Waits,
    /// Why it is not, and what would help.
    Fails(String, &'static str),
}

/// Facts without which kernel programs are no source.
const ESSENTIAL: [Fact; 3] = [Fact::Bind, Fact::Listen, Fact::Close];

/// What became of the programs so far.
pub(super) struct Climb<'a> {
    ebpf: &'a mut Ebpf,
    machine: &'a Machine,
    outcomes: HashMap<&'static str, Outcome>,
    /// Why the kernel lets no program on its functions.
    refused: Option<String>,
    /// The rungs that serve.
    serving: HashMap<Fact, &'static Rung>,
    /// Facts that nothing serves, with the cause and what would help.
    unserved: Vec<(Fact, String, &'static str)>,
    pub(super) degradations: Vec<Degradation>,
}

impl<'a> Climb<'a> {
    pub(super) fn new(ebpf: &'a mut Ebpf, machine: &'a Machine, degradations: Vec<Degradation>) -> Self {
        Self {
            ebpf,
            machine,
            outcomes: HashMap::new(),
            refused: None,
            serving: HashMap::new(),
            unserved: Vec::new(),
            degradations,
        }
    }

    /// Whether a program was tried and is attached.
    pub(super) fn is_attached(&self, program: Program) -> bool {
        matches!(self.outcomes.get(program.name), Some(Outcome::Attached))
    }

    /// The first rung whose programs all attach.
    pub(super) fn up(&mut self, ladder: &'static Ladder, choice: HookChoice) -> Coverage {
        let fact = ladder.fact;
        let (mut why, mut nearest) = (None, None);
        for rung in ladder.rungs.iter().filter(|r| choice.allows(r.family)) {
            match self.attach_all(rung) {
                Ok(()) => {
                    self.serving.insert(fact, rung);
                    return self.served(fact, rung.hook, rung.blind, why);
                }
                Err(cause) => {
                    tracing::debug!(
                        fact = fact.as_str(),
                        hook = rung.hook,
                        cause = cause.0,
                        "hook not available"
                    );
                    let cause = (format!("{}: {}", rung.hook, cause.0), cause.1);
                    why.get_or_insert_with(|| cause.clone());
                    // The stable family asks least of a kernel: what it lacks is the nearest to a remedy.
                    if nearest.is_none() || rung.family == Some(Family::Stable) {
                        nearest = Some(cause);
                    }
                }
            }
        }
        if let Some((hook, blind)) = ladder.otherwise {
            return self.served(fact, hook, Some(blind), why);
        }
        if let Some((cause, remedy)) = nearest {
            self.degradations.push(Degradation {
                name: "hook-unavailable",
                what: format!("{} is not observed ({cause})", fact.as_str()),
                remedy: remedy.to_owned(),
            });
            self.unserved.push((fact, cause, remedy));
        }
        Coverage { fact, hook: None }
    }

    /// Why these programs are no source: a live table that is not told of a listener would call its port free.
    pub(super) fn blind(&self, choice: HookChoice) -> Option<Degradation> {
        let (fact, cause, remedy) = self.unserved.iter().find(|(fact, ..)| ESSENTIAL.contains(fact))?;
        let forced = matches!(choice, HookChoice::Only(_));
        Some(Degradation {
            name: "hooks-unusable",
            what: format!(
                "kernel programs{} do not serve: {} is not observed ({cause})",
                if forced { format!(" of --hooks {}", choice.as_str()) } else { String::new() },
                fact.as_str()
            ),
            remedy: if forced { "start with --hooks auto".to_owned() } else { (*remedy).to_owned() },
        })
    }

    /// A hook serves. What it does not see is said with it, and is a degradation where a better one was tried.
    fn served(
        &mut self,
        fact: Fact,
        hook: &str,
        blind: Option<&str>,
        why: Option<(String, &'static str)>,
    ) -> Coverage {
        let Some(blind) = blind else { return Coverage { fact, hook: Some(hook.to_owned()) } };
        if let Some((cause, remedy)) = why {
            self.degradations.push(Degradation {
                name: "weaker-hook",
                what: format!("{}: {hook} does not see {blind} ({cause})", fact.as_str()),
                remedy: remedy.to_owned(),
            });
        }
        Coverage { fact, hook: Some(format!("{hook}; not seen: {blind}")) }
    }

    fn attach_all(&mut self, rung: &Rung) -> Result<(), (String, &'static str)> {
        let now = rung.programs.iter().map(|program| (program, Outcome::Attached));
        let at_need = rung.at_need.iter().map(|program| (program, Outcome::Waits));
        for (program, wanted) in now.chain(at_need) {
            let tried = match (self.outcomes.get(program.name), &wanted) {
                (Some(Outcome::Fails(cause, remedy)), _) => return Err((cause.clone(), remedy)),
                (Some(Outcome::Attached), _) | (Some(Outcome::Waits), Outcome::Waits) => continue,
                (Some(Outcome::Waits), _) => attach_loaded(self.ebpf, &self.machine.cgroup, *program),
                (None, Outcome::Waits) => self.try_out(*program),
                (None, _) => {
                    let begun = Instant::now();
                    let outcome = self.attach(*program);
                    let took = begun.elapsed();
                    tracing::debug!(program = program.name, attached = outcome.is_ok(), ?took, "tried");
                    outcome
                }
            };
            let failure = tried.err().map(|error| (format!("{}: {error}", program.name), error.remedy()));
            let outcome = match failure.clone() {
                Some((cause, remedy)) => Outcome::Fails(cause, remedy),
                None => wanted,
            };
            self.outcomes.insert(program.name, outcome);
            if let Some(failure) = failure {
                return Err(failure);
            }
        }
        Ok(())
    }

    fn try_out(&mut self, program: Program) -> Result<(), AttachError> {
        match self.machine.excludes(program) {
            Some(reason) => Err(reason),
            None => try_out(self.ebpf, self.machine, program),
        }
    }

    /// A kernel that does not let one program on its functions lets none: the others are not tried.
    fn attach(&mut self, program: Program) -> Result<(), AttachError> {
        let family = program.attach.family();
        if let Some(reason) = self.machine.excludes(program) {
            return Err(reason);
        }
        if family == Some(Family::Fentry)
            && let Some(reason) = &self.refused
        {
            return Err(AttachError::Family(reason.clone()));
        }
        match attach(self.ebpf, self.machine, program) {
            Err(AttachError::Program(error)) if family == Some(Family::Fentry) && forbids(&error) => {
                let reason = summary(&error);
                self.refused = Some(reason.clone());
                Err(AttachError::Family(reason))
            }
            outcome => outcome,
        }
    }

    /// Takes programs out of the kernel that were attached for a rung which does not serve.
    pub(super) fn let_go(&mut self) {
        let there = self.outcomes.iter().filter(|(_, outcome)| !matches!(outcome, Outcome::Fails(..)));
        let used = |name: &str| {
            self.serving.values().any(|rung| rung.programs.iter().chain(rung.at_need).any(|p| p.name == name))
        };
        let unused: Vec<&str> = there.map(|(name, _)| *name).filter(|name| !used(name)).collect();
        for name in unused {
            let Some(handle) = self.ebpf.program_mut(name) else { continue };
            if let Err(error) = unload(handle) {
                tracing::warn!(program = name, %error, "a program that is not used stays attached");
            }
        }
    }

    /// Programs that are attached once there is a need.
    pub(super) fn waiting(&self) -> Vec<Program> {
        let mut waiting: Vec<Program> =
            self.serving.values().flat_map(|rung| rung.at_need).copied().collect();
        waiting.retain(|program| matches!(self.outcomes.get(program.name), Some(Outcome::Waits)));
        waiting
    }

    /// Tells the programs that could tell of several facts which of them they serve.
    pub(super) fn share_out(&mut self) -> Result<(), String> {
        let map = self.ebpf.map_mut("SERVES").ok_or("the object has no map SERVES")?;
        let mut map = Array::<_, u32>::try_from(map).map_err(|error| error.to_string())?;
        for (word, fact, program) in [
            (serves::LEFT_BY_STATE, Fact::TimeWait, LISTEN_END),
            (serves::CLOSE_BY_STATE, Fact::Close, LISTEN_END),
            (serves::REFUSED_BY_STATE, Fact::Refused, LISTEN_END),
            (serves::LISTEN_BY_EXIT, Fact::Listen, EXIT_LISTEN),
            (serves::REFUSED_BY_EXIT, Fact::Refused, EXIT_LISTEN),
            (serves::LISTEN_BY_RETURN, Fact::Listen, RETURN_LISTEN),
            (serves::REFUSED_BY_RETURN, Fact::Refused, RETURN_LISTEN),
            (serves::LEFT_BY_RELEASE, Fact::TimeWait, SHUTDOWN_EXIT),
            (serves::CLOSE_BY_CALL, Fact::Close, SHUTDOWN_EXIT),
            (serves::LISTEN_BY_CALL, Fact::Listen, LISTEN_EXIT),
            (serves::REFUSED_BY_CALL, Fact::Refused, LISTEN_EXIT),
        ] {
            let serving = self
                .serving
                .get(&fact)
                .is_some_and(|rung| rung.programs.iter().chain(rung.at_need).any(|p| *p == program));
            map.set(word, u32::from(serving), 0).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

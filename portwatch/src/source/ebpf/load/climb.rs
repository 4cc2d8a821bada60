//! The ladders, each climbed by itself: for a fact the best hook whose programs all attach.

use std::{collections::HashMap, time::Instant};

use aya::{Ebpf, maps::Array};
use portwatch_common::serves;

use super::{
    attach::{AttachError, attach, forbids, summary, unload},
    machine::Machine,
};
use crate::{
    model::{Coverage, Degradation, Fact},
    source::ebpf::hooks::{EXIT_LISTEN, Family, HookChoice, LISTEN_END, Ladder, Program, RETURN_LISTEN},
};

/// Facts without which kernel programs are no source.
const ESSENTIAL: [Fact; 3] = [Fact::Bind, Fact::Listen, Fact::Close];

/// What became of the programs so far.
pub(super) struct Climb<'a> {
    ebpf: &'a mut Ebpf,
    machine: &'a Machine,
    /// What became of each program that was tried: `None` when it is attached, else why not.
    outcomes: HashMap<&'static str, Option<(String, &'static str)>>,
    /// Why the kernel lets no program on its functions.
    refused: Option<String>,
    /// Programs of the rungs that serve.
    serving: HashMap<Fact, &'static [Program]>,
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
        self.outcomes.get(program.name).is_some_and(Option::is_none)
    }

    /// The first rung whose programs all attach.
    pub(super) fn up(&mut self, ladder: &Ladder, choice: HookChoice) -> Coverage {
        let fact = ladder.fact;
        let (mut why, mut nearest) = (None, None);
        for rung in ladder.rungs.iter().filter(|r| choice.allows(r.family)) {
            match self.attach_all(rung.programs) {
                Ok(()) => {
                    self.serving.insert(fact, rung.programs);
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

    fn attach_all(&mut self, programs: &[Program]) -> Result<(), (String, &'static str)> {
        for program in programs {
            if !self.outcomes.contains_key(program.name) {
                let begun = Instant::now();
                let outcome = self
                    .attach(*program)
                    .err()
                    .map(|error| (format!("{}: {error}", program.name), error.remedy()));
                let took = begun.elapsed();
                tracing::debug!(program = program.name, attached = outcome.is_none(), ?took, "tried");
                self.outcomes.insert(program.name, outcome);
            }
            if let Some(Some(failure)) = self.outcomes.get(program.name) {
                return Err(failure.clone());
            }
        }
        Ok(())
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
        let attached = self.outcomes.iter().filter(|(_, outcome)| outcome.is_none());
        let used = |name: &str| self.serving.values().copied().flatten().any(|p| p.name == name);
        let unused: Vec<&str> = attached.map(|(name, _)| *name).filter(|name| !used(name)).collect();
        for name in unused {
            let Some(handle) = self.ebpf.program_mut(name) else { continue };
            if let Err(error) = unload(handle) {
                tracing::warn!(program = name, %error, "a program that is not used stays attached");
            }
        }
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
        ] {
            let serving = self.serving.get(&fact).is_some_and(|programs| programs.contains(&program));
            map.set(word, u32::from(serving), 0).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

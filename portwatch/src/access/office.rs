//! The claims office in this process: the same library on the same database, as the user who runs it.

use std::path::Path;

use super::{AccessError, Registry, embedded::Embedded};
use crate::{
    journal::{Claims as Store, boot_id},
    model::{EventFilter, EventKind, Order, Port, Timestamp},
    platform::user,
    query::{
        self, About, ListFilter, Live, Viewer,
        claims::{
            AllowedAnswer, Caller, ClaimAnswer, ClaimsAnswer, Known, OfficeError, ReleaseAnswer, RogueAnswer,
            Wanted, add_history, annotate, needs_touch, rogue_gone, rogue_of, unclaimed, view, views,
        },
    },
    registry::{Name, Pattern, State},
    resolve,
    source::scan::HolderSearch,
    wire::claims::{
        AllowList, AllowRequest, ClaimRequest, Claimed, Claims, HealthReport, ReleaseRequest, Released,
        Rogue, RogueQuery, convert,
    },
};

/// How many ghosts a refusal names.
const GHOSTS: usize = 3;

impl Embedded {
    fn store(&self) -> Result<Store, AccessError> {
        let boot = boot_id(Path::new("/proc")).unwrap_or_else(|| "unknown".to_owned());
        Store::open(self.database(), &boot).map_err(|error| OfficeError::from(error).into())
    }

    /// Claims and allow-list, as far as there is a database.
    pub(super) fn known(&self) -> Result<Known, AccessError> {
        match self.journal()? {
            None => Ok(Known::default()),
            Some(reader) => {
                let failed = |error| AccessError::from(OfficeError::from(error));
                Ok(Known::new(reader.claims().map_err(failed)?, reader.allowed().map_err(failed)?))
            }
        }
    }

    /// What each claim is worth.
    pub(super) fn states(&self) -> Result<Vec<State>, AccessError> {
        let known = self.known()?;
        let (mut live, _) = self.look_at(known.claims(), &[])?;
        Ok(known.claims().iter().map(|claim| view(&mut live, claim.clone()).state).collect())
    }

    /// A look at the ports of these claims.
    fn look_at(
        &self,
        claims: &[crate::registry::Claim],
        more: &[Port],
    ) -> Result<(Live, About), AccessError> {
        let mut ports: Vec<Port> = claims.iter().flat_map(|c| c.ports.iter().map(|p| p.port)).collect();
        ports.extend(more);
        ports.sort_unstable();
        ports.dedup();
        if ports.is_empty() {
            // No port to look at is not "every port".
            ports.extend(Port::new(1));
        }
        self.look(&ports, HolderSearch::All)
    }

    /// A refusal for want of ports, with the ghosts that have them.
    fn explained(&self, error: OfficeError, wanted: &Wanted) -> OfficeError {
        let OfficeError::Refused { what, remedy } = &error else { return error };
        let Ok(known) = self.known() else { return error };
        let Ok((mut live, _)) = self.look_at(known.claims(), &[]) else { return error };
        let views = views(&mut live, known.claims().to_vec(), &[Pattern::all()]);
        match query::claims::ghosts(&views, wanted.asked.range, GHOSTS).filter(|_| wanted.port.is_none()) {
            None => error,
            Some(ghosts) => {
                OfficeError::Refused { what: format!("{what}; {ghosts}"), remedy: remedy.clone() }
            }
        }
    }

    /// What is live is written down, where that is possible: a claim that was live becomes a ghost and not idle.
    fn touch(&self, live: &[query::claims::ClaimView], now: Timestamp) {
        let ids = needs_touch(live, now);
        if !ids.is_empty()
            && let Ok(mut store) = self.store()
        {
            let _ = store.touch(&ids, now);
        }
    }
}

fn caller() -> Caller {
    Caller::of(user::own_uid())
}

impl Registry for Embedded {
    fn claims(&self, patterns: &[String]) -> Result<Claims, AccessError> {
        let patterns = convert::patterns(patterns)?;
        let known = self.known()?;
        let asked: Vec<Port> = patterns
            .iter()
            .filter_map(|p| match p {
                Pattern::Port(port) => Some(*port),
                Pattern::Name { .. } => None,
            })
            .collect();
        let (mut live, about) = self.look_at(known.claims(), &asked)?;
        let time = Timestamp::now();
        let mut claims = views(&mut live, known.claims().to_vec(), &patterns);
        if let Some(reader) = self.journal()? {
            add_history(&mut claims, &reader)?;
        }
        self.touch(&claims, time);
        let unclaimed = unclaimed(&mut live, &known, &patterns);
        Ok(convert::claims(&ClaimsAnswer { time, about, claims, unclaimed }, Viewer::Unrestricted))
    }

    fn claim(&self, request: &ClaimRequest) -> Result<Claimed, AccessError> {
        let wanted = convert::wanted(request)?;
        let mut store = self.store()?;
        let there = match wanted.port {
            None => Vec::new(),
            Some(port) => self.look(&[port], HolderSearch::All)?.0.here(port, None),
        };
        let done = resolve::claim(&mut store, &wanted, &caller(), &there, Timestamp::now())
            .map_err(|error| self.explained(OfficeError::of(error, Some(&wanted.name)), &wanted))?;
        let (mut live, about) = self.look_at(std::slice::from_ref(&done.claim), &[])?;
        let claim = view(&mut live, done.claim);
        let time = Timestamp::now();
        self.touch(std::slice::from_ref(&claim), time);
        Ok(convert::claimed(&ClaimAnswer { time, about, claim, fresh: done.fresh }, Viewer::Unrestricted))
    }

    fn release(&self, request: &ReleaseRequest) -> Result<Released, AccessError> {
        let (patterns, reason) = convert::release(request)?;
        let known = self.known()?;
        let (mut live, about) = self.look_at(known.claims(), &[])?;
        let views = views(&mut live, known.claims().to_vec(), &patterns);
        if views.is_empty() {
            return Err(query::claims::nothing(&patterns).into());
        }
        let (mut kept, mut ids) = (Vec::new(), Vec::new());
        for view in &views {
            if request.only_dead && !matches!(view.state, State::Ghost | State::Idle) {
                kept.push(view.claim.name.clone());
            } else {
                ids.push(view.claim.id);
            }
        }
        let now = Timestamp::now();
        let mut store = self.store()?;
        let (released, foreign) =
            resolve::give_back(&mut store, &caller(), reason.as_deref(), now, &mut |c| ids.contains(&c.id))
                .map_err(|error| OfficeError::of(error, None))?;
        let gone: Vec<i64> = released.iter().map(|r| r.claim.id).collect();
        let answer = ReleaseAnswer {
            time: now,
            about,
            released: views.into_iter().filter(|v| gone.contains(&v.claim.id)).collect(),
            foreign: foreign.into_iter().map(|claim| claim.name).collect(),
            kept,
        };
        Ok(convert::released(&answer, Viewer::Unrestricted))
    }

    fn rogue(&self, query: &RogueQuery) -> Result<Rogue, AccessError> {
        let filter: ListFilter = convert::rogue_filter(query);
        let known = self.known()?;
        let (mut live, about) = self.look(&[], HolderSearch::All)?;
        let (mut sockets, _, _) = live.list(&filter);
        annotate(&known, &mut sockets, live.own());
        let (sockets, unknown) = rogue_of(sockets);
        let gone = match (query.since, self.journal()?) {
            (Some(since), Some(reader)) => {
                let filter = EventFilter {
                    since: Some(since),
                    kinds: vec![EventKind::Listen],
                    order: Order::NewestFirst,
                    ..EventFilter::default()
                };
                let (events, _) = query::log(&reader, &filter)?;
                rogue_gone(&known, events, &sockets, &convert::rogue_filter(query))
            }
            _ => Vec::new(),
        };
        let answer = RogueAnswer { time: Timestamp::now(), about, sockets, gone, unknown };
        Ok(convert::rogue(&answer, Viewer::Unrestricted))
    }

    fn allowed(&self) -> Result<AllowList, AccessError> {
        let rules = match self.journal()? {
            None => Vec::new(),
            Some(reader) => reader.allowed().map_err(|error| AccessError::from(OfficeError::from(error)))?,
        };
        Ok(convert::allowed(&AllowedAnswer { about: Self::log_about(), rules }, false))
    }

    fn allow(&self, request: &AllowRequest) -> Result<AllowList, AccessError> {
        let rule = convert::rule(request)?;
        let caller = caller();
        let mut store = self.store()?;
        let failed = |error| AccessError::from(OfficeError::of(error, None));
        let changed = if request.allow {
            store.allow(&rule, caller.uid, caller.name.as_deref(), Timestamp::now()).map_err(failed)?
        } else {
            store.disallow(&rule, caller.uid).map_err(failed)?
        };
        let rules = store.allowed().map_err(|error| AccessError::from(OfficeError::from(error)))?;
        Ok(convert::allowed(&AllowedAnswer { about: Self::log_about(), rules }, changed))
    }

    fn report_health(&self, report: &HealthReport) -> Result<(), AccessError> {
        let (name, result, sentence): (Name, _, _) = convert::health(report)?;
        self.store()?
            .set_health(&name, caller().uid, (&result, &sentence), Timestamp::now())
            .map(drop)
            .map_err(|error| OfficeError::of(error, Some(&name)).into())
    }
}

//! The claims office in this process: the same library on the same database, as the user who runs it.

use std::path::Path;

use super::{AccessError, Registry, embedded::Embedded};
use crate::{
    journal::{ClaimError, Claims as Store, boot_id},
    model::{Port, Timestamp},
    platform::user,
    query::{
        self, About, ListFilter, Live, Viewer,
        claims::{
            AllowedAnswer, Caller, ClaimAnswer, ClaimsAnswer, Known, OfficeError, ReleaseAnswer, RogueAnswer,
            Rogues, Wanted, add_history, needs_touch, rogue_since, unclaimed, view, views,
        },
    },
    registry::{Name, Pattern, State},
    resolve::{self, Order},
    source::scan::HolderSearch,
    wire::claims::{
        AllowList, AllowRequest, ClaimRequest, Claimed, Claims, CleanupRequest, HealthReport, ReleaseRequest,
        Released, Rogue, RogueQuery, Sweep, convert,
    },
};

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
        .map(|known| {
            let uid = caller().uid;
            known.with_rules(self.rules().iter().map(|text| (uid, text)))
        })
    }

    /// What the caller's configuration file allows.
    fn files(&self) -> std::collections::BTreeMap<u32, Vec<String>> {
        let rules = Some(self.rules().to_vec()).filter(|rules| !rules.is_empty());
        rules.map(|rules| (caller().uid, rules)).into_iter().collect()
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

    /// Why a claim was refused; for want of ports, with the claims that use none.
    fn explained(&self, error: ClaimError, wanted: &Wanted) -> OfficeError {
        let exhausted = matches!(error, ClaimError::Exhausted(_));
        let error = OfficeError::of(error, Some(&wanted.name));
        let Some(known) = exhausted.then(|| self.known().ok()).flatten() else { return error };
        let Ok((mut live, _)) = self.look_at(known.claims(), &[]) else { return error };
        let views = views(&mut live, known.claims().to_vec(), &[Pattern::all()]);
        query::claims::exhausted(error, &views, wanted.asked.range, caller().uid)
    }

    fn give_back(
        &self,
        patterns: &[Pattern],
        only_dead: bool,
        reason: Option<&str>,
    ) -> Result<Released, AccessError> {
        let known = self.known()?;
        let (mut live, about) = self.look_at(known.claims(), &[])?;
        let views = views(&mut live, known.claims().to_vec(), patterns);
        if views.is_empty() {
            return Err(query::claims::nothing(patterns).into());
        }
        let (mut kept, mut ids) = (Vec::new(), Vec::new());
        for view in &views {
            if only_dead && !matches!(view.state, State::Ghost | State::Idle) {
                kept.push(view.claim.name.clone());
            } else {
                ids.push(view.claim.id);
            }
        }
        let now = Timestamp::now();
        let mut store = self.store()?;
        let (released, foreign) =
            resolve::give_back(&mut store, &caller(), reason, now, &mut |c| ids.contains(&c.id))
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

    /// What is live is written down, where that is possible: a claim that was live becomes a ghost and not idle.
    fn touch(&self, live: &[query::claims::ClaimView], now: Timestamp) {
        let ids = needs_touch(live, now);
        // A daemon that hangs may hold the database, and is waited for enough.
        if !ids.is_empty()
            && self.unanswered().is_none()
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
        let asked: Vec<Port> = patterns.iter().filter_map(Pattern::port).collect();
        let (mut live, mut about) = self.look_at(known.claims(), &asked)?;
        let time = Timestamp::now();
        let mut claims = views(&mut live, known.claims().to_vec(), &patterns);
        if let Some(reader) = self.journal()? {
            add_history(&mut claims, &reader, live.own())?;
        }
        self.touch(&claims, time);
        let (unclaimed, left_out) = unclaimed(&mut live, &known, &patterns);
        about.leaves_out(left_out + claims.iter().map(|view| view.left_out).sum::<u64>());
        Ok(convert::claims(&ClaimsAnswer { time, about, claims, unclaimed }, Viewer::Unrestricted))
    }

    fn claim(&self, request: &ClaimRequest) -> Result<Claimed, AccessError> {
        let wanted = convert::wanted(request)?;
        let mut store = self.store()?;
        let there = match wanted.port {
            None => Vec::new(),
            Some(port) => self.look(&[port], HolderSearch::All)?.0.here(port, None),
        };
        let order = Order { wanted: &wanted, caller: &caller(), there: &there, limit: self.limit };
        let done = resolve::claim(&mut store, order, Timestamp::now())
            .map_err(|error| self.explained(error, &wanted))?;
        let (mut live, about) = self.look_at(std::slice::from_ref(&done.claim), &[])?;
        let claim = view(&mut live, done.claim);
        let time = Timestamp::now();
        self.touch(std::slice::from_ref(&claim), time);
        Ok(convert::claimed(&ClaimAnswer { time, about, claim, fresh: done.fresh }, Viewer::Unrestricted))
    }

    fn release(&self, request: &ReleaseRequest) -> Result<Released, AccessError> {
        let (patterns, reason) = convert::release(request)?;
        self.give_back(&patterns, request.only_dead, reason.as_deref())
    }

    fn cleanup(&self, request: &CleanupRequest) -> Result<Released, AccessError> {
        let sweep = convert::sweep(request)?;
        let found = self.claims(&["*".to_owned()])?;
        let stale = sweep.stale(found.claims, found.time, caller().uid);
        if request.dry_run || stale.is_empty() {
            return Ok(sweep.preview(stale, found.time, found.source, request.dry_run));
        }
        self.give_back(&Sweep::patterns(&stale), true, Some(Sweep::REASON))
    }

    fn rogue(&self, query: &RogueQuery) -> Result<Rogue, AccessError> {
        let filter: ListFilter = convert::rogue_filter(query, query.user.as_deref().and_then(user::uid_of));
        let known = self.known()?;
        let (mut live, mut about) = self.look(&[], HolderSearch::All)?;
        let mut rogues = Rogues::new(&known, live.own());
        let listed = live.list(&filter, &mut |socket| rogues.is_rogue(socket));
        about.leaves_out(listed.left_out);
        let (gone, gone_truncated) = match (query.since, self.journal()?) {
            (Some(since), Some(reader)) => rogue_since(&reader, &rogues, &filter, since)?,
            _ => (Vec::new(), false),
        };
        let sockets = listed.sockets;
        let answer = RogueAnswer {
            time: Timestamp::now(),
            about,
            sockets,
            gone,
            gone_truncated,
            unknown: rogues.unknown,
        };
        Ok(convert::rogue(&answer, Viewer::Unrestricted))
    }

    fn allowed(&self) -> Result<AllowList, AccessError> {
        let rules = match self.journal()? {
            None => Vec::new(),
            Some(reader) => reader.allowed().map_err(|error| AccessError::from(OfficeError::from(error)))?,
        };
        Ok(convert::allowed(&AllowedAnswer { about: self.log_about(), rules, files: self.files() }, false))
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
        Ok(convert::allowed(&AllowedAnswer { about: self.log_about(), rules, files: self.files() }, changed))
    }

    fn report_health(&self, report: &HealthReport) -> Result<(), AccessError> {
        let (name, result, sentence): (Name, _, _) = convert::health(report)?;
        self.store()?
            .set_health(&name, caller().uid, (&result, &sentence), Timestamp::now())
            .map(drop)
            .map_err(|error| OfficeError::of(error, Some(&name)).into())
    }
}

//! The daemon's claims office: the database behind one lock, and live knowledge.

use std::sync::{MutexGuard, PoisonError};

use super::{
    beside::Verified,
    desk::Desk,
    handle::{Command, lock},
};
use crate::{
    journal::{ClaimError, Claims},
    model::{Event, Port, Timestamp},
    query::{
        self, ListFilter, QueryError, Record,
        claims::{
            AllowedAnswer, Caller, ClaimAnswer, ClaimsAnswer, Known, Office, OfficeError, ReleaseAnswer,
            RogueAnswer, Rogues, Wanted, add_history, needs_touch, nothing, rogue_since, unclaimed, view,
            views,
        },
    },
    registry::{Name, Pattern, State},
    resolve::{self, Order},
    source::Refresh,
};

impl Desk {
    /// The registry's tables. A statement that failed left them as they were, so a panic elsewhere does not spoil them.
    fn store(&self) -> Result<MutexGuard<'_, Claims>, OfficeError> {
        match &self.claims {
            Some(claims) => Ok(claims.lock().unwrap_or_else(PoisonError::into_inner)),
            None => Err(OfficeError::Query(QueryError::NotSeen {
                what: "this daemon keeps no claims".to_owned(),
                remedy: "start it with a state directory (--state)".to_owned(),
            })),
        }
    }

    /// Claims and allow-list; nothing where this daemon keeps none.
    pub(super) fn known(&self) -> Result<Known, QueryError> {
        if self.claims.is_none() {
            return Ok(Known::default());
        }
        let known = self.read(|reader| Ok(Known::new(reader.claims()?, reader.allowed()?)))?;
        let rules = self.pipeline.rules.lock();
        Ok(known.with_rules(rules.iter().flat_map(|(&uid, texts)| texts.iter().map(move |text| (uid, text)))))
    }

    /// Tells watchers what was written with a claim.
    fn announce(&self, events: impl IntoIterator<Item = (i64, Event)>) {
        let record = |(id, event)| Record { id: Some(id), event, process: None, other: None };
        let records: Vec<Record> = events.into_iter().map(record).collect();
        if !records.is_empty() {
            self.pipeline.send(Command::Announce(records));
        }
    }

    fn touch<'a>(&self, views: impl IntoIterator<Item = &'a query::claims::ClaimView>, now: Timestamp) {
        let ids = needs_touch(views, now);
        if !ids.is_empty()
            && let Ok(mut store) = self.store()
            && let Err(error) = store.touch(&ids, now)
        {
            tracing::warn!(%error, "a live claim could not be written down as such");
        }
    }
}

impl Office for Desk {
    fn claims(&self, patterns: &[Pattern]) -> Result<ClaimsAnswer, OfficeError> {
        let known = self.known()?;
        let asked: Vec<Port> = patterns.iter().filter_map(Pattern::port).collect();
        let mut about = self.about();
        let verified =
            if asked.is_empty() { Verified::default() } else { self.verify(Refresh::Asked(asked))? };
        if let Some(late) = &verified.late {
            about.note.get_or_insert_with(|| late.clone());
        }
        let time = Timestamp::now();
        let (mut claims, (unclaimed, left_out), own) = {
            let mut live = self.live(&verified);
            let own = live.own();
            (views(&mut live, known.claims().to_vec(), patterns), unclaimed(&mut live, &known, patterns), own)
        };
        if claims.iter().any(|view| view.state == State::Ghost) {
            // The end of a program may still wait to be written.
            let settled = self.settle()?;
            about.note = about.note.or(settled.note);
        }
        about.leaves_out(left_out + claims.iter().map(|view| view.left_out).sum::<u64>());
        if !claims.is_empty() {
            self.read(|reader| add_history(&mut claims, reader, own))?;
        }
        self.touch(&claims, time);
        Ok(ClaimsAnswer { time, about, claims, unclaimed })
    }

    fn claim(&self, wanted: &Wanted, caller: &Caller) -> Result<ClaimAnswer, OfficeError> {
        let there = match wanted.port {
            None => Vec::new(),
            Some(port) => {
                self.verify(Refresh::Asked(vec![port]))?;
                lock(&self.pipeline.live).here(port, None)
            }
        };
        let mut done = self.carry_out(&[Order { wanted, caller, there: &there, limit: self.limit }]);
        done.pop().unwrap_or(Err(OfficeError::Query(QueryError::Stopping)))
    }

    fn claim_all(&self, orders: &[(Wanted, Caller)]) -> Vec<Result<ClaimAnswer, OfficeError>> {
        // A port that is asked for is looked at first, and nobody else waits for that look.
        if orders.iter().any(|(wanted, _)| wanted.port.is_some()) {
            return orders.iter().map(|(wanted, caller)| self.claim(wanted, caller)).collect();
        }
        let order = |(wanted, caller)| Order { wanted, caller, there: &[], limit: self.limit };
        let orders: Vec<Order<'_>> = orders.iter().map(|(wanted, caller)| order((wanted, caller))).collect();
        self.carry_out(&orders)
    }

    fn release(
        &self,
        patterns: &[Pattern],
        only_dead: bool,
        reason: Option<&str>,
        caller: &Caller,
    ) -> Result<ReleaseAnswer, OfficeError> {
        let known = self.known()?;
        let verified = if only_dead {
            let ports = known.claims().iter().flat_map(|c| c.ports.iter().map(|p| p.port)).collect();
            self.verify(Refresh::Asked(ports))?
        } else {
            Verified::default()
        };
        let views = views(&mut self.live(&verified), known.claims().to_vec(), patterns);
        if views.is_empty() {
            return Err(nothing(patterns));
        }
        let (mut kept, mut ids) = (Vec::new(), Vec::new());
        for view in &views {
            if only_dead && !matches!(view.state, State::Ghost | State::Idle) {
                kept.push(view.claim.name.clone());
            } else {
                ids.push(view.claim.id);
            }
        }
        let time = Timestamp::now();
        let (released, foreign) =
            resolve::give_back(&mut *self.store()?, caller, reason, time, &mut |c| ids.contains(&c.id))
                .map_err(|error| OfficeError::of(error, None))?;
        let gone: Vec<i64> = released.iter().map(|r| r.claim.id).collect();
        self.announce(released.into_iter().map(|r| r.event));
        if self.reserve {
            self.pipeline.changed.note_claims();
        }
        Ok(ReleaseAnswer {
            time,
            about: self.about(),
            released: views.into_iter().filter(|v| gone.contains(&v.claim.id)).collect(),
            foreign: foreign.into_iter().map(|claim| claim.name).collect(),
            kept,
        })
    }

    fn rogue(&self, filter: &ListFilter, since: Option<Timestamp>) -> Result<RogueAnswer, OfficeError> {
        let known = self.known()?;
        let time = Timestamp::now();
        let mut live = lock(&self.pipeline.live);
        let mut rogues = Rogues::new(&known, live.own());
        let listed = live.list(filter, &mut |socket| rogues.is_rogue(socket));
        drop(live);
        let mut about = self.about();
        let (gone, gone_truncated) = match since {
            None => (Vec::new(), false),
            Some(since) => {
                about = self.settle()?;
                self.read(|reader| rogue_since(reader, &rogues, filter, since))?
            }
        };
        about.leaves_out(listed.left_out);
        Ok(RogueAnswer {
            time,
            about,
            sockets: listed.sockets,
            gone,
            gone_truncated,
            unknown: rogues.unknown,
        })
    }

    fn allowed(&self) -> Result<AllowedAnswer, OfficeError> {
        let rules = self.store()?.allowed()?;
        let files = self.pipeline.rules.lock().clone();
        Ok(AllowedAnswer { about: self.about(), rules, files })
    }

    fn allow(&self, rule: &str, allow: bool, caller: &Caller) -> Result<bool, OfficeError> {
        let mut store = self.store()?;
        let changed = if allow {
            store.allow(rule, caller.uid, caller.name.as_deref(), Timestamp::now())
        } else {
            store.disallow(rule, caller.uid)
        };
        changed.map_err(|error| OfficeError::of(error, None))
    }

    fn set_health(
        &self,
        name: &Name,
        result: &str,
        sentence: &str,
        caller: &Caller,
    ) -> Result<(), OfficeError> {
        let event = self
            .store()?
            .set_health(name, caller.uid, (result, sentence), Timestamp::now())
            .map_err(|error| OfficeError::of(error, Some(name)))?;
        self.announce(event);
        Ok(())
    }
}

impl Desk {
    /// Claims, with one commit for all orders.
    fn carry_out(&self, orders: &[Order<'_>]) -> Vec<Result<ClaimAnswer, OfficeError>> {
        let all = |error: OfficeError| orders.iter().map(|_| Err(error.clone())).collect();
        let done = match self.store() {
            Ok(mut store) => resolve::claim_all(&mut store, orders, Timestamp::now()),
            Err(error) => return all(error),
        };
        let mut done = match done {
            Ok(done) => done,
            Err(error) => return all(OfficeError::of(error.into(), None)),
        };
        let claimed = || done.iter().flatten();
        if self.reserve || claimed().any(|claimed| claimed.claim.expires.is_some()) {
            self.pipeline.changed.note_claims();
        }
        self.announce(done.iter_mut().flatten().filter_map(|claimed| claimed.event.take()));
        let mut live = lock(&self.pipeline.live);
        let seen: Vec<_> = done
            .into_iter()
            .map(|one| one.map(|claimed| (view(&mut live, claimed.claim), claimed.fresh)))
            .collect();
        drop(live);
        let time = Timestamp::now();
        let views: Vec<_> = seen.iter().flatten().map(|(view, _)| view).collect();
        self.touch(views, time);
        let answer = |(one, order): (Result<_, ClaimError>, &Order<'_>)| match one {
            Ok((claim, fresh)) => Ok(ClaimAnswer { time, about: self.about(), claim, fresh }),
            Err(error) => Err(self.explained(error, order.wanted, order.caller)),
        };
        seen.into_iter().zip(orders).map(answer).collect()
    }

    /// Why a claim was refused; for want of ports, with the claims that use none.
    fn explained(&self, error: ClaimError, wanted: &Wanted, caller: &Caller) -> OfficeError {
        let exhausted = matches!(error, ClaimError::Exhausted(_));
        let error = OfficeError::of(error, Some(&wanted.name));
        let Some(known) = exhausted.then(|| self.known().ok()).flatten() else { return error };
        let views = views(&mut lock(&self.pipeline.live), known.claims().to_vec(), &[Pattern::all()]);
        query::claims::exhausted(error, &views, wanted.asked.range, caller.uid)
    }
}

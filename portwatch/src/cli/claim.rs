//! `portwatch claim`

use std::io::{self, Write};

use super::{args, exit::Exit, failure::Failure, project::Here, session::Session};
use crate::{
    access::AccessError,
    model::Port,
    registry::{Name, PortRange, UserPolicy, duration},
    render,
    wire::{
        SCHEMA,
        claims::{Claim, ClaimRequest, ClaimedAll},
    },
};

pub(super) fn run(args: &args::Claim, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let here = Here::find()?;
    let names = if args.names.is_empty() {
        here.names()?
    } else {
        args.names.iter().map(|word| here.named(word)).collect::<Result<Vec<_>, _>>()?
    };
    if args.port.is_some() && names.len() > 1 {
        return Err(Failure::Several("--port"));
    }
    // Everything is understood before anything is claimed.
    let policy = session.settings.policy.clone();
    let requests =
        names.iter().map(|name| request(args, &here, name, &policy)).collect::<Result<Vec<_>, _>>()?;
    let mut answer = None::<ClaimedAll>;
    let mut refused = None;
    for (request, number) in requests.iter().zip(0..) {
        let done = match session.access()?.claim(request) {
            Ok(done) => done,
            Err(error) => {
                refused =
                    Some((error, requests.iter().skip(number).map(|r| r.name.clone()).collect::<Vec<_>>()));
                break;
            }
        };
        let all = answer.get_or_insert_with(|| ClaimedAll {
            schema: SCHEMA,
            source: done.source.clone(),
            claims: Vec::new(),
            fresh: 0,
            not_claimed: Vec::new(),
        });
        all.fresh += u64::from(done.fresh);
        all.claims.push(done.claim);
    }
    if let Some((error, left)) = refused {
        return Err(partly(error, left, answer, args, session));
    }
    let Some(answer) = answer else { return Ok(Exit::No) };
    if let Some(range) = args.range.as_deref().and_then(|text| text.parse::<PortRange>().ok()) {
        let outside = |claim: &&Claim| {
            claim.ports.iter().any(|p| Port::new(p.port).is_none_or(|port| !range.contains(port)))
        };
        for claim in answer.claims.iter().filter(outside) {
            session.warn(&render::outside(claim, &range.to_string()));
        }
    }
    for claim in answer.claims.iter().filter(|claim| !claim.strangers.is_empty()) {
        session.warn(&render::taken(claim));
    }
    if args.quiet && !session.settings.json.value {
        for claim in &answer.claims {
            ports(session.out, claim)?;
        }
    } else if args.export && !session.settings.json.value {
        for (name, port) in super::env::variables(&answer.claims, true) {
            writeln!(session.out, "export {name}={port}")?;
        }
    } else {
        session.answer(&answer, render::claimed)?;
    }
    Ok(Exit::Yes)
}

/// What was claimed before one was refused stays claimed, and is told. A script that reads ports gets none: they would stand for
/// the wrong names.
fn partly(
    error: AccessError,
    left: Vec<String>,
    answer: Option<ClaimedAll>,
    args: &args::Claim,
    session: &mut Session<'_>,
) -> Failure {
    if left.len() < 2 && answer.is_none() {
        return error.into();
    }
    let done = answer.iter().flat_map(|answer| &answer.claims);
    let done: Vec<String> = done.map(|claim| format!("{} ({})", claim.name, render::ports(claim))).collect();
    let words = left.join(", ");
    if let Some(mut answer) = answer {
        answer.not_claimed = left;
        if session.settings.json.value || !(args.quiet || args.export) {
            // That it could not be written is the lesser of two failures.
            drop(session.answer(&answer, render::claimed));
        }
    }
    let done = if done.is_empty() { "nothing".to_owned() } else { done.join(", ") };
    Failure::Partly { error, done, left: words }
}

fn ports(out: &mut dyn Write, claim: &Claim) -> io::Result<()> {
    let mut last = None;
    for port in &claim.ports {
        if last.replace(port.slot) != Some(port.slot) {
            writeln!(out, "{}", port.port)?;
        }
    }
    Ok(())
}

/// Flags first, then what the project and the user say of the name.
fn request(
    args: &args::Claim,
    here: &Here,
    name: &Name,
    policy: &UserPolicy,
) -> Result<ClaimRequest, Failure> {
    let mut wish = here.wish(name, policy);
    if let Some(text) = &args.port {
        wish.port = Some(text.parse::<Port>()?.get());
    } else if args.range.is_some() {
        // A range on the command line beats the port of the file.
        wish.port = None;
    }
    if args.range.is_some() {
        wish.range.clone_from(&args.range);
    }
    wish.exclude.extend(args.exclude.iter().cloned());
    if args.udp {
        wish.protocols = vec!["udp".to_owned()];
    }
    if let Some(pair) = args.pair.map(args::Pair::as_str)
        && !wish.protocols.iter().any(|protocol| protocol == pair)
    {
        wish.protocols.push(pair.to_owned());
    }
    wish.ports = args.ports.unwrap_or(wish.ports);
    wish.ephemeral = args.ephemeral;
    let ttl = args.ttl.as_deref().map(duration).transpose()?;
    wish.ttl_ms = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    wish.host.clone_from(&args.host);
    wish.agent.clone_from(&args.agent);
    wish.session.clone_from(&args.session);
    Ok(wish)
}

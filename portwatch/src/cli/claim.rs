//! `portwatch claim`

use std::io::{self, Write};

use super::{args, exit::Exit, failure::Failure, project::Here, session::Session};
use crate::{
    registry::{Name, UserPolicy, duration},
    render,
    wire::{
        SCHEMA,
        claims::{ClaimRequest, ClaimedAll},
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
    for request in &requests {
        let done = session.access()?.claim(request)?;
        let all = answer.get_or_insert_with(|| ClaimedAll {
            schema: SCHEMA,
            source: done.source.clone(),
            claims: Vec::new(),
            fresh: 0,
        });
        all.fresh += u64::from(done.fresh);
        all.claims.push(done.claim);
    }
    let Some(answer) = answer else { return Ok(Exit::No) };
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

fn ports(out: &mut dyn Write, claim: &crate::wire::claims::Claim) -> io::Result<()> {
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
        wish.port = Some(text.parse::<crate::model::Port>()?.get());
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

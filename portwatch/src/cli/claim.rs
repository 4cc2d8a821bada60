//! `portwatch claim`

use std::io::{self, Write};

use super::{args, exit::Exit, failure::Failure, project::Here, session::Session};
use crate::{
    registry::{Name, duration},
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
    let requests = names.iter().map(|name| request(args, &here, name)).collect::<Result<Vec<_>, _>>()?;
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

/// Flags first, then what the project file says of the name.
fn request(args: &args::Claim, here: &Here, name: &Name) -> Result<ClaimRequest, Failure> {
    let stack = here.stack(name).cloned().unwrap_or_default();
    let ttl = args.ttl.as_deref().map(duration).transpose()?;
    let mut protocols = vec![if args.udp { "udp" } else { "tcp" }];
    let pair = args.pair.map(args::Pair::as_str).or_else(|| stack.pair.then_some("udp"));
    protocols.extend(pair.filter(|p| !protocols.contains(p)));
    let range = args.range.clone().or_else(|| stack.range.map(|r| r.to_string()));
    let own = here.is_own(name);
    let mut exclude = args.exclude.clone();
    if own {
        exclude.extend(here.config.exclude.ranges().iter().map(ToString::to_string));
    }
    Ok(ClaimRequest {
        name: name.to_string(),
        port: match &args.port {
            Some(text) => Some(text.parse::<crate::model::Port>()?.get()),
            // A range on the command line beats the port of the file.
            None => stack.port.filter(|_| args.range.is_none()).map(crate::model::Port::get),
        },
        range,
        exclude,
        ephemeral: args.ephemeral,
        ttl_ms: ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
        protocols: protocols.into_iter().map(str::to_owned).collect(),
        ports: args.ports.or(stack.ports).unwrap_or(1),
        host: args.host.clone(),
        // A name of another project says nothing of this directory.
        root: here.root.as_ref().filter(|_| own).map(|root| root.to_string_lossy().into_owned()),
        worktree: here.worktree.clone().filter(|_| own),
        agent: args.agent.clone(),
        session: args.session.clone(),
    })
}

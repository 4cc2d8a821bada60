//! `portwatch drift`: the registry against reality, both ways.

use super::{args, exit::Exit, failure::Failure, project::Here, session::Session};
use crate::{
    registry::slug,
    render,
    wire::{
        ListQuery, SCHEMA, Socket,
        claims::{Claim, Drift},
    },
};

pub(super) fn run(args: &args::Drift, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let project = match (&args.of, args.project) {
        (Some(name), _) => Some(name.clone()),
        (None, true) => Some(Here::find()?.name.ok_or(Failure::NoProject)?),
        (None, false) => None,
    };
    let claims = session.access()?.claims(&["*".to_owned()])?;
    let list =
        session.access()?.list(&ListQuery { protocol: Some("tcp".to_owned()), ..ListQuery::default() })?;
    let of_project = |claim: &Claim| project.as_ref().is_none_or(|project| claim.project == *project);
    let unclaimed = |socket: &Socket| {
        let found = holder_project(socket);
        let wanted = project.as_ref().is_none_or(|project| found.as_deref() == Some(project));
        // What a unit, a container or a rule explains needs no claim.
        wanted
            && socket.state == "listening"
            && matches!(socket.standing.as_deref(), Some("project" | "rogue"))
    };
    let answer = Drift {
        schema: SCHEMA,
        time: claims.time,
        source: claims.source,
        claims: claims.claims.into_iter().filter(of_project).filter(|claim| claim.state != "live").collect(),
        unclaimed: list.sockets.into_iter().filter(unclaimed).collect(),
    };
    session.answer(&answer, render::drift)?;
    Ok(if answer.claims.is_empty() && answer.unclaimed.is_empty() { Exit::Yes } else { Exit::No })
}

fn holder_project(socket: &Socket) -> Option<String> {
    let process = socket.holders.first().map(|h| &h.process).or(socket.creator.as_ref())?;
    slug(&process.project.as_ref()?.name)
}

//! `portwatch who`

use super::{args, exit::Exit, failure::Failure, netns, session::Session};
use crate::{
    render,
    wire::{Target, WhoQuery, WhoTarget},
};

pub(super) fn run(args: &args::Who, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let targets = args.targets.iter().map(|text| text.parse()).collect::<Result<Vec<Target>, _>>()?;
    let (netns, all_namespaces) = netns::space(&args.namespaces)?;
    let query = WhoQuery { targets, netns, all_namespaces };
    let answer = session.access()?.who(&query)?;
    session.answer(&answer, render::who)?;
    Ok(answer.targets.iter().map(exit).max().unwrap_or(Exit::NotSeen))
}

/// A word that is not known here, from a newer daemon, is not an answer either.
fn exit(target: &WhoTarget) -> Exit {
    match target.state.as_str() {
        "held" => Exit::Yes,
        "free" => Exit::No,
        "ambiguous" => Exit::Ambiguous,
        _ => Exit::NotSeen,
    }
}

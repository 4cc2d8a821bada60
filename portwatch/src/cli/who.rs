//! `portwatch who`

use super::{args, exit::Exit, failure::Failure, link, netns, session::Session};
use crate::{
    render,
    wire::{Target, WhoQuery, WhoTarget},
};

pub(super) fn run(args: &args::Who, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let targets = args.targets.iter().map(|text| text.parse()).collect::<Result<Vec<Target>, _>>()?;
    let (netns, all_namespaces) = netns::space(&args.namespaces)?;
    let here = !all_namespaces && netns == netns::own();
    let typed: Vec<_> = targets.iter().map(Target::to_string).collect();
    let targets =
        targets.into_iter().map(|target| link::numbered(target, here)).collect::<Result<Vec<_>, _>>()?;
    let query = WhoQuery { targets, netns, all_namespaces };
    let mut answer = session.access()?.who(&query)?;
    for (number, typed) in query.targets.iter().map(Target::to_string).zip(typed) {
        for target in answer.targets.iter_mut().filter(|target| target.asked == number) {
            target.asked.clone_from(&typed);
        }
    }
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

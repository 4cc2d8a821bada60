//! `portwatch who`

use std::collections::HashMap;

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
    let typed = query.targets.iter().map(Target::to_string).zip(typed).collect();
    as_typed(answer.targets.iter_mut().map(|target| &mut target.asked), &typed);
    session.answer(&answer, render::who)?;
    Ok(answer.targets.iter().map(exit).max().unwrap_or(Exit::NotSeen))
}

/// An answer names what was asked with the number of an interface; it is shown as it was typed, and what one was typed as may be how
/// another is asked.
fn as_typed<'a>(all: impl Iterator<Item = &'a mut String>, typed: &HashMap<String, String>) {
    for asked in all {
        if let Some(typed) = typed.get(asked) {
            asked.clone_from(typed);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_called_a_number_is_not_taken_for_the_one_of_that_number() {
        // The third interface is called 7, and eth0 is the seventh.
        let pairs = [("[fe80::1%3]:80", "[fe80::1%7]:80"), ("[fe80::1%7]:80", "[fe80::1%eth0]:80")];
        let typed = pairs.map(|(number, typed)| (number.to_owned(), typed.to_owned())).into();
        let mut asked = ["[fe80::1%3]:80", "[fe80::1%7]:80", "81/tcp"].map(str::to_owned);
        as_typed(asked.iter_mut(), &typed);
        assert_eq!(asked, ["[fe80::1%7]:80", "[fe80::1%eth0]:80", "81/tcp"]);
    }
}

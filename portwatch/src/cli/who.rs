//! `portwatch who`

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use super::{args, exit::Exit, failure::Failure, link, netns, session::Session};
use crate::{
    model::without_url,
    render,
    wire::{Target, Verdict, WhoQuery, WhoTarget},
};

pub(super) fn run(args: &args::Who, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let targets = args.targets.iter().map(|text| text.parse()).collect::<Result<Vec<Target>, _>>()?;
    // Which of them mean the two addresses of localhost.
    let local: Vec<bool> = args.targets.iter().map(|text| names_localhost(text)).collect();
    let (netns, all_namespaces) = netns::space(&args.namespaces)?;
    let here = !all_namespaces && netns == netns::own();
    let typed: Vec<_> = targets.iter().map(Target::to_string).collect();
    let targets =
        targets.into_iter().map(|target| link::numbered(target, here)).collect::<Result<Vec<_>, _>>()?;
    let asked = targets.len();
    let loopbacks =
        targets.iter().zip(&local).filter(|(_, is_local)| **is_local).flat_map(|(t, _)| loopback(t));
    let targets: Vec<_> = targets.iter().cloned().chain(loopbacks).collect();
    let query = WhoQuery { targets, netns, all_namespaces };
    let mut answer = session.access()?.who(&query)?;
    let mut of_loopbacks = answer.targets.split_off(asked.min(answer.targets.len())).into_iter();
    for (target, _) in answer.targets.iter_mut().zip(&local).filter(|(_, is_local)| **is_local) {
        let both = [of_loopbacks.next(), of_loopbacks.next()].map(|t| t.and_then(|t| t.verdict));
        if let [Some(v4), Some(v6)] = both {
            target.verdict = Some(joined(v4, v6));
        }
    }
    let typed = query.targets.iter().map(Target::to_string).zip(typed).collect();
    as_typed(answer.targets.iter_mut().map(|target| &mut target.asked), &typed);
    session.answer(&answer, render::who)?;
    Ok(answer.targets.iter().map(exit).max().unwrap_or(Exit::NotSeen))
}

fn names_localhost(text: &str) -> bool {
    without_url(text.trim()).is_ok_and(|place| place.starts_with("localhost:"))
}

/// The addresses of localhost: a server that is told the name binds one of them, or both.
fn loopback(target: &Target) -> Vec<Target> {
    let Target::Port { port, protocol, .. } = target else { return Vec::new() };
    let at = |address| Target::Port { address: Some(address), zone: None, port: *port, protocol: *protocol };
    vec![at(Ipv4Addr::LOCALHOST.into()), at(Ipv6Addr::LOCALHOST.into())]
}

/// The verdict on a bind of both: as the one that fails says why, and in the words of both.
fn joined(v4: Verdict, v6: Verdict) -> Verdict {
    let both = |pick: fn(&Verdict) -> Option<bool>| match (pick(&v4), pick(&v6)) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    };
    let (bindable, with_reuse_addr) = (both(|v| v.bindable), both(|v| v.with_reuse_addr));
    // What both end with, that the kernel may lend the port, is said once.
    let ends_alike = v4.sentence.match_indices(". ").map(|(at, _)| at + 1).find(|&at| {
        let end = v4.sentence.get(at..).unwrap_or_default();
        v6.sentence.ends_with(end)
    });
    let first = v4.sentence.get(..ends_alike.unwrap_or(v4.sentence.len())).unwrap_or_default();
    let sentence = format!("{first} {}", v6.sentence);
    let why = if v4.bindable != Some(false) && v6.bindable == Some(false) { v6 } else { v4 };
    Verdict { bindable, with_reuse_addr, sentence, ..why }
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
    fn the_verdict_on_localhost_is_that_on_both_of_its_addresses() {
        let one = |bindable, sentence: &str| Verdict {
            netns: None,
            bindable: Some(bindable),
            with_reuse_addr: Some(bindable),
            cause: (!bindable).then(|| "listening".to_owned()),
            errno: None,
            errno_name: None,
            free_in_ms: None,
            sentence: sentence.to_owned(),
        };
        let lent = "The kernel may lend the port.";
        let both = joined(
            one(true, "A bind of 127.0.0.1:1 would. It may."),
            one(false, "A bind of [::1]:1 would not."),
        );
        assert_eq!((both.bindable, both.cause.as_deref()), (Some(false), Some("listening")));
        assert_eq!(both.sentence, "A bind of 127.0.0.1:1 would. It may. A bind of [::1]:1 would not.");
        let both = joined(one(true, &format!("V4 would. {lent}")), one(true, &format!("V6 would. {lent}")));
        assert_eq!((both.bindable, both.sentence), (Some(true), format!("V4 would. V6 would. {lent}")));
        for (text, expected) in
            [("localhost:1", true), ("http://localhost:1/x", true), ("127.0.0.1:1", false), ("1", false)]
        {
            assert_eq!(names_localhost(text), expected, "{text}");
        }
    }

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

//! Places on the command line: PORT, HOST:PORT, [v6%INTERFACE]:PORT, PORT/udp, or the name of a claim, whose port is meant.

use super::{failure::Failure, link, project::Here, session::Session};
use crate::{
    access::AccessError,
    model::{Local, Port, Zone},
    platform::user::own_uid,
    resolve::Place,
    wire::{Target, TargetError},
};

/// The places that these words mean.
pub(super) fn places(words: &[String], session: &mut Session<'_>) -> Result<Vec<Place>, Failure> {
    words.iter().map(|word| place(word, session, false)).collect()
}

/// The same, to end who is there. A name stands for a port only where it is the caller's own: another user who claims it
/// chooses the port, and with it who is ended.
pub(super) fn own_places(words: &[String], session: &mut Session<'_>) -> Result<Vec<Place>, Failure> {
    words.iter().map(|word| place(word, session, true)).collect()
}

fn place(word: &str, session: &mut Session<'_>, own: bool) -> Result<Place, Failure> {
    // What is typed for a port and is none reads here as it does for `who`.
    match word.parse::<Target>() {
        Ok(Target::Port { address: Some(address), zone: Some(typed), port, protocol, .. }) => {
            let zone = Zone::new(link::number(&typed, true)?);
            return Ok(Place::on_link(Local { address, zone }, typed, port, protocol));
        }
        Ok(_) | Err(TargetError::Form(_) | TargetError::Empty) => {}
        Err(error) => return Err(error.into()),
    }
    match word.parse::<Place>() {
        Ok(place) => Ok(place),
        Err(error) if !looks_like_a_name(word) => Err(error.into()),
        Err(_) => claimed(word, session, own),
    }
}

/// A name has a letter and no dot-separated host before its port: `myapp:api`, `api`.
pub(super) fn looks_like_a_name(word: &str) -> bool {
    let last = word.rsplit(':').next().unwrap_or(word);
    word.contains(|c: char| c.is_ascii_alphabetic())
        && !word.contains('/')
        && !last.is_empty()
        && !last.chars().all(|c| c.is_ascii_digit())
}

fn claimed(word: &str, session: &mut Session<'_>, own: bool) -> Result<Place, Failure> {
    let name = Here::find()?.named(word)?.to_string();
    let found = session.access()?.claims(std::slice::from_ref(&name))?;
    let claim = found.claims.iter().find(|claim| claim.name == name);
    let port = claim.and_then(|claim| claim.port).and_then(Port::new);
    if let (Some(claim), Some(port)) = (claim, port)
        && own
        && claim.owner != own_uid()
    {
        let owner = claim.owner_name.clone().unwrap_or_else(|| format!("uid {}", claim.owner));
        return Err(AccessError::Refused {
            what: format!("{name} is a claim of {owner}, who chose its port, {port}"),
            remedy: format!("name the port if you mean it: portwatch free {port}"),
        }
        .into());
    }
    port.map(Place::everywhere).ok_or_else(|| {
        AccessError::Refused {
            what: format!("nothing is claimed as {name}"),
            remedy: "portwatch find shows what is; a port is a number".to_owned(),
        }
        .into()
    })
}

#[cfg(test)]
mod tests {
    use super::looks_like_a_name;

    #[test]
    fn a_name_is_told_from_a_mistyped_place() {
        for name in ["myapp:api", "api", "myapp:api:feature-2x", "a-1"] {
            assert!(looks_like_a_name(name), "{name}");
        }
        for place in ["70000", "example.org:80", "3100/sctp", "", "host:", "[::1]:0"] {
            assert!(!looks_like_a_name(place), "{place}");
        }
    }
}

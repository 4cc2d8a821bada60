//! `portwatch ls`

use super::{args, exit::Exit, failure::Failure, netns, session::Session};
use crate::{model::Port, render, wire::ListQuery};

pub(super) fn run(args: &args::Ls, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let (from, to) = match &args.port {
        Some(text) => range(text).map(|(from, to)| (Some(from), Some(to)))?,
        None => (None, None),
    };
    let protocol = match (args.tcp, args.udp) {
        (true, _) => Some("tcp".to_owned()),
        (false, true) => Some("udp".to_owned()),
        (false, false) => None,
    };
    let (netns, all_namespaces) = netns::space(&args.namespaces)?;
    let query = ListQuery {
        container: args.container.clone(),
        netns,
        all_namespaces,
        protocol,
        project: args.project.clone(),
        user: args.user.clone(),
        from,
        to,
        sort: Some(args.sort.as_str().to_owned()),
        all: args.all,
        time_wait: args.time_wait,
    };
    let answer = session.access()?.list(&query)?;
    session.answer(&answer, render::ls)?;
    let found = answer.time_wait.as_ref().map_or(!answer.sockets.is_empty(), |rows| !rows.is_empty());
    Ok(match (found, &answer.missing) {
        (true, _) => Exit::Yes,
        (false, None) => Exit::No,
        (false, Some(_)) => Exit::NotSeen,
    })
}

/// `3000` or `3000-3999`.
pub(super) fn range(text: &str) -> Result<(u16, u16), Failure> {
    let port = |part: &str| part.trim().parse::<Port>().map(Port::get);
    match text.split_once('-') {
        Some((from, to)) if !from.is_empty() && !to.is_empty() => match (port(from)?, port(to)?) {
            (from, to) if from <= to => Ok((from, to)),
            _ => Err(Failure::Range(text.to_owned())),
        },
        Some(_) => Err(Failure::Range(text.to_owned())),
        None => port(text).map(|port| (port, port)).map_err(Failure::from),
    }
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn a_range_is_one_port_or_two_in_order() {
        assert_eq!(range("3000").unwrap(), (3000, 3000));
        assert_eq!(range("3000-3999").unwrap(), (3000, 3999));
        for bad in ["", "0", "70000", "5-", "-5", "9-5", "1-2-3", "a-b"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }
}

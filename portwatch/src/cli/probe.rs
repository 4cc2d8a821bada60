//! `portwatch probe`

use std::net::IpAddr;

use super::{args, exit::Exit, failure::Failure, link, netns, session::Session};
use crate::{
    access::AccessError,
    model::{Port, Protocol, Zone},
    render,
    resolve::{self, Spot},
    wire::{Probe, Target, WhoQuery, convert},
};

pub(super) fn run(args: &args::Probe, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let places = places(&args.target)?;
    // The kernel is asked first: what it says is the answer, and asking for causes takes time.
    let attempts = resolve::probe(&places);
    let mut tried = convert::probe(&args.target, &attempts)
        .ok_or_else(|| AccessError::Internal("nothing was tried".to_owned()))?;
    if let Target::Port { zone: Some(typed), .. } = args.target.parse()? {
        for tried in &mut tried.addresses {
            let address = tried.address.split('%').next().unwrap_or_default();
            tried.address = format!("{address}%{typed}");
        }
    }
    let targets: Vec<Target> = places
        .iter()
        .map(|place| Target::Port {
            address: Some(place.address),
            localhost: false,
            zone: place.zone.map(|zone| zone.to_string()),
            port: place.port,
            protocol: Some(place.protocol),
        })
        .collect();
    // Without causes there is still the kernel's answer.
    let query = WhoQuery { targets, netns: netns::own(), all_namespaces: false };
    let answer = match session.access()?.who(&query) {
        Ok(who) => convert::explained(tried, who.source, who.targets.into_iter().map(|t| t.verdict)),
        Err(AccessError::NotSeen { .. } | AccessError::Silent { .. } | AccessError::NoDaemon { .. }) => tried,
        Err(error) => return Err(error.into()),
    };
    session.answer(&answer, render::probe)?;
    Ok(exit(&answer, args.reuse_addr))
}

fn exit(answer: &Probe, reuse_addr: bool) -> Exit {
    match if reuse_addr { answer.with_reuse_addr } else { answer.bindable } {
        Some(true) => Exit::Yes,
        Some(false) => Exit::No,
        None => Exit::NotSeen,
    }
}

/// The addresses that a target means: one, those of localhost, or the wildcards of both families.
fn places(text: &str) -> Result<Vec<Spot>, Failure> {
    let Target::Port { address, localhost, zone, port, protocol } = text.parse()? else {
        return Err(AccessError::Usage(format!(
            "'{text}' is no place to bind; write PORT, HOST:PORT, [v6]:PORT or PORT/udp"
        ))
        .into());
    };
    let addresses = match address {
        Some(address) => vec![address],
        None if localhost => {
            vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0_u16, 0, 0, 0, 0, 0, 0, 1])]
        }
        None => vec![IpAddr::from([0_u8; 4]), IpAddr::from([0_u16; 8])],
    };
    let zone = zone.map(|zone| link::number(&zone, true)).transpose()?.and_then(Zone::new);
    let place = |address, port: Port, protocol: Option<Protocol>| Spot {
        address,
        zone,
        port,
        protocol: protocol.unwrap_or(Protocol::Tcp),
    };
    Ok(addresses.into_iter().map(|address| place(address, port, protocol)).collect())
}

#[cfg(test)]
mod tests {
    use super::places;

    #[test]
    fn a_target_means_one_address_or_one_of_each_family() {
        let shown = |text: &str| {
            let places = places(text).unwrap();
            let one = |p: &super::Spot| format!("{} {} {}", p.address, p.port, p.protocol);
            places.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(shown("3100"), "0.0.0.0 3100 tcp, :: 3100 tcp");
        assert_eq!(shown("localhost:3100"), "127.0.0.1 3100 tcp, ::1 3100 tcp");
        assert_eq!(shown("http://localhost:3100/"), "127.0.0.1 3100 tcp, ::1 3100 tcp");
        assert_eq!(shown("[::1]:53/udp"), "::1 53 udp");
        assert_eq!(shown("127.0.0.1:80"), "127.0.0.1 80 tcp");
        for wrong in ["pid:7", "myapp:api", "0", "host:80"] {
            assert!(places(wrong).is_err(), "{wrong}");
        }
    }
}

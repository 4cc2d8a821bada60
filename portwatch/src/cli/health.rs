//! `portwatch health`: asked by the caller, with the caller's rights; the daemon is told the result.

use std::{path::Path, time::Duration};

use super::{args, exit::Exit, failure::Failure, project::Here, session::Session};
use crate::{
    health::{self, Check, Report},
    registry::{ProjectConfig, duration, header},
    render,
    wire::{
        SCHEMA, Socket,
        claims::{Claim, HealthAnswer, HealthCheck, HealthReport},
    },
};

/// What another user's project may say that its program takes: whoever asks for all waits for the slowest.
const PATIENCE_WITH_OTHERS: Duration = Duration::from_secs(30);
/// How much of an answer's body is shown.
const BODY: usize = 2000;

pub(super) fn run(args: &args::Health, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let flags = flags(args)?;
    let patterns = if args.patterns.is_empty() { vec!["*".to_owned()] } else { args.patterns.clone() };
    let found = session.access()?.claims(&patterns)?;
    if found.claims.is_empty() {
        let answer =
            HealthAnswer { schema: SCHEMA, time: found.time, source: found.source, checks: Vec::new() };
        session.answer(&answer, render::health)?;
        return Ok(Exit::No);
    }
    let mut plans = Vec::new();
    for claim in &found.claims {
        plans.push((claim, plan(claim, &flags, session)));
    }
    let checks = ask(&plans)?;
    let uid = crate::platform::user::own_uid();
    for (claim, check) in found.claims.iter().zip(&checks) {
        // What was really asked is history, and that a program which was asked before is not there any more.
        let news = claim.health.is_some() && matches!(check.result.as_str(), "ghost" | "stranger");
        if (check.endpoint.is_some() || news) && (claim.owner == uid || uid == 0) {
            let report = HealthReport {
                name: check.name.clone(),
                result: check.result.clone(),
                sentence: health::told(check.healthy == Some(true), &check.sentence),
            };
            // The answer stands, whether it could be written down or not.
            let _ = session.access()?.report_health(&report);
        }
    }
    let named = !args.patterns.is_empty();
    let bad = checks.iter().any(|c| c.healthy == Some(false) || (named && c.result == "idle"));
    let unknown = checks.iter().any(|c| c.result == "unknown");
    let answer = HealthAnswer { schema: SCHEMA, time: found.time, source: found.source, checks };
    session.answer(&answer, render::health)?;
    Ok(match (unknown, bad) {
        (true, _) => Exit::NotSeen,
        (false, true) => Exit::No,
        (false, false) => Exit::Yes,
    })
}

/// What the command line says; what it does not say is the project's.
struct Flags {
    path: Option<String>,
    status: Vec<u16>,
    timeout: Option<Duration>,
    headers: Vec<(String, String)>,
    tcp: bool,
}

fn flags(args: &args::Health) -> Result<Flags, Failure> {
    let headers = args.header.iter().map(|text| {
        let (name, value) = text.split_once(':').unwrap_or((text, ""));
        header(name.trim(), value).map_err(Failure::Header)
    });
    let path = args.path.clone();
    if let Some(path) =
        path.as_ref().filter(|p| !p.starts_with('/') || !p.chars().all(|c| c.is_ascii_graphic()))
    {
        return Err(Failure::HttpPath(path.clone()));
    }
    Ok(Flags {
        path,
        status: args.status.clone(),
        timeout: args.timeout.as_deref().map(duration).transpose()?,
        headers: headers.collect::<Result<_, _>>()?,
        tcp: args.tcp,
    })
}

fn plan(claim: &Claim, flags: &Flags, session: &Session<'_>) -> Check {
    let is_mine = claim.owner == crate::platform::user::own_uid();
    let config = match claim.root.as_deref().map(Path::new) {
        Some(root) if is_mine => Here::config_in(root).unwrap_or_else(|error| {
            session.warn(&error.to_string());
            ProjectConfig::default()
        }),
        Some(root) => Here::config_of_another(root, claim.owner),
        None => ProjectConfig::default(),
    };
    let mut check =
        Check::of(&config.stacks.get(&claim.stack).map(|stack| stack.health.clone()).unwrap_or_default());
    if !is_mine {
        check.timeout = check.timeout.min(PATIENCE_WITH_OTHERS);
    }
    check.path = flags.path.clone().or(check.path);
    if !flags.status.is_empty() {
        check.status.clone_from(&flags.status);
    }
    check.headers.extend(flags.headers.iter().cloned());
    check.timeout = flags.timeout.unwrap_or(check.timeout);
    check.tcp |= flags.tcp;
    check
}

/// All at once: the slowest decides how long it takes.
fn ask(plans: &[(&Claim, Check)]) -> Result<Vec<HealthCheck>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = plans.iter().map(|(claim, check)| async move {
        match target(claim) {
            None => without(claim),
            Some(at) => with(claim, check, health::probe(at, check).await),
        }
    });
    Ok(runtime.block_on(futures_util::future::join_all(asked)))
}

/// Where its own program listens; else where it is bound and does not listen, which the kernel refuses.
fn target(claim: &Claim) -> Option<std::net::SocketAddr> {
    let socket = tcp(claim, "listening").or_else(|| unlistened(claim))?;
    Some(health::target(socket.address.parse().ok()?, socket.port, socket.v6_only == Some(true)))
}

fn tcp<'a>(claim: &'a Claim, state: &str) -> Option<&'a Socket> {
    claim.sockets.iter().find(|s| s.protocol == "tcp" && s.state == state)
}

/// The socket of a program that does not listen yet, or no more. Where a stranger has the port as well, it would be the stranger
/// that is asked.
fn unlistened(claim: &Claim) -> Option<&Socket> {
    let alone = tcp(claim, "listening").is_none() && !has_stranger(claim);
    tcp(claim, "bound").filter(|_| alone)
}

fn has_stranger(claim: &Claim) -> bool {
    claim.strangers.iter().any(|s| s.protocol == "tcp" && Some(s.port) == claim.port)
}

fn blank(claim: &Claim, healthy: Option<bool>, result: &str, sentence: String) -> HealthCheck {
    HealthCheck {
        name: claim.name.clone(),
        port: claim.port,
        healthy,
        result: result.to_owned(),
        sentence,
        endpoint: None,
        status: None,
        latency_ms: None,
        body: None,
        claimed: claim.created,
        since: claim.health.as_ref().filter(|h| h.result == result).map(|h| h.since),
        last_healthy: claim.health.as_ref().and_then(|h| h.healthy),
        ended: claim.ended.clone(),
        suggestion: None,
    }
}

/// A claim with nobody to ask.
fn without(claim: &Claim) -> HealthCheck {
    let port = claim.port.map_or_else(|| "?".to_owned(), |port| port.to_string());
    match claim.state.as_str() {
        "ghost" => HealthCheck {
            since: claim.ended.as_ref().map(|event| event.time),
            suggestion: Some(format!("portwatch release {}", claim.name)),
            ..blank(
                claim,
                Some(false),
                "ghost",
                "nothing listens (connection refused): its program is gone".to_owned(),
            )
        },
        state if state == "squatted" || (state == "live" && has_stranger(claim)) => HealthCheck {
            suggestion: Some(format!("portwatch who {port}")),
            ..blank(claim, Some(false), "stranger", render::stranger(claim))
        },
        "idle" => blank(claim, None, "idle", "nothing was started there yet".to_owned()),
        "live" => blank(claim, None, "udp", "UDP: there is nothing to ask".to_owned()),
        _ => blank(claim, None, "unknown", "what is on the port could not be seen".to_owned()),
    }
}

fn with(claim: &Claim, check: &Check, report: Report) -> HealthCheck {
    let mut sentence = report.sentence(check);
    if report.health == health::Health::Refused && unlistened(claim).is_some() {
        sentence.push_str(": its program is bound to the port and does not listen");
    }
    let result = report.health.as_str();
    let well = report.health == health::Health::Healthy;
    let port = claim.port.unwrap_or_default();
    HealthCheck {
        endpoint: Some(report.endpoint),
        status: report.status,
        latency_ms: u64::try_from(report.latency.as_millis()).ok(),
        body: report.body.map(|body| body.chars().take(BODY).collect()),
        suggestion: (!well).then(|| format!("portwatch who {port}")),
        ..blank(claim, Some(well), result, sentence)
    }
}

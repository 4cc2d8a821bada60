//! Claims between inside and out.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use super::{
    AllowList, AllowRequest, AllowRule, Claim, ClaimBrief, ClaimCounts, ClaimHealth, ClaimPort, ClaimRequest,
    Claimed, Claims, CleanupRequest, Drift, HealthReport, ReleaseRequest, Released, Rogue, RogueQuery, Sweep,
    is_unclaimed,
};
use crate::{
    journal::HealthRecord,
    model::{Port, Protocol, Timestamp},
    query::{
        ListAnswer, ListFilter, Viewer,
        claims::{
            AllowedAnswer, ClaimAnswer, ClaimView, ClaimsAnswer, OfficeError, ReleaseAnswer, RogueAnswer,
            Wanted, user_name,
        },
    },
    registry::{Asked, Name, Pattern, PortRange, PortSet, Rule, State},
    wire::{
        Room, SCHEMA, View,
        convert::{event, list, socket, source},
    },
};

/// Longest text of a request that is kept.
const LONGEST: usize = 256;
/// Longest path.
const LONGEST_PATH: usize = 4096;
/// Most ports of one claim.
const MOST_PORTS: u16 = 64;
/// Most patterns of one request.
const MOST_PATTERNS: usize = 1024;

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn bad(error: impl ToString) -> OfficeError {
    OfficeError::Bad(error.to_string())
}

/// A claim with what is on its ports, as far as `viewer` may see it.
pub fn claim<'a>(view: &ClaimView, now: Timestamp, shown: impl Into<View<'a>>) -> Claim {
    let (inner, shown) = (&view.claim, shown.into());
    let own = match shown.viewer {
        Viewer::Unrestricted => true,
        Viewer::User { uid, .. } => uid == inner.owner || uid == 0,
    };
    let is_stranger = |index: &usize| view.strangers.binary_search(index).is_ok();
    let pick = |wanted: bool| {
        let indexes = (0..view.sockets.len()).filter(|index| is_stranger(index) == wanted);
        indexes.filter_map(|index| view.sockets.get(index)).map(|s| socket(s, shown)).collect()
    };
    Claim {
        name: inner.name.to_string(),
        project: inner.name.project().to_owned(),
        stack: inner.name.stack().to_owned(),
        context: inner.name.context().map(str::to_owned),
        port: inner.port().map(Port::get),
        ports: inner
            .ports
            .iter()
            .map(|p| ClaimPort { slot: p.slot, protocol: p.protocol.as_str().to_owned(), port: p.port.get() })
            .collect(),
        kind: inner.kind.as_str().to_owned(),
        state: view.state.as_str().to_owned(),
        owner: inner.owner,
        owner_name: inner.owner_name.clone(),
        agent: inner.agent.clone(),
        session: inner.session.clone(),
        root: inner.root.as_ref().filter(|_| own).map(|p| p.to_string_lossy().into_owned()),
        worktree: inner.worktree.clone(),
        created: inner.created,
        renewed: inner.renewed,
        expires: inner.expires,
        expired: inner.has_expired(now),
        seen: inner.seen,
        sockets: pick(false),
        strangers: pick(true),
        ended: view.ended.as_ref().map(|record| event(record, shown)),
        health: view.health.as_ref().map(claim_health),
    }
}

fn claim_health(inner: &HealthRecord) -> ClaimHealth {
    ClaimHealth {
        result: inner.result.clone(),
        since: inner.since,
        checked: inner.checked,
        healthy: inner.healthy,
    }
}

/// Claims by state.
pub fn counts(states: &[State]) -> ClaimCounts {
    let count = |state| u64::try_from(states.iter().filter(|s| **s == state).count()).unwrap_or(u64::MAX);
    ClaimCounts {
        total: u64::try_from(states.len()).unwrap_or(u64::MAX),
        live: count(State::Live),
        ghost: count(State::Ghost),
        squatted: count(State::Squatted),
        idle: count(State::Idle),
        unknown: count(State::Unknown),
    }
}

/// A claim in few words.
pub fn brief(view: &ClaimView) -> ClaimBrief {
    let inner = &view.claim;
    ClaimBrief {
        name: inner.name.to_string(),
        kind: inner.kind.as_str().to_owned(),
        state: view.state.as_str().to_owned(),
        owner: inner.owner,
        owner_name: inner.owner_name.clone(),
        created: inner.created,
        seen: inner.seen,
        health: view.health.as_ref().map(claim_health),
    }
}

/// Answer of `find`.
pub fn claims<'a>(answer: &ClaimsAnswer, view: impl Into<View<'a>>) -> Claims {
    let view = view.into();
    let mut told = Claims {
        schema: SCHEMA,
        time: answer.time,
        source: source(&answer.about),
        claims: answer.claims.iter().map(|held| claim(held, answer.time, view)).collect(),
        unclaimed: answer.unclaimed.iter().map(|s| socket(s, view)).collect(),
    };
    view.say(&mut told.source);
    told
}

/// Answer of `claim`.
pub fn claimed<'a>(answer: &ClaimAnswer, view: impl Into<View<'a>>) -> Claimed {
    let view = view.into();
    let mut told = Claimed {
        schema: SCHEMA,
        time: answer.time,
        source: source(&answer.about),
        claim: claim(&answer.claim, answer.time, view),
        fresh: answer.fresh,
    };
    view.say(&mut told.source);
    told
}

/// Answer of `release`.
pub fn released<'a>(answer: &ReleaseAnswer, view: impl Into<View<'a>>) -> Released {
    let view = view.into();
    let mut told = Released {
        schema: SCHEMA,
        time: answer.time,
        source: source(&answer.about),
        dry_run: false,
        released: answer.released.iter().map(|held| claim(held, answer.time, view)).collect(),
        foreign: answer.foreign.iter().map(ToString::to_string).collect(),
        kept: answer.kept.iter().map(ToString::to_string).collect(),
    };
    view.say(&mut told.source);
    told
}

/// Answer of `rogue`.
pub fn rogue<'a>(answer: &RogueAnswer, view: impl Into<View<'a>>) -> Rogue {
    let view = view.into();
    let mut told = Rogue {
        schema: SCHEMA,
        time: answer.time,
        source: source(&answer.about),
        sockets: answer.sockets.iter().map(|s| socket(s, view)).collect(),
        gone: answer.gone.iter().map(|e| event(e, view)).collect(),
        gone_truncated: answer.gone_truncated,
        unknown: answer.unknown,
    };
    view.say(&mut told.source);
    told
}

/// Answer of `drift`, in which processes take no more than so many bytes.
pub fn drift(
    claims: &ClaimsAnswer,
    mut listed: ListAnswer,
    project: Option<&str>,
    (viewer, bytes): (Viewer, usize),
) -> Drift {
    // Each has its half, and none is taken by what is not told.
    let (of_claims, of_list) = (Room::new(bytes / 2), Room::new(bytes / 2));
    listed.sockets.retain(|known| is_unclaimed(&socket(known, viewer), project));
    let claims = self::claims(claims, of_claims.view(viewer));
    super::drift(claims, list(&listed, of_list.view(viewer)), project)
}

/// The allow-list.
pub fn allowed(answer: &AllowedAnswer, changed: bool) -> AllowList {
    let files = answer.files.iter().flat_map(|(&owner, texts)| {
        texts.iter().map(move |text| AllowRule {
            rule: text.clone(),
            owner,
            owner_name: user_name(owner),
            origin: "file".to_owned(),
            created: None,
        })
    });
    let rules = answer.rules.iter().map(|a| AllowRule {
        rule: a.rule.clone(),
        owner: a.owner,
        owner_name: a.owner_name.clone(),
        origin: "command".to_owned(),
        created: Some(a.created),
    });
    let rules = files.chain(rules);
    AllowList { schema: SCHEMA, source: source(&answer.about), rules: rules.collect(), changed }
}

/// What is wanted, out of a request.
pub fn wanted(request: &ClaimRequest) -> Result<Wanted, OfficeError> {
    let range = request.range.as_deref().map(str::parse::<PortRange>).transpose().map_err(bad)?;
    let exclude: PortSet = request
        .exclude
        .iter()
        .map(|text| text.parse::<PortRange>())
        .collect::<Result<_, _>>()
        .map_err(bad)?;
    let port = match request.port {
        None => None,
        Some(number) => Some(
            Port::new(number)
                .ok_or_else(|| bad("'0' is not a port; ports are whole numbers from 1 to 65535"))?,
        ),
    };
    if request.ports > MOST_PORTS {
        return Err(bad(format!("a claim has {MOST_PORTS} ports at most")));
    }
    let mut protocols = Vec::new();
    for word in &request.protocols {
        let protocol = Protocol::from_word(word)
            .ok_or_else(|| bad(format!("'{word}' is not a protocol; say tcp or udp")))?;
        if !protocols.contains(&protocol) {
            protocols.push(protocol);
        }
    }
    if protocols.is_empty() {
        protocols.push(Protocol::Tcp);
    }
    let host = match request.host.as_deref() {
        None | Some("" | "*" | "localhost") => None,
        Some(text) => {
            let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
            let parsed = bare.parse::<IpAddr>();
            Some(parsed.map_err(|_| bad(format!("'{text}' is not an address; say 127.0.0.1 or ::1")))?)
        }
    };
    Ok(Wanted {
        name: request.name.parse().map_err(bad)?,
        port,
        moves: request.moves,
        asked: Asked { range, exclude, ephemeral: request.ephemeral, privileged: false },
        ttl: request.ttl_ms.map(Duration::from_millis),
        protocols,
        ports: request.ports.max(1),
        host,
        root: text(request.root.as_deref(), "root", LONGEST_PATH)?.map(directory).transpose()?,
        worktree: text(request.worktree.as_deref(), "worktree", LONGEST)?,
        agent: text(request.agent.as_deref(), "agent", LONGEST)?,
        session: text(request.session.as_deref(), "session", LONGEST)?,
    })
}

/// A text that is kept: bounded, without control characters.
pub fn text(text: Option<&str>, what: &str, longest: usize) -> Result<Option<String>, OfficeError> {
    match text {
        None | Some("") => Ok(None),
        Some(text) if text.len() > longest => Err(bad(format!("{what} has {longest} bytes at most"))),
        Some(text) if text.chars().any(char::is_control) => {
            Err(bad(format!("{what} has a control character")))
        }
        Some(text) => Ok(Some(text.to_owned())),
    }
}

/// Patterns, out of their texts.
pub fn patterns<T: AsRef<str>>(texts: &[T]) -> Result<Vec<Pattern>, OfficeError> {
    if texts.len() > MOST_PATTERNS {
        return Err(bad(format!("at most {MOST_PATTERNS} patterns in one request")));
    }
    texts.iter().map(|text| text.as_ref().parse().map_err(bad)).collect()
}

/// What is to be given back, out of a request.
pub fn release(request: &ReleaseRequest) -> Result<(Vec<Pattern>, Option<String>), OfficeError> {
    if request.patterns.is_empty() {
        return Err(bad("nothing was named; say a name, a pattern or :PORT"));
    }
    Ok((patterns(&request.patterns)?, text(request.reason.as_deref(), "reason", LONGEST)?))
}

/// What is to be swept up, out of a request.
pub fn sweep(request: &CleanupRequest) -> Result<Sweep, OfficeError> {
    let project = text(request.project.as_deref(), "project", LONGEST)?;
    Ok(Sweep::new(request.max_age_ms.map(Duration::from_millis), project))
}

/// Which listeners `rogue` is about. `uid` is that of the user's name, where there is one.
pub fn rogue_filter(query: &RogueQuery, uid: Option<u32>) -> ListFilter {
    ListFilter { user: query.user.clone(), uid, from: query.from, to: query.to, ..ListFilter::default() }
}

/// Where a project lies; a path that begins elsewhere for everybody who reads it is none.
fn directory(path: String) -> Result<PathBuf, OfficeError> {
    let path = PathBuf::from(path);
    if path.is_absolute() { Ok(path) } else { Err(bad("root is the whole path of a directory")) }
}

/// A rule of the allow-list, out of a request.
pub fn rule(request: &AllowRequest) -> Result<String, OfficeError> {
    let rule = text(Some(request.rule.trim()), "a rule", LONGEST)?.unwrap_or_default();
    Rule::check(&rule).map_err(OfficeError::Bad)?;
    Ok(rule)
}

/// A report on a claimed program: the claim, the word, the sentence.
pub fn health(report: &HealthReport) -> Result<(Name, String, String), OfficeError> {
    let word = |c: char| c.is_ascii_lowercase() || c == '-';
    if report.result.is_empty() || report.result.len() > 32 || !report.result.chars().all(word) {
        return Err(bad("a result is a word, such as healthy or refused"));
    }
    let sentence = text(Some(&report.sentence), "the sentence", LONGEST)?.unwrap_or_default();
    Ok((report.name.parse().map_err(bad)?, report.result.clone(), sentence))
}

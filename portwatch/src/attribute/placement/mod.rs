//! What a control group's path says: systemd unit, container, pod.
//!
//! Engines and systemd give groups their names by fixed rules; the table in `paths.txt` has each of them, with
//! where it is from. A name that follows no rule says nothing.

use crate::model::{Container, Engine, Maker, Placement, Unit, Unproven};

/// Names of groups of container processes, before the id: with the systemd driver `PREFIX-ID.scope`, with the
/// cgroupfs driver `PREFIX-ID`.
const PREFIXES: [(&str, Engine); 7] = [
    ("docker-", Engine::Docker),
    ("libpod-payload-", Engine::Podman),
    ("libpod-", Engine::Podman),
    ("cri-containerd-", Engine::Containerd),
    ("containerd-", Engine::Containerd),
    ("nerdctl-", Engine::Containerd),
    ("crio-", Engine::Crio),
];

/// Suffixes of units that hold processes (systemd.unit(5)); slices hold only units.
const UNITS: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];

/// What `path` says. Steps above the observer's own root (`/../..`) have no names and are passed over. `maker` tells who could
/// have made a group in the one with these steps: of groups that others than the system can make, a name proves nothing.
pub(super) fn of(path: &str, maker: &dyn Fn(&[&str]) -> Maker) -> Placement {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != "..").collect();
    let mut unproven = None;
    for at in (0..parts.len()).rev() {
        let Some((mut container, length)) = container(&parts, at) else { continue };
        container.pod = parts.iter().take(at + 1).rev().find_map(|part| pod(part));
        let inside = unit(parts.get(at + length..).unwrap_or_default());
        let around = unit(parts.get(..=at).unwrap_or_default()).filter(runs_it);
        let unit = inside.or(around);
        let within_another = || (0..at).any(|above| self::container(&parts, above).is_some());
        let maker = match maker(parts.get(..at + length - 1).unwrap_or_default()) {
            Maker::System if within_another() => Maker::Container,
            maker => maker,
        };
        if maker != Maker::System {
            let (container, unit) = (container.clone(), unit.clone());
            unproven.get_or_insert(Unproven { container, unit, maker });
        }
        if matches!(maker, Maker::System | Maker::Container) {
            return Placement { unit, container: Some(container), unproven };
        }
    }
    Placement { unit: unit(&parts), container: None, unproven }
}

/// A unit made for this one container (Quadlet, nspawn), not a scope around it, an engine or a user's manager.
fn runs_it(unit: &Unit) -> bool {
    unit.name.rsplit('.').next() == Some("service")
        && !unit.name.starts_with("user@")
        && !matches!(unit.name.as_str(), "containerd.service" | "docker.service" | "podman.service")
}

/// The container that the part at `at` names, and how many parts its name takes.
fn container(parts: &[&str], at: usize) -> Option<(Container, usize)> {
    let part = *parts.get(at)?;
    let before = at.checked_sub(1).and_then(|at| parts.get(at)).copied();
    let next = parts.get(at + 1).copied();
    let made = |engine, id: &str, length| {
        let name = matches!(engine, Some(Engine::Lxc | Engine::Nspawn)).then(|| id.to_owned());
        let id = id.to_owned();
        Some((Container { engine, id, pod: None, name, image: None, compose: None, owner: None }, length))
    };
    // containerd told to use systemd's names on a cgroupfs driver: `SLICE:cri-containerd:ID`.
    let bare = part.strip_suffix(".scope").unwrap_or(part);
    if let Some((rest, id)) = bare.rsplit_once(':')
        && is_id(id)
    {
        let manager = rest.rsplit(':').next().unwrap_or_default();
        return made(engine_of(&format!("{manager}-")), id, 1);
    }
    if let Some((engine, id)) =
        PREFIXES.iter().find_map(|(prefix, engine)| Some((engine, bare.strip_prefix(prefix)?)))
        && is_id(id)
    {
        return made(Some(*engine), id, 1);
    }
    if is_id(part) {
        return made(before.and_then(|before| engine_of(&format!("{before}-"))), part, 1);
    }
    if let Some(name) = part.strip_prefix("lxc.payload.").filter(|name| !name.is_empty()) {
        return made(Some(Engine::Lxc), name, 1);
    }
    if matches!(part, "lxc" | "lxc.payload")
        && let Some(name) = next
    {
        return made(Some(Engine::Lxc), name, 2);
    }
    // nspawn's own process is in `supervisor`; virtual machines, whose scopes have the same names, have no `payload`.
    let nspawn = part
        .strip_prefix("machine-")
        .and_then(|rest| rest.strip_suffix(".scope"))
        .or_else(|| part.strip_prefix("systemd-nspawn@")?.strip_suffix(".service"))?;
    if next == Some("payload") { made(Some(Engine::Nspawn), &unescape(nspawn), 2) } else { None }
}

fn engine_of(prefix: &str) -> Option<Engine> {
    PREFIXES.iter().find(|(known, _)| *known == prefix).map(|(_, engine)| *engine)
}

/// 64 lower-case hex digits.
fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// `pod<uid>` of kubelet's cgroupfs driver, `kubepods-burstable-pod<uid>.slice` of its systemd driver, which writes
/// `_` for `-`. Pods from files have a hash of 32 digits for uid.
fn pod(part: &str) -> Option<String> {
    // The odd form above has the slice before the first colon.
    let part = part.split(':').next().unwrap_or(part);
    let uid = match part.strip_suffix(".slice") {
        Some(slice) => slice.rsplit_once("-pod")?.1.replace('_', "-"),
        None => part.strip_prefix("pod")?.to_owned(),
    };
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = uid.bytes().filter(|&b| b == b'-').count();
    (digits == 32 && digits + dashes == uid.len()).then_some(uid)
}

/// The unit: the first part after the slices; below a user's manager, the first after the slices there.
fn unit(parts: &[&str]) -> Option<Unit> {
    let mut slice = None;
    let mut manager = None;
    let mut own: Option<Unit> = None;
    for part in parts {
        // systemd writes `_` before names that the kernel would take for its own files (`cgroup.procs`).
        let name = part.strip_prefix('_').unwrap_or(part);
        if name.rsplit_once('.').is_some_and(|(_, kind)| kind == "slice") {
            slice = Some(name.to_owned());
            continue;
        }
        if !UNITS.iter().any(|suffix| name.len() > suffix.len() && name.ends_with(suffix)) {
            break;
        }
        let user = name.strip_prefix("user@").and_then(|rest| rest.strip_suffix(".service"));
        let user = user.and_then(|uid| uid.parse().ok()).filter(|_| own.is_none());
        own = Some(Unit { name: name.to_owned(), slice: slice.take(), manager });
        if user.is_none() {
            break;
        }
        manager = user;
    }
    own
}

/// A machine's name without the `\xNN` that stand for characters a unit's name cannot hold. (In a unit's own name they
/// stay: that is how `systemctl` takes it.)
fn unescape(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once("\\x") {
        text.push_str(before);
        let code = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(code) = code.filter(u8::is_ascii) {
            text.push(char::from(code));
            rest = after.get(2..).unwrap_or_default();
        } else {
            text.push_str("\\x");
            rest = after;
        }
    }
    text + rest
}

#[cfg(test)]
mod tests;

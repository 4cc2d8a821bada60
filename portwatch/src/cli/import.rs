//! `portwatch import`: claims out of the files of other registries, read with the caller's own rights.

use std::path::{Path, PathBuf};

use super::{args, exit::Exit, failure::Failure, project::Here, session::Session};
use crate::{
    access::{Access, AccessError},
    platform::files,
    registry::{FOREIGN, Imported, Name, ProjectConfig, import, slug},
    render,
    wire::{
        SCHEMA,
        claims::{Claim, ClaimRequest, ImportAnswer, ImportRow},
    },
};

/// Where Integrator Agent keeps the ports of a repository's worktrees.
const INTEGRATOR: &str = "design/worktrees/ports.json";
/// Larger files are none of these.
const LARGEST: u64 = 4 << 20;
/// What is said of a wish that gets another port than its own.
const OTHER_PORT: &str = "another port";

/// A file with what it says.
struct File {
    path: PathBuf,
    read: Imported,
    project: String,
}

pub(super) fn run(args: &args::Import, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let here = Here::find()?;
    let paths = if args.files.is_empty() { found(&here) } else { args.files.clone() };
    if paths.is_empty() {
        return Err(Failure::NothingToImport);
    }
    // Everything is understood before anything is claimed.
    let files = paths.iter().map(|path| open(path, args, &here)).collect::<Result<Vec<_>, _>>()?;
    if args.toml {
        // One file of all: what the first says of a stack counts.
        let mut all = ProjectConfig::default();
        for file in &files {
            all.project.get_or_insert_with(|| file.project.clone());
            for (name, stack) in &file.read.config.stacks {
                all.stacks.entry(name.clone()).or_insert_with(|| stack.clone());
            }
        }
        session.out.write_all(all.to_toml().as_bytes())?;
        return Ok(Exit::Yes);
    }
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    for file in &files {
        let shown = file.path.display();
        notes.extend(file.read.notes.iter().map(|note| format!("{shown}: {note}")));
        for wish in &file.read.wishes {
            let Some(name) = Name::of(&file.project, &wish.stack, wish.context.as_deref()) else { continue };
            let request = ClaimRequest {
                port: wish.port.map(crate::model::Port::get),
                range: file
                    .read
                    .config
                    .stacks
                    .get(&wish.stack)
                    .and_then(|stack| stack.range)
                    .map(|range| range.to_string()),
                // A file may name what it likes, also where the kernel's own choices begin.
                ephemeral: true,
                ..here.wish(&name, &session.settings.policy)
            };
            let mut row = one(session.access()?, &request, args)?;
            // The claims of a dry run do not stand in each other's way by themselves.
            let twin = |other: &&ImportRow| {
                let is_same = other.name == row.name || (other.port == row.port && row.port.is_some());
                is_same && other.result == "would-claim"
            };
            if args.dry_run
                && row.result == "would-claim"
                && let Some(other) = rows.iter().find(twin)
            {
                row = would_meet(other, row, args.reassign);
            }
            rows.push(ImportRow { file: shown.to_string(), ..row });
        }
    }
    let answer = ImportAnswer { schema: SCHEMA, dry_run: args.dry_run, rows, notes };
    session.answer(&answer, render::imported)?;
    let all = !answer.rows.is_empty() && answer.rows.iter().all(|row| row.result != "refused");
    Ok(if all { Exit::Yes } else { Exit::No })
}

/// What becomes of a wish for a port, or under a name, that a wish before it would have.
fn would_meet(other: &ImportRow, row: ImportRow, reassign: bool) -> ImportRow {
    if other.name == row.name {
        if other.port == row.port || row.port.is_none() {
            return ImportRow { port: other.port, result: "kept".to_owned(), ..row };
        }
        if reassign {
            return ImportRow { port: other.port, sentence: Some(OTHER_PORT.to_owned()), ..row };
        }
        let sentence = format!("{} would have port {}", other.name, other.port.unwrap_or_default());
        return ImportRow { result: "refused".to_owned(), sentence: Some(sentence), ..row };
    }
    if reassign {
        return ImportRow { port: None, sentence: Some(OTHER_PORT.to_owned()), ..row };
    }
    let port = row.port.unwrap_or_default();
    let sentence = format!("port {port} would be claimed by {}", other.name);
    ImportRow { result: "refused".to_owned(), sentence: Some(sentence), ..row }
}

/// What lies here: a file of Port Daddy's in this directory or above, and Integrator's in the repository.
fn found(here: &Here) -> Vec<PathBuf> {
    let from = std::env::current_dir().unwrap_or_default();
    let named =
        |directory: &Path| FOREIGN.iter().map(|file| directory.join(file)).find(|path| path.is_file());
    let port_daddy = from.ancestors().find_map(named);
    let top = here.root.as_deref().unwrap_or(&from);
    let integrator = from
        .ancestors()
        .take_while(|directory| directory.starts_with(top))
        .map(|directory| directory.join(INTEGRATOR))
        .find(|path| path.is_file());
    port_daddy.into_iter().chain(integrator).collect()
}

fn open(path: &Path, args: &args::Import, here: &Here) -> Result<File, Failure> {
    let wrong = |message: String| Failure::ProjectFile { path: path.to_owned(), message };
    let unread = |error: std::io::Error| wrong(format!("{error}; name a file that you can read"));
    let text = files::text(path, LARGEST).map_err(unread)?;
    let read = import(&text).map_err(|error| wrong(error.to_string()))?;
    let directory = std::path::absolute(path).ok();
    let directory = directory.as_deref().and_then(Path::parent);
    let around = || {
        let is_inside = here.root.as_deref().zip(directory).is_some_and(|(root, d)| d.starts_with(root));
        let own = here.name.clone().filter(|_| is_inside);
        // The directory of Integrator's file says nothing.
        let named = FOREIGN.iter().any(|file| path.ends_with(file));
        own.or_else(|| {
            directory.filter(|_| named)?.file_name().and_then(|name| slug(&name.to_string_lossy()))
        })
    };
    let given = args.project.as_deref().and_then(slug);
    let project = given
        .or_else(|| read.config.project.clone())
        .or_else(around)
        .ok_or_else(|| Failure::NoProjectFor { path: path.to_owned() })?;
    Ok(File { path: path.to_owned(), read, project })
}

fn one(access: &dyn Access, request: &ClaimRequest, args: &args::Import) -> Result<ImportRow, Failure> {
    let row = |port, result: &str, sentence: Option<String>| ImportRow {
        name: request.name.clone(),
        port,
        wanted: request.port,
        result: result.to_owned(),
        sentence,
        file: String::new(),
    };
    let has = |claim: &Claim| request.port.is_none_or(|port| claim.ports.iter().any(|p| p.port == port));
    let standing = access.claims(std::slice::from_ref(&request.name))?.claims.pop();
    if let Some(claim) =
        standing.filter(|claim| has(claim) && claim.owner == crate::platform::user::own_uid())
    {
        return Ok(row(claim.port, "kept", None));
    }
    if args.dry_run {
        return Ok(match in_the_way(access, request)? {
            Some(_) if args.reassign => row(None, "would-claim", Some(OTHER_PORT.to_owned())),
            Some(why) => row(request.port, "refused", Some(why)),
            None => row(request.port, "would-claim", None),
        });
    }
    let claimed = match access.claim(request) {
        Err(AccessError::Refused { .. }) if args.reassign => {
            access.claim(&ClaimRequest { port: None, ..request.clone() })
        }
        other => other,
    };
    match claimed {
        Ok(done) => {
            let other = done.claim.port != request.port && request.port.is_some();
            let words = other.then(|| "the port of the file could not be had".to_owned());
            Ok(row(done.claim.port, "claimed", words))
        }
        Err(AccessError::Refused { what, remedy } | AccessError::NotSeen { what, remedy }) => {
            Ok(row(request.port, "refused", Some(format!("{what}; {remedy}"))))
        }
        Err(error) => Err(error.into()),
    }
}

/// Why a claim would be refused, as far as it can be told without claiming.
fn in_the_way(access: &dyn Access, request: &ClaimRequest) -> Result<Option<String>, Failure> {
    let uid = crate::platform::user::own_uid();
    if let Some(claim) = access.claims(std::slice::from_ref(&request.name))?.claims.pop() {
        let port = claim.port.unwrap_or_default();
        return Ok(Some(if claim.owner == uid || uid == 0 {
            format!("{} has port {port}", claim.name)
        } else {
            format!("{} belongs to another user", claim.name)
        }));
    }
    let Some(port) = request.port else { return Ok(None) };
    let found = access.claims(&[format!(":{port}")])?;
    let is_mine = |claim: &Claim| claim.kind == "auto" && (claim.owner == uid || uid == 0);
    if let Some(claim) = found.claims.iter().find(|claim| !is_mine(claim)) {
        return Ok(Some(format!("port {port} is claimed by {}", claim.name)));
    }
    let stranger = found.unclaimed.first().and_then(|socket| socket.holders.first());
    Ok(stranger.map(|held| {
        format!(
            "port {port} is in use by {} ({}), unless that is its own",
            held.process.comm, held.process.pid
        )
    }))
}

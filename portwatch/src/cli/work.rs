//! `portwatch session`, `sessions`, `note`, `notes`

use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};

use super::{args, exit::Exit, failure::Failure, session::Session};
use crate::{
    access::AccessError,
    coordinate::fit,
    render,
    wire::coordinate::{EndRequest, FilesRequest, NoteRequest, NotesQuery, SessionsQuery, StartRequest},
};

pub(super) fn run(args: &args::Work, session: &mut Session<'_>) -> Result<Exit, Failure> {
    match &args.what {
        args::WorkWhat::Start(start) => begin(start, session),
        args::WorkWhat::End(end) => finish(end, false, session),
        args::WorkWhat::Abandon(end) => finish(end, true, session),
        args::WorkWhat::Claim(claim) => files((&claim.files, &claim.whose), (claim.force, false), session),
        args::WorkWhat::Release(release) => files((&release.files, &release.whose), (false, true), session),
    }
}

fn begin(args: &args::StartWork, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let here = here()?;
    let request = StartRequest {
        purpose: args.purpose.clone(),
        agent: args.who.agent.clone(),
        root: Some(text(&here)?),
        files: paths(&here, &args.files)?,
        force: args.force,
    };
    let answer = session.order(&request)?;
    if args.quiet && !session.settings.json.value {
        writeln!(session.out, "{}", answer.session.id)?;
    } else {
        session.answer(&answer, |out, answer, look| render::session(out, "Started", answer, look))?;
    }
    Ok(Exit::Yes)
}

fn finish(args: &args::EndWork, abandon: bool, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let request = EndRequest {
        session: args.whose.session.clone(),
        agent: args.whose.agent.clone(),
        abandon,
        outcome: args.outcome.clone(),
    };
    let answer = session.order(&request)?;
    let verb = if abandon { "Abandoned" } else { "Ended" };
    session.answer(&answer, |out, answer, look| render::session(out, verb, answer, look))?;
    Ok(Exit::Yes)
}

fn files(
    (files, whose): (&[PathBuf], &args::As),
    (force, release): (bool, bool),
    session: &mut Session<'_>,
) -> Result<Exit, Failure> {
    let request = FilesRequest {
        session: whose.session.clone(),
        agent: whose.agent.clone(),
        files: paths(&here()?, files)?,
        force,
        release,
    };
    let answer = session.order(&request)?;
    let named = request.files.iter().collect::<BTreeSet<_>>().len();
    let verb = match (release, answer.not_claimed.len() < named) {
        (false, _) => "Claimed files for",
        (true, true) => "Released files of",
        (true, false) => "Released no file of",
    };
    session.answer(&answer, |out, answer, look| render::session(out, verb, answer, look))?;
    Ok(if answer.not_claimed.is_empty() { Exit::Yes } else { Exit::No })
}

pub(super) fn list(args: &args::Works, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let answer = session.order(&SessionsQuery { all: args.all, limit: args.most.limit })?;
    session.answer(&answer, |out, answer, look| render::sessions(out, answer, args.files, look))?;
    Ok(if answer.sessions.is_empty() { Exit::No } else { Exit::Yes })
}

pub(super) fn note(args: &args::Note, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let request = NoteRequest {
        session: args.whose.session.clone(),
        agent: args.whose.agent.clone(),
        kind: args.kind.clone(),
        text: args.text.clone(),
    };
    let answer = session.order(&request)?;
    session.answer(&answer, render::note_written)?;
    Ok(Exit::Yes)
}

pub(super) fn notes(args: &args::Notes, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let query = NotesQuery {
        session: args.whose.session.clone(),
        agent: args.whose.agent.clone(),
        kind: args.kind.clone(),
        limit: args.most.limit,
    };
    let answer = session.order(&query)?;
    session.answer(&answer, render::notes)?;
    Ok(if answer.notes.is_empty() { Exit::No } else { Exit::Yes })
}

fn here() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|error| {
        AccessError::NotSeen {
            what: format!("the working directory is not known ({error})"),
            remedy: "go to a directory that exists".to_owned(),
        }
        .into()
    })
}

fn text(path: &Path) -> Result<String, Failure> {
    // With slashes on every system, and no last one of a drive: claims on files are compared as texts.
    let slashes = |text: &str| {
        if cfg!(windows) { text.replace('\\', "/").trim_end_matches('/').to_owned() } else { text.to_owned() }
    };
    path.to_str().map(slashes).ok_or_else(|| {
        AccessError::Usage(format!("{} is no UTF-8, which claims on files need", path.display())).into()
    })
}

fn paths(here: &Path, files: &[PathBuf]) -> Result<Vec<String>, Failure> {
    let paths = files.iter().map(|file| text(&plain(&here.join(file)))).collect::<Result<Vec<_>, _>>()?;
    // The daemon says the same of what reaches it, which a request that is larger does not.
    fit(&paths).map_err(|denial| {
        AccessError::Usage(format!("{denial}; claim their directory, or give several orders"))
    })?;
    Ok(paths)
}

/// Without `.`, `..` and doubled slashes. By the letters alone: nothing is looked up, the file need not be there yet.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn paths_are_meant_from_where_one_stands() {
        let files: Vec<PathBuf> =
            ["a.ts", "./b//c", "../d", "/e/./f/", "../../../.."].iter().map(Into::into).collect();
        let found = paths(Path::new("/p/q"), &files).unwrap();
        assert_eq!(found, ["/p/q/a.ts", "/p/q/b/c", "/p/d", "/e/f", "/"]);
    }
}

#[cfg(all(test, windows))]
mod tests {
    use super::*;

    #[test]
    fn paths_are_meant_from_where_one_stands_and_have_slashes() {
        let files: Vec<PathBuf> = ["a.ts", r".\b\\c", r"..\d", r"D:\e\.\f\", r"..\..\..\..", "x/y"]
            .iter()
            .map(Into::into)
            .collect();
        let found = paths(Path::new(r"C:\p\q"), &files).unwrap();
        assert_eq!(found, ["C:/p/q/a.ts", "C:/p/q/b/c", "C:/p/d", "D:/e/f", "C:", "C:/p/q/x/y"]);
        for path in found {
            crate::coordinate::path(&path).unwrap();
        }
    }
}

//! `portwatch env`

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{args, exit::Exit, failure::Failure, project::Here, session::Session};
use crate::{platform::files, wire::claims::Claim};

/// Where compose looks, in its order (docs.docker.com/compose/intro/compose-application-model).
const COMPOSE_FILES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// Larger ones are not read.
const LARGEST: u64 = 1 << 20;

pub(super) fn run(args: &args::Env, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let here = Here::find()?;
    let patterns = if args.patterns.is_empty() {
        vec![here.name.clone().ok_or(Failure::NoProject)?]
    } else {
        args.patterns.clone()
    };
    let mut claims = session.access()?.claims(&patterns)?.claims;
    let elsewhere = !claims.is_empty();
    if args.patterns.is_empty() {
        // Of a linked worktree its own, elsewhere those of the main one.
        claims.retain(|claim| claim.context.as_deref() == here.context());
    }
    if claims.is_empty() {
        // What is read by a shell or written to a file is empty then, which shows nobody why.
        session.warn(&nothing(args, &here, elsewhere));
    }
    let variables = variables(&claims, false);
    let format = if session.settings.json.value { args::EnvFormat::Json } else { args.format };
    let out = &mut *session.out;
    match format {
        args::EnvFormat::Dotenv => {
            for (name, port) in &variables {
                writeln!(out, "{name}={port}")?;
            }
        }
        args::EnvFormat::Shell => {
            for (name, port) in &variables {
                writeln!(out, "export {name}={port}")?;
            }
        }
        args::EnvFormat::Json => {
            let map: BTreeMap<_, _> = variables.iter().cloned().collect();
            crate::render::json(out, &map)?;
        }
        args::EnvFormat::Compose => {
            if claims.is_empty() {
                // An empty mapping: a file without it would be wrong.
                writeln!(out, "services: {{}}")?;
                return Ok(Exit::No);
            }
            writeln!(out, "services:")?;
            let from = std::env::current_dir().unwrap_or_default();
            let file = [Some(from), here.root].into_iter().flatten().find_map(|at| compose_file(&at));
            let mut services = file.as_deref().map(services).unwrap_or_default();
            if services.is_empty() {
                // One service a stack: contexts and projects that share it share its entry.
                services = claims.iter().map(|claim| claim.stack.clone()).collect();
            }
            for service in services {
                writeln!(out, "  {}:", yaml_key(&service))?;
                writeln!(out, "    environment:")?;
                for (name, port) in &variables {
                    writeln!(out, "      {name}: \"{port}\"")?;
                }
            }
        }
    }
    Ok(if claims.is_empty() { Exit::No } else { Exit::Yes })
}

/// Why there is nothing, and what to type. `elsewhere`: other worktrees of the project have claims.
fn nothing(args: &args::Env, here: &Here, elsewhere: bool) -> String {
    let quote = if cfg!(windows) { '"' } else { '\'' };
    if !args.patterns.is_empty() {
        let patterns = args.patterns.join(" or ");
        return format!(
            "nothing is claimed that {patterns} means; portwatch find {quote}*{quote} shows what is claimed"
        );
    }
    let project = here.name.as_deref().unwrap_or_default();
    let claim = if here.config.stacks.is_empty() {
        format!("portwatch claim api claims a port for {project}:api")
    } else {
        let file = here.file.as_deref().and_then(Path::file_name).unwrap_or_default();
        format!("portwatch claim claims what {} names", file.to_string_lossy())
    };
    let all = format!("portwatch env {quote}{project}:*{quote} prints those of all its worktrees");
    match here.context() {
        Some(worktree) if elsewhere => {
            format!("nothing is claimed for worktree {worktree} of project {project}; {claim}, {all}")
        }
        None if elsewhere => {
            format!("nothing is claimed for the main worktree of project {project}; {claim}, {all}")
        }
        _ => format!("nothing is claimed for project {project}; {claim}"),
    }
}

/// `PORT_WEB=8081` for each claim, `PORT_WEB_2` for its second port; with the project's name in it where two
/// claims would share one. `single`: one claim with one port is just `PORT`.
pub(super) fn variables(claims: &[Claim], single: bool) -> Vec<(String, u16)> {
    let shared = |claim: &Claim| claims.iter().filter(|other| other.stack == claim.stack).count() > 1;
    let mut variables = Vec::new();
    for claim in claims {
        let mut base = String::from("PORT");
        if shared(claim) {
            base = format!("{base}_{}", upper(&claim.project));
        }
        base = format!("{base}_{}", upper(&claim.stack));
        if let Some(context) = claim.context.as_ref().filter(|_| shared(claim)) {
            base = format!("{base}_{}", upper(context));
        }
        let mut last = None;
        for port in &claim.ports {
            if last.replace(port.slot) == Some(port.slot) {
                continue;
            }
            let name = if port.slot == 0 { base.clone() } else { format!("{base}_{}", port.slot + 1) };
            variables.push((name, port.port));
        }
    }
    if let (true, [(name, _)]) = (single, variables.as_mut_slice()) {
        "PORT".clone_into(name);
    }
    variables
}

/// The project's compose file, as compose looks for it; `None` too where it cannot be read or is no such file.
fn compose_file(directory: &Path) -> Option<String> {
    let path = COMPOSE_FILES.iter().map(|file| directory.join(file)).find(|path| path.is_file())?;
    files::text(&path, LARGEST).ok()
}

/// The services of a compose file in block style; none of one that is written otherwise. Compose refuses a service that has
/// nothing but an environment, so no other may be named.
fn services(file: &str) -> BTreeSet<String> {
    let content = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let depth = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let key = |line: &str| {
        let (key, _) = line.split_once(':')?;
        let key = key.trim().trim_matches(['"', '\'']);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        (!key.is_empty() && key.chars().all(plain)).then(|| key.to_owned())
    };
    let begins = |line: &&str| depth(line) == 0 && key(line).as_deref() == Some("services");
    let block = file.lines().filter(content).skip_while(|line| !begins(line)).skip(1);
    let mut within = block.take_while(|line| depth(line) > 0).peekable();
    let first = within.peek().map_or(0, |line| depth(line));
    within.filter(|line| depth(line) == first).filter_map(key).collect()
}

/// A name that YAML reads as that text and as nothing else: `no` and `1.5` would be other things.
fn yaml_key(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && !matches!(name, "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null");
    if plain { name.to_owned() } else { format!("\"{name}\"") }
}

/// Letters, digits and `_` are what a variable's name may have.
fn upper(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::services;

    #[test]
    fn the_services_of_a_compose_file_are_what_stands_directly_below_that_word() {
        for (file, expected) in [
            (
                "services:\n  web:\n    image: nginx # api: none\n    environment:\n      api: x\n  \"no\":\n    build: .\n",
                "no web",
            ),
            (
                "# services:\nversion: '3.8'\nx-base: &base\n  api:\n    image: a\nservices:\n\n# web:\n    a.b_c-1: &one\n        <<: *base\n    two: *one\nvolumes:\n  data:\n",
                "a.b_c-1 two",
            ),
            ("services:\r\n  web:\r\n    image: a\r\n", "web"),
            ("services: {web: {image: a}}\n", ""),
            ("services:\n  'x y': {}\n  [odd]: {}\n", ""),
            ("services:\n", ""),
            ("volumes:\n  services:\n    web:\n", ""),
            ("", ""),
        ] {
            let found: Vec<String> = services(file).into_iter().collect();
            assert_eq!(found.join(" "), expected, "{file}");
        }
    }
}

//! What a listener of a known project is called. `docs/registry.md` says the same in the same order.

use super::{Name, ProjectConfig, slug};
use crate::model::{CommandLine, Port, Process};

/// The part of a name that stands for a whole project.
pub const WHOLE: &str = "app";
/// How far up the lineage a script runner is looked for.
const STEPS: usize = 4;

/// The name of a listener of `process` on `port`; `None` when the process works in no project, or its name says
/// nothing.
pub fn auto_name(process: &Process, port: Port, config: &ProjectConfig) -> Option<Name> {
    let project = process.project.as_ref()?;
    let first = config.project.clone().or_else(|| slug(&project.name))?;
    let command = process.command.as_ref().map(ToString::to_string).unwrap_or_default();
    let stack = config
        .stack_of(&command, port)
        .map(str::to_owned)
        .or_else(|| script(process))
        .or_else(|| program(process))
        .and_then(|stack| slug(&stack))
        .filter(|stack| *stack != first)
        .unwrap_or_else(|| WHOLE.to_owned());
    let context = project
        .worktree
        .as_ref()
        .filter(|worktree| config.worktree_context && worktree.name != "main")
        .map(|worktree| worktree.name.as_str());
    Name::of(&first, &stack, context)
}

/// `dev` of `npm run dev` somewhere above.
fn script(process: &Process) -> Option<String> {
    process.lineage.iter().take(STEPS).find_map(|ancestor| {
        let line = ancestor.command.as_ref()?.args.join(" ");
        let mut words = line.split_whitespace();
        let runner = base(words.next()?);
        // `node /usr/bin/npm run dev` before npm has given itself a title.
        let runner = if runner == "node" { base(words.next()?) } else { runner };
        let runner = runner.trim_end_matches(".js").trim_end_matches("-cli").trim_end_matches(".cjs");
        if !matches!(runner, "npm" | "pnpm" | "yarn" | "bun") {
            return None;
        }
        let mut words = words.filter(|word| !word.starts_with('-'));
        match words.next()? {
            "run" | "run-script" => words.next().map(str::to_owned),
            word @ ("start" | "dev" | "serve" | "test" | "preview") => Some(word.to_owned()),
            _ => None,
        }
    })
}

/// What runs: the script or module of an interpreter, else the program.
fn program(process: &Process) -> Option<String> {
    let name = process.command.as_ref().and_then(|command| command.args.first()).map(|arg| base(arg));
    let interpreter = name.or(Some(process.comm.as_str()))?;
    let script = process.command.as_ref().and_then(|command| interpreted(interpreter, command));
    if let Some(script) = script {
        return Some(script);
    }
    let exe =
        process.exe.as_ref().and_then(|exe| exe.file_name()).map(|name| name.to_string_lossy().into_owned());
    exe.or_else(|| Some(interpreter.to_owned()))
}

fn interpreted(interpreter: &str, command: &CommandLine) -> Option<String> {
    let python = interpreter.starts_with("python") || interpreter.starts_with("pypy");
    let others = ["node", "nodejs", "deno", "bun", "ruby", "php", "perl", "tsx", "ts-node"];
    if !python && !others.contains(&interpreter) {
        return None;
    }
    let mut args = command.args.iter().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-m" if python => return args.next().cloned(),
            // Code on the command line has no name.
            "-c" | "-e" | "--eval" | "-p" | "--print" => return None,
            "-X" | "-W" | "-r" | "--require" | "--import" | "--loader" => {
                args.next();
            }
            "run" if interpreter == "deno" || interpreter == "bun" => {}
            flag if flag.starts_with('-') => {}
            script => return stem(script),
        }
    }
    None
}

/// `api` of `src/api.py`; of a file whose name says nothing, that of its directory.
fn stem(script: &str) -> Option<String> {
    let file = base(script);
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    if !matches!(stem, "index" | "main" | "__main__") {
        return Some(stem.to_owned());
    }
    let directory = script.rsplit_once('/')?.0;
    Some(base(directory).to_owned())
        .filter(|name| !matches!(name.as_str(), "" | "." | ".." | "src" | "dist" | "lib"))
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::auto_name;
    use crate::{
        model::{Ancestor, CommandLine, Evidence, Port, Process, ProcessId, Project, ProjectKind, Worktree},
        registry::ProjectConfig,
    };

    fn line(words: &str) -> CommandLine {
        CommandLine { args: words.split(' ').map(str::to_owned).collect(), truncated: false }
    }

    fn process(command: &str, parents: &[&str]) -> Process {
        let exe = command.split(' ').next().unwrap();
        Process {
            id: ProcessId { pid: 7, start_ticks: 1 },
            started: None,
            comm: "comm".to_owned(),
            command: Some(line(command)),
            exe: Some(exe.into()),
            cwd: None,
            uid: Some(1000),
            user: None,
            cgroup: None,
            unit: None,
            container: None,
            unproven: None,
            lineage: parents
                .iter()
                .map(|p| Ancestor { pid: 1, start_ticks: None, comm: String::new(), command: Some(line(p)) })
                .collect(),
            project: Some(Project {
                root: "/code/shop".into(),
                name: "@acme/Shop".to_owned(),
                kind: ProjectKind::Node,
                worktree: None,
                evidence: Evidence::Scan,
            }),
            evidence: Evidence::Scan,
        }
    }

    fn name(process: &Process, config: &str) -> String {
        let config = ProjectConfig::parse(config).unwrap();
        auto_name(process, Port::new(8080).unwrap(), &config).unwrap().to_string()
    }

    #[test]
    fn a_listener_is_called_by_its_script_or_program() {
        for (command, parents, expected) in [
            ("node server.js", &["npm run dev", "bash"][..], "acme-shop:dev"),
            ("node /x/node_modules/.bin/vite", &["sh -c vite", "npm run web:dev"], "acme-shop:web-dev"),
            ("node server.js", &["node /usr/bin/npm start"], "acme-shop:start"),
            ("node server.js", &["yarn dev --port 3000"], "acme-shop:dev"),
            ("node server.js", &["npm install"], "acme-shop:server"),
            ("node --inspect server.js", &["bash"], "acme-shop:server"),
            ("node api/index.js", &[], "acme-shop:api"),
            ("node src/index.js", &[], "acme-shop:src-index.js"),
            ("python3 -u -m http.server 8080", &[], "acme-shop:http.server"),
            ("/usr/bin/python3.11 -X dev tools/api.py", &[], "acme-shop:api"),
            ("python3 -c pass", &[], "acme-shop:python3"),
            ("/code/shop/target/debug/worker --fast", &[], "acme-shop:worker"),
            ("target/debug/acme-shop", &[], "acme-shop:app"),
        ] {
            // A nameless script leaves the program.
            let expected = expected.replace("src-index.js", "node");
            assert_eq!(name(&process(command, parents), ""), expected, "{command}");
        }
    }

    #[test]
    fn the_project_file_comes_first_and_a_worktree_last() {
        let mut process = process("node server.js", &["npm run dev"]);
        assert_eq!(name(&process, "project = 'mall'\n[stacks.web]\nport = 8080"), "mall:web");
        assert_eq!(name(&process, "[ranges]\nweb = '8000-8099'"), "acme-shop:web");
        assert_eq!(name(&process, "[stacks.api]\ncommand = 'server.js'"), "acme-shop:api");
        let tree = Worktree { name: "feature/x".to_owned(), root: "/w".into(), branch: None };
        process.project.as_mut().unwrap().worktree = Some(tree);
        assert_eq!(name(&process, ""), "acme-shop:dev:feature-x");
        assert_eq!(name(&process, "context = 'none'"), "acme-shop:dev");
    }

    #[test]
    fn a_process_without_a_project_has_no_name() {
        let mut process = process("node server.js", &[]);
        process.project = None;
        assert_eq!(auto_name(&process, Port::new(1).unwrap(), &ProjectConfig::default()), None);
    }
}

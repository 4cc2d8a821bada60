//! Commands over a test double, help as users see it, and the words of usage errors.

use std::{cell::RefCell, fmt::Write as _, rc::Rc};

use clap::{CommandFactory, FromArgMatches};

use super::{
    args::{Cli, Command, EVENT_TYPES, expand},
    exit::Exit,
    failure::Failure,
    log, ls,
    session::Session,
    settings::{Settings, Surroundings},
    status, watch, who,
};
use crate::{
    access::{Access, AccessError, Coordination, Registry},
    model::EventKind,
    render::Look,
    wire::{
        Doctor, Event, List, ListQuery, Log, LogQuery, LogSummary, SourceInfo, Status, Who, WhoQuery,
        WhoTarget,
        claims::{
            AllowList, AllowRequest, ClaimRequest, Claimed, Claims, CleanupRequest, HealthReport,
            ReleaseRequest, Released, Rogue, RogueQuery,
        },
    },
};

/// Answers `who` with the states given, everything else with nothing, and writes down what it was asked.
#[derive(Default)]
struct Double {
    states: Vec<&'static str>,
    asked: Rc<RefCell<Vec<String>>>,
}

fn source() -> SourceInfo {
    SourceInfo { source: "fake".to_owned(), daemon: true, note: None, degradations: Vec::new() }
}

fn event(message: &str) -> Event {
    serde_json::from_value(serde_json::json!({
        "id": 1, "time": "2026-03-02T01:26:30Z", "type": "note", "evidence": "kernel", "message": message,
        "count": 1,
    }))
    .unwrap()
}

fn nothing<T>() -> Result<T, AccessError> {
    Err(AccessError::Refused { what: "nothing is claimed".to_owned(), remedy: "claim it".to_owned() })
}

impl Coordination for Double {
    fn coordinate(
        &self,
        place: &crate::wire::coordinate::Place,
        order: &serde_json::Value,
    ) -> Result<serde_json::Value, AccessError> {
        self.asked.borrow_mut().push(format!("{} {order}", place.path));
        nothing()
    }

    fn follow_messages(
        &self,
        query: &crate::wire::coordinate::FollowQuery,
        _: &mut dyn FnMut(crate::wire::coordinate::Followed) -> bool,
    ) -> Result<(), AccessError> {
        self.asked.borrow_mut().push(format!("{query:?}"));
        nothing()
    }
}

impl Registry for Double {
    fn claims(&self, patterns: &[String]) -> Result<Claims, AccessError> {
        self.asked.borrow_mut().push(patterns.join(" "));
        let time = "2026-03-02T01:26:30Z".parse().unwrap();
        Ok(Claims { schema: 1, time, source: source(), claims: Vec::new(), unclaimed: Vec::new() })
    }
    fn claim(&self, request: &ClaimRequest) -> Result<Claimed, AccessError> {
        self.asked.borrow_mut().push(format!("{request:?}"));
        nothing()
    }
    fn release(&self, request: &ReleaseRequest) -> Result<Released, AccessError> {
        self.asked.borrow_mut().push(format!("{request:?}"));
        nothing()
    }
    fn cleanup(&self, request: &CleanupRequest) -> Result<Released, AccessError> {
        self.asked.borrow_mut().push(format!("{request:?}"));
        nothing()
    }
    fn rogue(&self, _: &RogueQuery) -> Result<Rogue, AccessError> {
        nothing()
    }
    fn allowed(&self) -> Result<AllowList, AccessError> {
        nothing()
    }
    fn allow(&self, _: &AllowRequest) -> Result<AllowList, AccessError> {
        nothing()
    }
    fn report_health(&self, _: &HealthReport) -> Result<(), AccessError> {
        nothing()
    }
}

impl Access for Double {
    fn who(&self, query: &WhoQuery) -> Result<Who, AccessError> {
        let targets = self.states.iter().zip(&query.targets).map(|(state, asked)| WhoTarget {
            asked: asked.to_string(),
            port: None,
            protocol: None,
            state: (*state).to_owned(),
            reason: None,
            sockets: Vec::new(),
            other_addresses: Vec::new(),
            elsewhere: Vec::new(),
            published: Vec::new(),
            last: Vec::new(),
            refused: Vec::new(),
            refused_before: false,
            traffic: None,
            claim: None,
            verdict: serde_json::from_value(serde_json::json!({ "sentence": "Nobody knows." })).unwrap(),
        });
        let time = "2026-03-02T01:26:30Z".parse().unwrap();
        Ok(Who { schema: 1, time, source: source(), netns: None, targets: targets.collect() })
    }
    fn list(&self, query: &ListQuery) -> Result<List, AccessError> {
        // Of the machine, where it has namespaces.
        let query = ListQuery { netns: query.netns.map(|_| 1), ..query.clone() };
        self.asked.borrow_mut().push(format!("{query:?}"));
        let time = "2026-03-02T01:26:30Z".parse().unwrap();
        Ok(List {
            schema: 1,
            time,
            source: source(),
            sockets: Vec::new(),
            hidden: 0,
            netns: None,
            elsewhere: 0,
            missing: None,
            time_wait: None,
        })
    }
    fn log(&self, query: &LogQuery) -> Result<Log, AccessError> {
        self.asked.borrow_mut().push(format!("{query:?}"));
        Ok(Log { schema: 1, source: source(), events: Vec::new(), truncated: false })
    }
    fn summary(&self, _: &LogQuery) -> Result<LogSummary, AccessError> {
        Err(AccessError::NoDaemon { what: "no journal".to_owned(), remedy: "start the daemon".to_owned() })
    }
    fn follow(
        &self,
        query: &LogQuery,
        backlog: bool,
        _: Option<&mut dyn FnMut(SourceInfo)>,
        each: &mut dyn FnMut(Event) -> bool,
    ) -> Result<(), AccessError> {
        self.asked.borrow_mut().push(format!("backlog {backlog} limit {:?}", query.limit));
        let mut number = 0;
        while each(event(&format!("number {number}"))) {
            number += 1;
            assert!(number < 100, "follow was not ended");
        }
        Ok(())
    }
    fn status(&self) -> Result<Status, AccessError> {
        Err(AccessError::NotSeen {
            what: "the socket is another user's".to_owned(),
            remedy: "ask them".to_owned(),
        })
    }
    fn metrics(&self) -> Result<crate::wire::metrics::Metrics, AccessError> {
        Err(AccessError::Internal("nothing".to_owned()))
    }
    fn doctor(&self) -> Result<Doctor, AccessError> {
        Err(AccessError::Internal("nothing".to_owned()))
    }
}

struct Outcome {
    result: Result<Exit, Failure>,
    text: String,
    asked: String,
}

/// A writer that is closed after so many bytes.
struct Pipe(usize, Vec<u8>);

impl std::io::Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.1.len() >= self.0 {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        self.1.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The command line, without the variables of whoever runs the tests.
pub(super) fn bare() -> clap::Command {
    Cli::command().mut_args(|arg| arg.env(clap::builder::Resettable::<clap::builder::OsStr>::Reset))
}

/// What these words say and set, without a file and an environment.
pub(super) fn parsed(words: &str) -> (Cli, Settings) {
    let words = std::iter::once("portwatch").chain(words.split(' '));
    let matches = bare().try_get_matches_from(expand(words.map(Into::into).collect())).unwrap();
    let cli = Cli::from_arg_matches(&matches).unwrap();
    let around = Surroundings { env: &|_| None, root: false };
    let settings = Settings::resolve(&cli.global, None, &matches, &around).unwrap();
    (cli, settings)
}

fn run_into(words: &str, states: &[&'static str], out: &mut Pipe) -> (Result<Exit, Failure>, String) {
    let (cli, settings) = parsed(words);
    let asked = Rc::new(RefCell::new(Vec::new()));
    let double = Double { states: states.to_vec(), asked: Rc::clone(&asked) };
    let look = Look {
        width: None,
        color: false,
        terminal: false,
        verbose: false,
        now: "2026-03-02T01:26:30Z".parse().unwrap(),
        zone: jiff::tz::TimeZone::UTC,
        home: None,
    };
    let mut session = Session::with(settings, out, look, Box::new(double));
    let result = match &cli.command {
        Command::Who(args) => who::run(args, &mut session),
        Command::Ls(args) => ls::run(args, &mut session),
        Command::Log(args) => log::run(args, &mut session),
        Command::Watch(args) => watch::run(args, &mut session),
        Command::Status => status::run(&mut session),
        other => panic!("not for the double: {other:?}"),
    };
    drop(session);
    let asked = asked.borrow().join("\n");
    (result, asked)
}

fn run(words: &str, states: &[&'static str]) -> Outcome {
    let mut out = Pipe(usize::MAX, Vec::new());
    let (result, asked) = run_into(words, states, &mut out);
    Outcome { result, text: String::from_utf8(out.1).unwrap(), asked }
}

#[test]
fn of_several_targets_the_worst_wins() {
    let exit = |states: &[&'static str]| run("who 1 2", states).result.unwrap();
    assert_eq!(exit(&["held", "held"]), Exit::Yes);
    assert_eq!(exit(&["held", "free"]), Exit::No);
    assert_eq!(exit(&["unknown", "free"]), Exit::NotSeen);
    assert_eq!(exit(&["unknown", "ambiguous"]), Exit::Ambiguous);
    assert_eq!(exit(&["held", "a word of tomorrow"]), Exit::NotSeen);
}

#[test]
fn nothing_found_is_no_and_failures_keep_their_codes() {
    assert_eq!(run("ls", &[]).result.unwrap(), Exit::No);
    assert_eq!(run("log", &[]).result.unwrap(), Exit::No);
    assert_eq!(run("log --summary", &[]).result.unwrap_err().exit(), Exit::NoDaemon);
    assert_eq!(run("status", &[]).result.unwrap_err().exit(), Exit::NotSeen);
    for usage in ["who 70000", "log --since yesterdayish", "log --port x", "ls --port 9-5"] {
        let outcome = run(usage, &["held"]);
        assert_eq!(outcome.result.unwrap_err().exit(), Exit::Usage, "{usage}");
        assert_eq!(outcome.text, "", "{usage}");
    }
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "network namespaces are of Linux alone")]
fn flags_become_the_query() {
    let ls = run("ls -u --port 3000-3999 --user 33 --project web --sort since --all", &[]).asked;
    let log = run(
        "log --since 1h --until now --type bind,refused --type gap --port 1,2 --pid 7 --filter *x* -n 0 --reverse",
        &[],
    )
    .asked;
    insta::assert_snapshot!(format!("{ls}\n{log}"));
}

#[test]
fn following_shows_the_last_ten_first_unless_told_otherwise() {
    for (words, asked) in [
        ("log -f", "backlog true limit Some(10)"),
        ("log -f --since 1h", "backlog true limit None"),
        ("log -f -n 3", "backlog true limit Some(3)"),
        ("watch", "backlog false limit None"),
    ] {
        let mut out = Pipe(200, Vec::new());
        assert_eq!(run_into(words, &[], &mut out).1, asked, "{words}");
    }
}

#[test]
fn watch_ends_at_its_limit_and_writes_one_object_a_line() {
    let outcome = run("watch --json --limit 3", &[]);
    assert_eq!(outcome.result.unwrap(), Exit::Yes);
    let lines: Vec<serde_json::Value> =
        outcome.text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2]["message"], "number 2");
}

#[test]
fn a_closed_pipe_ends_following() {
    let mut out = Pipe(1, Vec::new());
    let failure = run_into("watch", &[], &mut out).0.unwrap_err();
    assert!(matches!(failure, Failure::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe));
}

#[test]
fn the_words_of_type_are_the_vocabulary() {
    assert_eq!(EVENT_TYPES.to_vec(), EventKind::ALL.map(EventKind::as_str).to_vec());
}

#[test]
fn the_parser_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn a_bare_port_means_who() {
    let expanded = |words: &[&str]| expand(words.iter().map(Into::into).collect());
    assert_eq!(expanded(&["portwatch", "3100"]), ["portwatch", "who", "3100"]);
    assert_eq!(expanded(&["portwatch", "[::1]:53/udp", "80"]), ["portwatch", "who", "[::1]:53/udp", "80"]);
    for place in ["3100/TCP", "http://localhost:3100/x", "HTTPS://localhost"] {
        assert_eq!(expanded(&["portwatch", place]), ["portwatch", "who", place]);
    }
    for words in
        [&["portwatch", "ls"][..], &["portwatch", "--json", "3100"], &["portwatch"], &["portwatch", ":"]]
    {
        assert_eq!(expanded(words), words);
    }
}

/// Every command's help, at 80 columns; what a change does to it is seen in one place.
#[test]
fn help_of_every_command() {
    let mut all = String::new();
    let mut help = |words: &[&str]| {
        let command = Cli::command().term_width(80);
        let error = command.try_get_matches_from(words).unwrap_err();
        write!(all, "$ {}\n{}\n", words.join(" "), error.render()).unwrap();
    };
    help(&["portwatch", "-h"]);
    help(&["portwatch", "--help"]);
    for sub in Cli::command().get_subcommands() {
        help(&["portwatch", sub.get_name(), "-h"]);
    }
    help(&["portwatch", "who", "--help"]);
    for line in all.lines() {
        // Examples are written by hand and not wrapped.
        assert!(line.chars().count() <= 80, "{line}");
    }
    // Shells, paths and privileges are others there.
    let name = if cfg!(windows) { "help_of_every_command_on_windows" } else { "help_of_every_command" };
    insta::assert_snapshot!(name, all);
}

#[test]
fn words_that_do_not_exist_are_refused_with_the_nearest_that_does() {
    let mut all = String::new();
    for words in [
        "",
        "whoo 3100",
        "who",
        "ls --projet x",
        "ls --tcp --udp",
        "ls --sort prot",
        "log --type refsed",
        "log --pid 0",
        "log --limit x",
        "log --follow --until now",
        "watch --limit 0",
        "daemon --retention-days 0",
        "completions bsh",
        "ls --color sometimes",
    ] {
        let given = std::iter::once("portwatch").chain(words.split_whitespace());
        let error = bare().term_width(80).try_get_matches_from(given).unwrap_err();
        let text = error.render().to_string();
        let text = if words.is_empty() { text.lines().next().unwrap_or("").to_owned() } else { text };
        write!(all, "$ portwatch {words}\n{text}\n").unwrap();
        assert!(error.use_stderr());
    }
    insta::assert_snapshot!(all);
}

#[test]
fn every_failure_says_what_to_do() {
    let words = |words: &str| run(words, &["held"]).result.unwrap_err().to_string();
    let all: Vec<String> = [
        "who 70000",
        "who 0",
        "who 3100/sctp",
        "who pid:x",
        "who HELLO",
        "log --since yesterdayish",
        "log --since now --until 1h",
        "log --since 99999y",
        "log --port http",
        "ls --port 9-5",
        "log --summary",
        "status",
    ]
    .map(words)
    .to_vec();
    insta::assert_snapshot!(all.join("\n"));
}

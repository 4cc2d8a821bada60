//! Which end-to-end tests run with each source that looks at tables, and why the others do not.
//!
//! The rule: a test in which the source has a say is in an `each_source!` list. Every other one has a row below, by file or by
//! name; a row that no test needs any more is an error.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{collections::BTreeMap, fs, path::Path};

/// Why a test is not run with each source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It is about kernel programs, or about what a daemon sees that has them where it can: its source is the daemon's choice.
    Kernel,
    /// `free`, `wait`, `run`, `probe` and the trial of a claim look for themselves, whatever the source
    /// (`platforms::what_acts_looks_for_itself_whatever_the_source` holds that).
    LooksForItself,
    /// Which sockets there are has no part in it: coordination, the registry's rules, files, the daemon's life, the API.
    NoSockets,
    /// A reason of its own.
    Because(&'static str),
}
use Why::{Because, Kernel, LooksForItself, NoSockets};

/// File, test (`*`: all that have no row of their own), why.
const WITHOUT: &[(&str, &str, Why)] = &[
    ("background", "*", Kernel),
    (
        "addresses",
        "a_process_is_told_with_its_connections_and_where_they_lead",
        Because("lsof and netstat are not asked for connections"),
    ),
    (
        "addresses",
        "of_a_process_with_many_connections_all_are_counted_and_no_place_has_a_number_of_those_listed",
        Because("lsof and netstat are not asked for connections"),
    ),
    ("bad_input", "*", NoSockets),
    ("bounds", "*", Kernel),
    ("burst", "*", Kernel),
    ("channels", "*", NoSockets),
    ("clock", "*", Kernel),
    ("clock", "what_is_held_for_a_time_is_held_for_as_long_whatever_the_clock_is_set_to", NoSockets),
    ("containers", "*", Kernel),
    ("containers", "a_container_is_ended_by_the_signal_that_was_asked_for_and_stays_ended", LooksForItself),
    ("containers", "a_group_that_only_has_a_containers_name_stops_no_container", LooksForItself),
    ("crash", "*", Kernel),
    ("crash", "a_damaged_journal_is_set_aside_and_said", NoSockets),
    ("delegated", "*", Kernel),
    ("ends", "*", Kernel),
    ("free", "*", LooksForItself),
    ("freeing", "*", LooksForItself),
    ("freeing", "a_name_that_another_user_has_claimed_does_not_choose_who_is_ended", Kernel),
    ("ghosts", "*", Kernel),
    ("ghosts", "what_is_no_regular_file_is_not_waited_for_and_a_gigantic_one_is_not_read", NoSockets),
    ("hang", "*", NoSockets),
    ("harness", "*", NoSockets),
    ("health", "*", Kernel),
    ("held", "*", NoSockets),
    ("holders", "*", Kernel),
    ("kernel", "*", Kernel),
    ("kinds", "*", Kernel),
    ("lifecycle", "*", NoSockets),
    ("locks", "*", NoSockets),
    ("metrics", "*", NoSockets),
    ("metrics", "metrics_are_what_prometheus_reads_and_count_what_happened", Kernel),
    ("multi_agent", "*", NoSockets),
    ("namespaces", "*", Kernel),
    (
        "namespaces",
        "who_may_not_enter_a_namespace_is_told_so_and_not_that_it_is_empty",
        Because("a tool enters none, whoever asks: the test of a daemon that polls says so of each"),
    ),
    (
        "namespace_verdict",
        "*",
        Because(
            "a tool shows its own namespace and says so of others: the test of a daemon that polls has it",
        ),
    ),
    (
        "office",
        "a_claim_of_several_names_that_is_refused_one_says_what_was_done_and_what_not",
        LooksForItself,
    ),
    ("office", "one_user_gets_so_many_ports_and_others_still_get_theirs", NoSockets),
    ("office", "what_is_rogue_is_told_as_it_appears_to_whoever_watches_for_it", Kernel),
    ("office", "what_is_rogue_is_told_once_by_a_daemon_with_kernel_programs_too", Kernel),
    ("outage", "*", NoSockets),
    ("owners", "*", Kernel),
    (
        "platforms",
        "what_the_tools_list_is_what_the_scan_lists_but_for_what_they_cannot_know",
        Because("it compares all three"),
    ),
    (
        "platforms",
        "what_starts_the_daemon_from_boot_on_is_well_formed_and_runs_a_command_that_there_is",
        NoSockets,
    ),
    ("packaging", "*", Kernel),
    ("podman", "*", Kernel),
    ("policy", "*", NoSockets),
    (
        "policy",
        "the_users_file_says_what_is_claimed_and_from_where_and_the_project_has_the_first_word",
        Kernel,
    ),
    ("programs", "*", Kernel),
    ("refusals", "*", NoSockets),
    ("registry", "*", Kernel),
    ("registry", "what_is_wrong_is_said_in_a_sentence_and_nothing_is_changed", NoSockets),
    ("registry", "what_is_free_unowned_or_half_meant_is_said_so", NoSockets),
    ("registry", "a_project_file_that_cannot_be_read_is_not_none", NoSockets),
    ("run", "*", LooksForItself),
    ("running", "*", LooksForItself),
    ("sessions", "*", NoSockets),
    ("signals", "*", NoSockets),
    ("since", "*", Kernel),
    ("slow", "*", Kernel),
    ("sources", "*", NoSockets),
    ("story", "*", Kernel),
    ("systemd", "*", LooksForItself),
    ("terminal", "*", Kernel),
    ("terminal", "wait_has_one_line_of_progress_on_a_terminal_and_none_in_a_pipe", LooksForItself),
    ("terminal", "free_says_on_a_terminal_what_it_waits_for_and_nothing_of_that_in_a_pipe", LooksForItself),
    ("terminal", "run_says_in_whole_lines_that_a_program_is_not_ready_yet", LooksForItself),
    ("timewait", "*", Kernel),
    ("torture", "*", Kernel),
    (
        "torture",
        "a_polling_daemon_that_was_stopped_says_so_too",
        Because(
            "for what hundreds of processes have open lsof takes seconds, and rests five times as long; \
             polling::a_daemon_that_was_stopped_says_so_and_is_right_again has it with few",
        ),
    ),
    ("tutorial", "*", Kernel),
    (
        "unprivileged",
        "*",
        Because(
            "it is about what the daemon's own choice falls back on; owners.rs has a plain user with each source",
        ),
    ),
    (
        "unprivileged",
        "a_daemon_of_ones_own_on_a_tool_sees_what_is_its_users",
        Because("the same as that of the scan, with each tool"),
    ),
    ("unprivileged", "the_system_daemon_answers_everybody_and_obeys_only_its_own", Kernel),
    ("uring", "*", Kernel),
    (
        "verdict",
        "*",
        Because("the one about the tools holds the verdict against the same kernel with each of them"),
    ),
    ("visibility", "*", Kernel),
    ("wait", "*", LooksForItself),
    ("webhooks", "*", NoSockets),
    (
        "webhooks",
        "a_flood_from_the_kernel_fills_the_queue_to_its_bound_and_the_rest_is_told_and_in_the_log",
        Kernel,
    ),
    ("workers", "*", Kernel),
    ("zones", "*", Because("it asks each of them itself, and says which know interfaces")),
];

/// The tests of a file: those that stand there themselves, with their text, and those of its `each_source!` list.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tests {
    plain: Vec<(String, String)>,
    each: Vec<String>,
}

fn tests_of(text: &str) -> Tests {
    let mut tests = Tests::default();
    for part in text.split("\n#[test]\n").skip(1) {
        let from = part.find("fn ").unwrap() + 3;
        let name = part.get(from..).unwrap().split('(').next().unwrap();
        let body = part.split("\n}\n").next().unwrap();
        tests.plain.push((name.to_owned(), body.to_owned()));
    }
    for list in text.split("\neach_source![").skip(1) {
        let names = list.split(']').next().unwrap().split(',').map(str::trim);
        tests.each.extend(names.filter(|name| !name.is_empty()).map(str::to_owned));
    }
    tests
}

fn files() -> BTreeMap<String, Tests> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // In a folder lies what is for another system.
        if path.extension().is_some_and(|ending| ending == "rs") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            files.insert(name, tests_of(&fs::read_to_string(&path).unwrap()));
        }
    }
    files
}

fn why(file: &str, test: &str) -> Option<(usize, Why)> {
    let row = |name: &str| WITHOUT.iter().position(|(f, t, _)| *f == file && *t == name);
    let at = row(test).or_else(|| row("*"))?;
    WITHOUT.get(at).map(|(_, _, why)| (at, *why))
}

#[test]
fn every_test_runs_with_each_source_or_says_why_not() {
    let files = files();
    let mut needed = vec![false; WITHOUT.len()];
    for (file, tests) in &files {
        for (test, body) in &tests.plain {
            let Some((row, why)) = why(file, test) else {
                panic!(
                    "{file}::{test} is neither in an each_source! list nor has it a reason in {}",
                    file!()
                );
            };
            *needed.get_mut(row).unwrap() = true;
            // Who names the source means the source.
            assert!(
                !matches!(why, Kernel | LooksForItself) || !body.contains("\"--source\", \"scan\""),
                "{file}::{test} names a source, and its reason is {why:?}"
            );
        }
        for test in &tests.each {
            assert!(
                WITHOUT.iter().all(|(f, t, _)| (*f, *t) != (file, test)),
                "{file}::{test} runs with each source"
            );
        }
    }
    let stale: Vec<_> =
        WITHOUT.iter().zip(needed).filter(|(_, needed)| !needed).map(|(row, _)| row).collect();
    assert!(stale.is_empty(), "no test needs these rows: {stale:#?}");
    let each: usize = files.values().map(|tests| tests.each.len()).sum();
    assert!(each > 10, "{each} tests run with each source");
}

#[test]
fn tests_are_found_in_the_text_of_a_file() {
    let text = "\neach_source![a];\n\nfn a(source: Source) {}\n\n#[test]\n#[expect(x)]\nfn b() {\n    one();\n}\n\n#[test]\nfn c() {}\n";
    let names = |tests: &Tests| tests.plain.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let found = tests_of(text);
    assert_eq!((names(&found), found.each), (vec!["b".to_owned(), "c".to_owned()], vec!["a".to_owned()]));
}

//! Every scenario, on the kernel of this machine, with the family of hooks that every kernel has.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of tests")]

use portwatch::source::ebpf::{Family, HookChoice};
use portwatch_tests::{
    kernel::{Outcome, SCENARIOS, child, find, run},
    require_bpf,
};

fn on_this_kernel(name: &str) {
    if !require_bpf() {
        return;
    }
    let scenario = find(name).unwrap();
    let hooks = HookChoice::Only(Family::Stable);
    if !scenario.applies(hooks) {
        skipped(name, "the stable family does not see it; `cargo xtask vm` runs it with others");
        return;
    }
    let mut outcomes = Vec::new();
    run(&[scenario], hooks, |_, outcome| outcomes.push(outcome));
    match outcomes.pop().unwrap() {
        Ok(Outcome::Held) => {}
        Ok(Outcome::NotHere(why)) => skipped(name, &why),
        Err(why) => panic!("{why}"),
    }
}

#[expect(clippy::print_stderr, reason = "a skipped test is visible")]
fn skipped(name: &str, why: &str) {
    eprintln!("SKIPPED {name}: {why}");
}

macro_rules! on_this_kernel {
    ($($name:ident),+ $(,)?) => {
        $(#[test]
        fn $name() {
            on_this_kernel(stringify!($name));
        })+

        #[test]
        fn every_scenario_is_a_test_here() {
            let listed = [$(stringify!($name)),+];
            let all: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
            assert_eq!(listed.as_slice(), all);
        }
    };
}

on_this_kernel![
    every_fact_has_a_hook,
    a_listener_is_seen_from_bind_to_close,
    an_ipv6_listener_is_seen_with_its_address,
    a_udp_socket_is_seen_bound_and_closed_with_the_port_it_asked_for,
    a_listen_without_bind_has_its_port_and_is_known_as_kernel_chosen,
    a_listener_that_is_shut_down_is_unlistened_and_closed_later,
    an_mptcp_listener_is_one_tcp_listener_and_its_close_is_seen,
    an_mptcp_listener_that_is_shut_down_is_unlistened_and_not_closed,
    options_that_were_set_after_the_bind_are_read_from_the_sockets,
    two_listeners_that_share_a_port_are_seen_as_two,
    nothing_is_said_while_nothing_happens_to_ports,
    a_bind_to_a_taken_port_is_seen_refused,
    a_bind_to_a_foreign_address_is_seen_refused,
    a_second_bind_of_one_socket_is_seen_refused,
    a_listen_that_another_was_first_to_is_seen_refused,
    failures_that_are_not_about_ports_are_no_refusals,
    a_udp_socket_that_sends_without_a_bind_is_seen_with_its_port,
    a_bind_and_a_listen_through_io_uring_are_seen,
    a_bind_through_io_uring_that_is_refused_is_seen,
    binds_of_one_batch_of_io_uring_are_not_taken_for_each_other,
    what_is_shut_down_through_io_uring_is_seen,
    an_ipv6_bind_to_a_taken_port_is_seen_refused_with_its_address,
    an_mptcp_bind_to_a_taken_port_is_seen_refused_once,
    an_mptcp_socket_that_was_bound_and_never_listened_is_seen_closed,
    who_left_a_connection_in_time_wait_is_known,
    who_left_many_connections_is_known_of_each,
    a_connection_that_is_shut_down_is_left_and_one_that_is_reset_is_not,
    each_event_is_told_once,
    a_listener_by_calls_of_32_bits_is_found_and_the_next_one_seen,
    a_process_that_is_gone_at_once_is_known_with_its_command_line_and_exit_code,
    a_signal_that_is_raised_again_is_told_with_its_first_sender,
    facts_that_different_families_serve_are_told_once,
    what_is_lost_is_counted_exactly_and_followed_by_the_truth,
    the_daemon_says_who_listens_and_writes_down_how_it_went,
    status_and_doctor_name_what_the_hooks_do_not_see,
    a_machine_that_slept_is_told_as_a_gap,
];

/// Not a test of its own: what scenarios start as a program.
#[test]
fn role() {
    if let Some(played) = child::play() {
        std::process::exit(played.unwrap());
    }
}

//! The scenarios, and the table of them.

mod daemon;
mod family;
mod listener;
mod loss;
mod machine;
mod process;
mod refusal;

use portwatch::source::ebpf::Family;

use super::Scenario;

const FENTRY: Family = Family::Fentry;
const KPROBE: Family = Family::Kprobe;
const STABLE: Family = Family::Stable;

/// A row: the scenario's name is its function's.
macro_rules! scenarios {
    ($($kind:ident $module:ident::$name:ident $(.$more:ident($($argument:expr),*))*),+ $(,)?) => {
        &[$(Scenario::$kind(stringify!($name), $module::$name)$(.$more($($argument),*))*),+]
    };
}

/// Those that watch come first: they share a source.
pub(super) const ALL: &[Scenario] = scenarios![
    watching listener::every_fact_has_a_hook,
    watching listener::a_listener_is_seen_from_bind_to_close,
    watching listener::an_ipv6_listener_is_seen_with_its_address,
    watching listener::a_udp_socket_is_seen_bound_and_closed_with_the_port_it_asked_for,
    watching listener::a_listen_without_bind_has_its_port_and_is_known_as_kernel_chosen,
    watching listener::a_listener_that_is_shut_down_is_unlistened_and_closed_later,
    watching listener::an_mptcp_listener_is_one_tcp_listener_and_its_close_is_seen,
    watching listener::an_mptcp_listener_that_is_shut_down_is_unlistened_and_not_closed,
    watching listener::options_that_were_set_after_the_bind_are_read_from_the_sockets,
    watching listener::two_listeners_that_share_a_port_are_seen_as_two,
    watching listener::nothing_is_said_while_nothing_happens_to_ports,
    watching refusal::a_bind_to_a_taken_port_is_seen_refused,
    watching refusal::a_bind_to_a_foreign_address_is_seen_refused,
    watching refusal::a_second_bind_of_one_socket_is_seen_refused,
    watching refusal::a_listen_that_another_was_first_to_is_seen_refused,
    watching refusal::failures_that_are_not_about_ports_are_no_refusals,
    watching family::a_udp_socket_that_sends_without_a_bind_is_seen_with_its_port.blind(&[STABLE]),
    watching family::a_bind_and_a_listen_through_io_uring_are_seen,
    watching family::a_bind_through_io_uring_that_is_refused_is_seen,
    watching family::binds_of_one_batch_of_io_uring_are_not_taken_for_each_other,
    watching family::what_is_shut_down_through_io_uring_is_seen,
    watching family::an_ipv6_bind_to_a_taken_port_is_seen_refused_with_its_address,
    watching family::an_mptcp_bind_to_a_taken_port_is_seen_refused_once,
    watching family::an_mptcp_socket_that_was_bound_and_never_listened_is_seen_closed,
    watching family::who_left_a_connection_in_time_wait_is_known,
    watching family::who_left_many_connections_is_known_of_each,
    watching family::a_connection_that_is_shut_down_is_left_and_one_that_is_reset_is_not,
    watching family::each_event_is_told_once,
    watching family::a_listener_by_calls_of_32_bits_is_found_and_the_next_one_seen,
    watching process::a_process_that_is_gone_at_once_is_known_with_its_command_line_and_exit_code,
    watching process::a_signal_that_is_raised_again_is_told_with_its_first_sender,
    alone family::facts_that_different_families_serve_are_told_once.blind(&[FENTRY, KPROBE, STABLE]),
    alone loss::what_is_lost_is_counted_exactly_and_followed_by_the_truth,
    alone daemon::the_daemon_says_who_listens_and_writes_down_how_it_went.also_without_programs(),
    alone machine::status_and_doctor_name_what_the_hooks_do_not_see.also_without_programs(),
    alone machine::a_machine_that_slept_is_told_as_a_gap.blind(&[FENTRY, KPROBE, STABLE]).also_without_programs(),
];

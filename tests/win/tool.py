#!/usr/bin/env python3
"""
Owns: which tests of tests/tool hold for framed.exe under Wine, and why the others do not; test_windows.py has those of its own.
Must not know: how Wine is set up (run.sh); FRAMED names a script that runs framed.exe.
Invariants: a test is left out by name and with a reason, never because it failed; a name that there is not is a failure; what
failed under Wine is tried once more, a few tests only, and said with what it failed of.

    tool.py MODULE...
"""
import os
import signal
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "tool")]

import toolkit  # noqa: E402

DESCRIPTORS = "fd:N: there are no inherited descriptors on Windows"
UNIX = "unix:PATH: not on Windows"
POSIX = "is about something that only POSIX has"
CONSOLE = "is about a terminal; Wine draws one of its own"
WINE_PIPE = "Wine does not tell that the reader of a Unix pipe has gone; test_win_host does it with a pipe of Windows"
TERM = "only SIGINT becomes a control event here; test_win_host has the others"
WORDS = "the system's words are others here; test_windows has the case"
RESET = "Wine shows a reset as the end of the stream"
START = "is quicker than a program starts under Wine"
HANGUP = "there is no SIGHUP on Windows: keys are read anew by who starts the server anew"
MODES = "is about modes, or resources, of POSIX; test_win_keys has rights, and what could not be written"
LINK = "Wine follows a symbolic link of Unix as the file it leads to"
MANY_MIB = "of frames this large through three programs Wine's own server dies now and then, and all of them with it"
SHELL = "the command is one for sh; which connections bench makes anew is the same everywhere"

LEFT_OUT = {
    "test_call": {
        "Input.test_a_signal_ends_the_wait_for_who_writes_into_a_pipe": POSIX,
        "Input.test_connected_descriptor": DESCRIPTORS,
        "Input.test_file_from_a_pipe": POSIX,
        "LocalFailures.test_file_that_cannot_be_read": WORDS,
        "LocalFailures.test_standard_input_that_cannot_be_read": WORDS,
        "LocalFailures.test_usage_errors": DESCRIPTORS,
        "Output.test_full_disk_is_a_failure": WORDS,
        "Output.test_reader_that_has_gone_ends_it_while_nothing_happens": WINE_PIPE,
        "Output.test_terminal_gets_text_each_on_a_line": CONSOLE,
        "PeerThatFails.test_peer_that_closes_behind_its_last_reply_has_answered_all": POSIX,
        "PeerThatFails.test_peer_that_resets_behind_its_last_reply_has_answered_all": POSIX,
        "PeerThatFails.test_unix_socket_that_is_not_there": UNIX,
        "Signals.test_signal_ends_it_with_its_code_and_counts": TERM,
        "Follow.test_flood_does_not_keep_signals_out": START,
    },
    "test_crossing": {
        "WhatPasses.test_frames_above_the_limit_of_what_is_shown": MANY_MIB,
    },
    "test_keygen": {
        "Keygen.test_file_is_for_its_owner_alone_whatever_the_umask": MODES,
        "Keygen.test_full_disk_leaves_no_file": MODES,
        "Pubkey.test_file_that_others_have_rights_to_is_refused": MODES,
        "Pubkey.test_symbolic_link_is_refused": LINK,
    },
    "test_keys": {
        "Bench.test_connections_that_were_cut_ask_what_is_still_due_when_all_is_released": SHELL,
        "Pinned.test_hangup_ends_a_server_without_keys": HANGUP,
        "Pinned.test_keys_are_read_anew_at_a_hangup_and_who_is_gone_is_closed": HANGUP,
        "Pinned.test_keys_that_cannot_be_read_anew_stay_what_they_were": HANGUP,
        "Pinned.test_our_own_key_is_not_trusted_to_be_another": HANGUP,
        "Pinned.test_the_last_shared_key_can_be_taken_out_too": HANGUP,
        "Usage.test_a_process_with_a_secret_leaves_no_core_dump": POSIX,
    },
    "test_serve": {
        "Limits.test_too_low_a_descriptor_limit_is_an_error": POSIX,
        "Limits.test_what_the_hard_descriptor_limit_does_not_allow_is_said": POSIX,
        "Limits.test_workers_take_descriptors_too": POSIX,
        "Limits.test_congestion_control_is_that_of_the_connection": POSIX,
        "Listening.test_both_ways_of_waiting_serve": POSIX,
        "Listening.test_descriptor_that_is_no_listening_socket_is_refused": DESCRIPTORS,
        "Listening.test_listening_descriptor_is_taken_over": DESCRIPTORS,
        "Listening.test_several_addresses_have_a_line_each": UNIX,
        "Listening.test_stale_unix_socket_is_replaced_and_a_live_one_is_not": UNIX,
        "Listening.test_unix_socket_is_removed_at_the_end": UNIX,
        "Listening.test_what_is_no_address": UNIX,
        "Signals.test_second_signal_ends_it_at_once": TERM,
    },
    "test_ping": {
        "Ping.test_addresses_are_quoted": UNIX,
        "Ping.test_it_ends_when_nobody_reads_any_more": WINE_PIPE,
        "Ping.test_what_cannot_be_reached_or_sent": UNIX,
    },
    "test_bench": {
        "Failures.test_a_reply_that_is_seen_too_late_is_a_timeout": POSIX,
        "Failures.test_a_server_that_resets": RESET,
        "Failures.test_nobody_there_by_a_path_or_descriptor": UNIX,
        "Load.test_a_descriptor_that_does_not_open_is_given_up": DESCRIPTORS,
        "Load.test_a_descriptor_that_ends_is_not_replaced": DESCRIPTORS,
        "Load.test_unix_sockets_and_descriptors": UNIX,
        "Reports.test_a_signal_before_it_is_connected_ends_it": POSIX,
        "Reports.test_a_terminal_sees_how_far_it_is": CONSOLE,
        "Reports.test_termination_does_the_same": TERM,
        "Usage.test_files_that_cannot_be_had": WORDS,
        "Usage.test_output_that_cannot_be_written": WORDS,
    },
    "test_inspect": {
        "Ending.test_a_full_disk_is_said": WORDS,
        "Ending.test_a_file_that_may_not_grow_is_said": WORDS,
        "Ending.test_a_reader_that_has_enough_ends_it_quietly": WINE_PIPE,
        "Ending.test_a_signal_ends_it_with_128_and_its_number": TERM,
        "Reading.test_a_terminal_is_read_too": CONSOLE,
        "Reading.test_what_cannot_be_read_is_said": WORDS,
    },
    "test_tap": {
        "Beginning.test_connections_beyond_the_descriptors_wait": POSIX,
        "Beginning.test_descriptor_that_does_not_listen": DESCRIPTORS,
        "Beginning.test_what_is_not_two_addresses": UNIX,
        "Ending.test_second_signal_ends_it_whatever_is_under_way": TERM,
        "Record.test_full_disk_ends_the_record_and_nothing_else": WORDS,
        "Record.test_record_that_another_tap_writes_is_refused_and_stays": WORDS,
        "WhatIsShown.test_full_output_is_said_once_and_relaying_goes_on": WORDS,
        "WhatPasses.test_reset_by_the_client_ends_the_target": RESET,
        "WhatPasses.test_reset_by_the_target_ends_the_client_after_what_came_before": RESET,
        "WhatPasses.test_unix_sockets_ipv6_and_an_inherited_listener": UNIX,
    },
}


def every_test(suite):
    for each in suite:
        if isinstance(each, unittest.TestSuite):
            yield from every_test(each)
        else:
            yield each


def chosen(module):
    """The tests of a module but those left out."""
    left_out = LEFT_OUT.get(module, {})
    tests = list(every_test(unittest.defaultTestLoader.loadTestsFromName(module)))
    names = {test.id().partition(".")[2] for test in tests}
    gone = set(left_out) - names
    if gone:
        sys.exit(f"tool.py: {module} has no {', '.join(sorted(gone))} any more")
    return [test for test in tests if test.id().partition(".")[2] not in left_out]


def as_control_event(process, number):
    """Wine makes a Ctrl+C of SIGINT; SIGTERM it does not know, and would just end."""
    process.process.send_signal(signal.SIGINT if number == signal.SIGTERM else number)


def run(tests):
    """The names of those that failed, after they have run. Of a subtest its test's: that is what runs once more."""
    done = unittest.TextTestRunner(verbosity=2, stream=sys.stdout).run(unittest.TestSuite(tests))
    return {getattr(test, "test_case", test).id() for test, _ in done.failures + done.errors}


# One program in about a thousand Wine ends before it has done anything; and once its server went away, with all that ran.
AGAIN_MOST = 3

toolkit.Process.signal = as_control_event
modules = sys.argv[1:]
every = [test.id() for module in modules for test in chosen(module)]
failed = run([test for module in modules for test in chosen(module)])
if 0 < len(failed) <= AGAIN_MOST:
    print(f"once more, for it may have been Wine: {', '.join(sorted(failed))}", flush=True)
    failed = run([test for module in modules for test in chosen(module) if test.id() in failed])
print(f"{len(every) - len(failed)} passed, {len(failed)} failed")
sys.exit(bool(failed))

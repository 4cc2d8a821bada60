//! Whoever may reach the pipe may send anything to it, and a daemon may end at any time.

use std::process::Stdio;

use portwatch_tests::{Actor, DEADLINE, wait_until};

use crate::harness::Windows;

/// A Windows program that sends to the pipe of its first argument what its second one names, and tells how many bytes came
/// back until the server let it go, and with what they began.
const RUDE: &str = r#"
#include <windows.h>
#include <stdio.h>
#include <string.h>
#define MANY (16 << 20)
static char much[MANY], answer[65536];
static void put(HANDLE pipe, const char *bytes, DWORD length) {
    DWORD written;
    while (length && WriteFile(pipe, bytes, length < 65536 ? length : 65536, &written, NULL)) bytes += written, length -= written;
}
int main(int count, char **words) {
    const char *head = "";
    DWORD got = 0, all = 0, length = 0, at;
    if (count != 3) return 98;
    HANDLE pipe;
    /* Between two clients the server makes the next instance, for which every client waits. */
    while ((pipe = CreateFileA(words[1], GENERIC_READ | FILE_WRITE_DATA, 0, NULL, OPEN_EXISTING,
            SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, NULL)) == INVALID_HANDLE_VALUE
        && GetLastError() == ERROR_PIPE_BUSY) WaitNamedPipeA(words[1], 1000);
    if (pipe == INVALID_HANDLE_VALUE) {
        printf("0 error %lu\n", GetLastError());
        return 97;
    }
    if (!strcmp(words[2], "garbage")) for (length = 4096, at = 0; at < length; at++) much[at] = (char)(at * at * 31 + at / 7);
    if (!strcmp(words[2], "half")) head = "GET /v1/status HTTP/1.1\r\nhost: portwa";
    if (!strcmp(words[2], "line")) head = "GET /", memset(much, 'a', length = MANY);
    if (!strcmp(words[2], "body")) memset(much, 'a', length = MANY), head = "POST /v1/claims HTTP/1.1\r\n"
        "host: portwatch\r\ncontent-type: application/json\r\ncontent-length: 16777216\r\n\r\n";
    if (!strcmp(words[2], "short")) head = "POST /v1/claims HTTP/1.1\r\n"
        "host: portwatch\r\ncontent-type: application/json\r\ncontent-length: 16777216\r\n\r\n{\"name\"";
    put(pipe, head, strlen(head));
    put(pipe, much, length);
    if (!strcmp(words[2], "gone")) return 0;
    while (ReadFile(pipe, answer + (all < 1024 ? all : 1024), 32768, &got, NULL) && got) all += got;
    answer[strcspn(answer, "\r\n")] = 0;
    printf("%lu %s\n", all, answer);
    return 0;
}
"#;

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn whatever_a_client_sends_it_is_let_go_and_the_next_one_is_served() {
    let windows = Windows::new().unwrap();
    assert_eq!(windows.run(&["start"]).unwrap().code, Some(0));
    let rude = windows.built("rude", RUDE).unwrap();
    let start = |what| Actor::start(Windows::wine(&rude).arg(&windows.pipe).arg(what)).unwrap();
    // One that never ends its order is let go after a minute; nobody waits for it.
    let _short = start("short");
    let cases = [
        ("garbage", "HTTP/1.1 400 Bad Request"),
        ("line", "HTTP/1.1 431 Request Header Fields Too Large"),
        ("body", "HTTP/1.1 400 Bad Request"),
        ("half", ""),
        ("silent", ""),
        ("gone", ""),
    ];
    for (what, answer) in cases {
        let mut client = start(what);
        if what != "gone" {
            let line = client.line().unwrap();
            let (length, began) = line.split_once(' ').unwrap();
            assert_eq!((began, length == "0"), (answer, answer.is_empty()), "{what}");
        }
        assert_eq!(client.end().unwrap().code(), Some(0), "{what}");
        let ran = windows.run(&["status", "--json"]).unwrap();
        assert_eq!((ran.code, &ran.json().unwrap()["running"]), (Some(0), &true.into()), "{what} {ran:?}");
    }
}

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn who_follows_goes_on_with_the_next_daemon_after_one_that_was_killed() {
    let windows = Windows::new().unwrap();
    let daemon = || {
        let daemon = Actor::start(windows.command(&["daemon"]).stderr(Stdio::null())).unwrap();
        wait_until("the daemon", DEADLINE, || (windows.run(&["status"]).ok()?.code == Some(0)).then_some(()))
            .unwrap();
        daemon
    };
    let first = daemon();
    let mut follow =
        Actor::start(&mut windows.command(&["log", "--follow", "--type", "listen", "--json"])).unwrap();
    let told_of = |follow: &mut Actor, port: u64| {
        let line = wait_until(&format!("{port} in what is followed"), DEADLINE, || {
            follow.line().ok().filter(|line| line.contains(&format!("\"port\":{port}")))
        });
        line.unwrap();
    };
    let (before, port, _) = windows.listener().unwrap();
    told_of(&mut follow, port);
    // Killed, with no time for anything.
    drop(first);
    let second = daemon();
    let (after, port, _) = windows.listener().unwrap();
    told_of(&mut follow, port);
    let gaps = windows.run(&["log", "--type", "gap"]).unwrap();
    assert!(gaps.stdout.contains("did not end in order"), "{gaps:?}");
    for listener in [before, after] {
        assert_eq!(listener.finish().unwrap().code(), Some(0));
    }
    drop((follow, second));
}

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn of_daemons_that_come_at_once_one_serves() {
    let windows = Windows::new().unwrap();
    let mut daemons: Vec<Actor> =
        (0..3).map(|_| Actor::start(windows.command(&["daemon"]).stderr(Stdio::null())).unwrap()).collect();
    wait_until("one daemon that is left", 2 * DEADLINE, || {
        daemons.retain_mut(|daemon| !daemon.has_ended().unwrap());
        (daemons.len() == 1).then_some(())
    })
    .unwrap();
    wait_until("its answer", DEADLINE, || (windows.run(&["status"]).ok()?.code == Some(0)).then_some(()))
        .unwrap();
    assert!(!daemons.pop().unwrap().has_ended().unwrap());
}

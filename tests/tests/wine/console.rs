//! What a console and a profile bring: Ctrl-C, and where the state of a user lies.

use std::fs;

use portwatch_tests::Actor;

use crate::harness::{PLAIN, Windows, drive_z};

/// A Windows program with two parts. With `served` it says so, waits for Ctrl-C, and ends with 5 a moment after. Otherwise it makes a
/// console without a window, runs in it what follows its name, sends Ctrl-C to all of the console when a line comes, and gives that
/// program's code.
const CONSOLE: &str = r#"
#include <windows.h>
#include <stdio.h>
#include <string.h>
static HANDLE heard;
static BOOL WINAPI hear(DWORD what) {
    (void)what;
    SetEvent(heard);
    return TRUE;
}
int main(int count, char **words) {
    STARTUPINFOW start = { .cb = sizeof start, .dwFlags = STARTF_USESTDHANDLES,
        .hStdInput = GetStdHandle(STD_INPUT_HANDLE), .hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE),
        .hStdError = GetStdHandle(STD_ERROR_HANDLE) };
    PROCESS_INFORMATION made;
    DWORD code = 99;
    WCHAR *line = GetCommandLineW(), end = *line == '"' ? '"' : ' ';
    if (count == 2 && !strcmp(words[1], "served")) {
        heard = CreateEventA(NULL, TRUE, FALSE, NULL);
        SetConsoleCtrlHandler(hear, TRUE);
        puts("ready");
        fflush(stdout);
        if (WaitForSingleObject(heard, 30000)) return 9;
        Sleep(300);
        puts("heard");
        return 5;
    }
    if (!GetEnvironmentVariableW(L"INNER", NULL, 0)) {
        SetEnvironmentVariableW(L"INNER", L"1");
        if (!CreateProcessW(NULL, line, NULL, NULL, TRUE, CREATE_NO_WINDOW, NULL, NULL, &start, &made)) return 98;
    } else {
        for (line++; *line && *line != end; line++) {}
        while (*line == end || *line == ' ') line++;
        if (!CreateProcessW(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &start, &made)) return 97;
        getchar();
        SetConsoleCtrlHandler(NULL, TRUE);
        if (!GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0)) return 96;
    }
    WaitForSingleObject(made.hProcess, INFINITE);
    GetExitCodeProcess(made.hProcess, &code);
    return code;
}
"#;

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn ctrl_c_reaches_the_program_and_the_runner_waits_for_its_end() {
    let windows = Windows::new().unwrap();
    let console = windows.built("console", CONSOLE).unwrap();
    for words in [&["run", "21600", "--"][..], &["with-lock", "wine", "--"]] {
        let own = windows.command(words);
        let mut command = Windows::wine(&console);
        command
            .args(own.get_args())
            .envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .arg(&console)
            .arg("served")
            .current_dir(windows.folder.path());
        let mut actor = Actor::start(&mut command).unwrap();
        assert_eq!(actor.line().unwrap(), "ready", "{words:?}");
        actor.say("").unwrap();
        assert_eq!(actor.line().unwrap(), "heard", "{words:?}");
        assert_eq!(actor.end().unwrap().code(), Some(5), "the program's own: {words:?}");
    }
    // Nothing is left of either.
    assert_eq!(windows.run(&["locks"]).unwrap().code, Some(1));
}

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn a_profile_in_a_folder_with_blanks_and_letters_beyond_ascii_has_the_state() {
    let mut windows = Windows::new().unwrap();
    let plain = drive_z(&windows.built("plain", PLAIN).unwrap());
    // What is told to cmd has no quotes, so the way to the program may have no blanks.
    let program = windows.folder.path().join("portwatch.exe");
    fs::hard_link(&windows.program, &program)
        .or_else(|_| fs::copy(&windows.program, &program).map(drop))
        .unwrap();
    let profile = windows.folder.path().join("Jörg Größe 日本");
    fs::create_dir(&profile).unwrap();
    windows.state = drive_z(&profile.join("portwatch"));
    let run = |words: &str| {
        // Wine makes these anew for a program that Linux starts: a Windows program has to set them.
        let (home, program) = (drive_z(&profile), drive_z(&program));
        let line = format!("set LOCALAPPDATA={home}&&set APPDATA={home}&&{plain} {program} {words}");
        let mut command = Windows::wine("cmd".as_ref());
        command
            .args(["/c", &line])
            .current_dir(windows.folder.path())
            .env_remove("PORTWATCH_STATE")
            .env("PORTWATCH_SOCKET", &windows.pipe);
        Windows::finished(command).unwrap()
    };
    let ran = run("start");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let status = run("status --json").json().unwrap();
    assert!(status["database"].as_str().unwrap().starts_with(&windows.state), "{status:#}");
    let ran = run("claim wine:blank -q");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = run("stop");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(profile.join("portwatch").join("portwatch.db").is_file());
    // And without a daemon.
    let ran = run("find wine:blank");
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

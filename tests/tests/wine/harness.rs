//! The Windows program with a place of its own, and Windows programs that it meets.

use std::{
    any::Any,
    fs::{self, File},
    io::{Read as _, Seek as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{PoisonError, RwLock},
};

use anyhow::Context as _;
use portwatch_tests::{Actor, DEADLINE, Ran, wait_until, windows_program};
use serde_json::Value;

/// A Windows program that listens on a port of 127.0.0.1 (that of PORT, where it is set), tells it and its pid, and ends
/// when its input does, with the code that CODE names. With an argument it listens nowhere.
pub(crate) const LISTENER: &str = r#"
#include <winsock2.h>
#include <stdio.h>
#include <stdlib.h>
int main(int count, char **words) {
    WSADATA data;
    struct sockaddr_in place = { .sin_family = AF_INET };
    int length = sizeof place, ttl = 64;
    const char *port = getenv("PORT"), *code = getenv("CODE");
    WSAStartup(0x0202, &data);
    SOCKET s = socket(AF_INET, SOCK_STREAM, 0);
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (port) place.sin_port = htons(atoi(port));
    if (count == 1) {
        if (bind(s, (struct sockaddr *)&place, sizeof place) || listen(s, 5)) return 3;
        /* Wine names the process of a socket once the process has a descriptor of it. */
        setsockopt(s, IPPROTO_IP, 4 /* IP_TTL */, (char *)&ttl, sizeof ttl);
        getsockname(s, (struct sockaddr *)&place, &length);
    }
    printf("%d %lu\n", ntohs(place.sin_port), GetCurrentProcessId());
    fflush(stdout);
    while (getchar() != EOF) {}
    return code ? atoi(code) : 0;
}
"#;

/// A Windows program that listens, tells its port and its pid, and leaves its socket to a child, which ends when its input does.
pub(crate) const TESTATOR: &str = r#"
#include <winsock2.h>
#include <stdio.h>
int main(int count, char **words) {
    WSADATA data;
    struct sockaddr_in place = { .sin_family = AF_INET };
    int length = sizeof place, ttl = 64;
    char line[600], program[500];
    STARTUPINFOA start = { .cb = sizeof start };
    PROCESS_INFORMATION made;
    if (count == 1) {
        WSAStartup(0x0202, &data);
        SOCKET s = socket(AF_INET, SOCK_STREAM, 0);
        place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (bind(s, (struct sockaddr *)&place, sizeof place) || listen(s, 5)) return 3;
        setsockopt(s, IPPROTO_IP, 4 /* IP_TTL */, (char *)&ttl, sizeof ttl);
        getsockname(s, (struct sockaddr *)&place, &length);
        SetHandleInformation((HANDLE)s, HANDLE_FLAG_INHERIT, 1);
        GetModuleFileNameA(NULL, program, sizeof program);
        sprintf(line, "\"%s\" heir", program);
        if (!CreateProcessA(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &start, &made)) return 4;
        printf("%d %lu\n", ntohs(place.sin_port), GetCurrentProcessId());
        fflush(stdout);
        Sleep(INFINITE);
    }
    while (getchar() != EOF) {}
    return 0;
}
"#;

/// A Windows program that runs what follows its name as the same user without the administrators' group, as Windows itself does for
/// whoever is not elevated; it gives that one's code.
pub(crate) const PLAIN: &str = r#"
#include <windows.h>
#include <stdio.h>
int main(void) {
    HANDLE own, plain;
    BYTE sid[SECURITY_MAX_SID_SIZE];
    DWORD size = sizeof sid, code = 99;
    WCHAR *line = GetCommandLineW(), end = *line == '"' ? '"' : ' ';
    STARTUPINFOW start = { .cb = sizeof start, .dwFlags = STARTF_USESTDHANDLES,
        .hStdInput = GetStdHandle(STD_INPUT_HANDLE), .hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE),
        .hStdError = GetStdHandle(STD_ERROR_HANDLE) };
    PROCESS_INFORMATION made;
    SID_AND_ATTRIBUTES administrators = { .Sid = sid };
    for (line++; *line && *line != end; line++) {}
    while (*line == end || *line == ' ') line++;
    if (!CreateWellKnownSid(WinBuiltinAdministratorsSid, NULL, sid, &size)
        || !OpenProcessToken(GetCurrentProcess(), TOKEN_ALL_ACCESS, &own)
        || !CreateRestrictedToken(own, 0, 1, &administrators, 0, NULL, 0, NULL, &plain)
        || !CreateProcessAsUserW(plain, NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &start, &made)) {
        fprintf(stderr, "error %lu\n", GetLastError());
        return 98;
    }
    WaitForSingleObject(made.hProcess, INFINITE);
    GetExitCodeProcess(made.hProcess, &code);
    return code;
}
"#;

/// A Windows program that serves the pipe of its argument as a user whom nobody knows, and ends when its input does.
pub(crate) const IMPOSTOR: &str = r#"
#include <windows.h>
#include <sddl.h>
#include <stdio.h>
int main(int count, char **words) {
    SECURITY_ATTRIBUTES attributes = { .nLength = sizeof attributes };
    if (count != 2 || !ConvertStringSecurityDescriptorToSecurityDescriptorA("O:S-1-5-21-1-2-3-1001D:(A;;GA;;;WD)", SDDL_REVISION_1,
        &attributes.lpSecurityDescriptor, NULL)) return 98;
    HANDLE pipe = CreateNamedPipeA(words[1], PIPE_ACCESS_DUPLEX, PIPE_TYPE_BYTE, 8, 0, 0, 0, &attributes);
    printf("%lu 0\n", pipe == INVALID_HANDLE_VALUE ? GetLastError() : 0);
    fflush(stdout);
    while (getchar() != EOF) {}
    return 0;
}
"#;

/// Programs of the system's are shared by all tests: one that puts something in their place runs alone.
static SYSTEM: RwLock<()> = RwLock::new(());

/// The Windows program with a pipe and a state of its own. Its daemon, if one runs, ends with this value.
pub(crate) struct Windows {
    pub(crate) program: PathBuf,
    /// Its part of [`SYSTEM`].
    _turn: Box<dyn Any>,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) pipe: String,
    /// Where its daemon keeps its state, by which that one is found and ended.
    pub(crate) state: String,
}

impl Windows {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Self::with(Box::new(SYSTEM.read().unwrap_or_else(PoisonError::into_inner)))
    }

    pub(crate) fn alone() -> anyhow::Result<Self> {
        Self::with(Box::new(SYSTEM.write().unwrap_or_else(PoisonError::into_inner)))
    }

    fn with(turn: Box<dyn Any>) -> anyhow::Result<Self> {
        let program = windows_program()?;
        let folder = tempfile::Builder::new().prefix("pw").tempdir_in("/tmp")?;
        let name = folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let state = drive_z(&folder.path().join("state"));
        Ok(Self { program, _turn: turn, folder, pipe: format!(r"\\.\pipe\portwatch-test-{name}"), state })
    }

    /// Wine with a program of ours; the prefix comes with the environment.
    pub(crate) fn wine(program: &Path) -> Command {
        let mut command = Command::new("/usr/lib/wine/wine64");
        command.arg(program);
        command
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Self::wine(&self.program);
        command
            .args(arguments)
            // Which is no project, and so explains and names nothing.
            .current_dir(self.folder.path())
            .env("PORTWATCH_STATE", &self.state)
            .env("PORTWATCH_SOCKET", &self.pipe)
            .stdin(Stdio::null());
        command
    }

    /// What it says goes to files: under Wine the daemon that `start` leaves behind keeps the stderr of who started it open,
    /// so that a pipe would end with the daemon.
    pub(crate) fn run(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        Self::finished(self.command(arguments))
    }

    /// The same by whoever is no administrator.
    pub(crate) fn run_plain(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        let mut command = Self::wine(&self.built("plain", PLAIN)?);
        let own = self.command(arguments);
        command.args(own.get_args()).envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        Self::finished(command)
    }

    pub(crate) fn finished(mut command: Command) -> anyhow::Result<Ran> {
        let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let mut child = command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?).spawn()?;
        let ended =
            wait_until(&format!("the end of {command:?}"), 3 * DEADLINE, || child.try_wait().transpose());
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        let text = |mut file: File| -> anyhow::Result<String> {
            let mut bytes = Vec::new();
            file.rewind()?;
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Ran { code: ended??.code(), stdout: text(stdout)?, stderr: text(stderr)? })
    }

    /// The listener's program, as Windows names it.
    pub(crate) fn program(&self) -> anyhow::Result<PathBuf> {
        self.built("listener", LISTENER)
    }

    /// A Windows program of this source.
    pub(crate) fn built(&self, name: &str, source: &str) -> anyhow::Result<PathBuf> {
        let program = self.folder.path().join(format!("{name}.exe"));
        if !program.is_file() {
            let file = self.folder.path().join(format!("{name}.c"));
            fs::write(&file, source)?;
            let mut compiler = Command::new("x86_64-w64-mingw32-gcc");
            let built =
                compiler.arg("-o").arg(&program).arg(&file).args(["-lws2_32", "-ladvapi32"]).status()?;
            anyhow::ensure!(built.success(), "{compiler:?} ended with {built}");
        }
        Ok(program)
    }

    /// A listener, its port and its pid in Windows' numbers. It works in a folder that is no project, which explains nothing.
    pub(crate) fn listener(&self) -> anyhow::Result<(Actor, u64, u64)> {
        told(Actor::start(Self::wine(&self.program()?).current_dir(self.folder.path()))?)
    }

    /// A listener that portwatch runs, its port and its pid.
    pub(crate) fn running(&self, arguments: &[&str]) -> anyhow::Result<(Actor, u64, u64)> {
        let program = self.program()?;
        let mut command = self.command(arguments);
        told(Actor::start(command.arg("--").arg(program).env("CODE", "7"))?)
    }

    /// A port of its own for a claim.
    pub(crate) fn claimed(&self, name: &str) -> anyhow::Result<u64> {
        let ran = self.run(&["claim", name, "--range", "21000-21999", "-q"])?;
        anyhow::ensure!(ran.code == Some(0), "{ran:?}");
        Ok(ran.stdout.trim().parse()?)
    }

    pub(crate) fn is_held(&self, port: u64) -> anyhow::Result<bool> {
        let ran = self.run(&["--no-daemon", "--json", "who", &port.to_string()])?;
        Ok(ran.json()?.pointer("/targets/0/state") == Some(&"held".into()))
    }

    pub(crate) fn events(&self, kind: &str, port: u64) -> anyhow::Result<Vec<Value>> {
        wait_until(&format!("{kind} of {port} in the log"), DEADLINE, || {
            let port = port.to_string();
            let ran = self.run(&["--json", "log", "--type", kind, "--port", &port, "--limit", "0"]).ok()?;
            let events = ran.json().ok()?.get("events")?.as_array()?.clone();
            (!events.is_empty()).then_some(events)
        })
    }
}

/// A path as Windows programs name it: Linux's own folders are drive Z there.
pub(crate) fn drive_z(path: &Path) -> String {
    format!("Z:{}", path.display()).replace('/', r"\")
}

/// What a listener tells.
pub(crate) fn told(mut actor: Actor) -> anyhow::Result<(Actor, u64, u64)> {
    let line = actor.line()?;
    let (port, pid) = line.trim().split_once(' ').with_context(|| format!("it told {line:?}"))?;
    Ok((actor, port.parse()?, pid.parse()?))
}

/// A Windows program that prints what was captured, byte for byte.
pub(crate) fn printing(text: &[u8], program: &Path) -> anyhow::Result<()> {
    let bytes = text.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
    let source = format!(
        "#include <stdio.h>\n#include <fcntl.h>\n#include <io.h>\nstatic const unsigned char text[] = {{{bytes}}};\n\
         int main(void) {{ _setmode(1, _O_BINARY); return fwrite(text, 1, sizeof text, stdout) != sizeof text; }}\n"
    );
    let file = program.with_extension("c");
    fs::write(&file, source)?;
    let mut compiler = Command::new("x86_64-w64-mingw32-gcc");
    let built = compiler.arg("-o").arg(program).arg(&file).status()?;
    anyhow::ensure!(built.success(), "{compiler:?} ended with {built}");
    Ok(())
}

/// A program of ours in the place of one of the system's, whose own is there again with the end of this value.
pub(crate) struct StandIn {
    name: &'static str,
    place: PathBuf,
    own: PathBuf,
}

impl StandIn {
    /// `name`, without `.exe`, prints `text`.
    pub(crate) fn new(windows: &Windows, name: &'static str, text: &[u8]) -> anyhow::Result<Self> {
        let prefix = PathBuf::from(std::env::var_os("WINEPREFIX").context("WINEPREFIX is not set")?);
        let place = prefix.join(format!("drive_c/windows/system32/{name}.exe"));
        let own = windows.folder.path().join(format!("{name}.own"));
        fs::copy(&place, &own)?;
        let stand_in = Self { name, place, own };
        // Wine takes its own for programs of the system, whatever lies there, unless it is told otherwise.
        stand_in.setting("add", &["/d", "native"])?;
        let program = windows.folder.path().join(format!("{name}.exe"));
        printing(text, &program)?;
        fs::copy(&program, &stand_in.place)?;
        Ok(stand_in)
    }

    pub(crate) fn setting(&self, verb: &str, more: &[&str]) -> anyhow::Result<()> {
        let mut reg = Windows::wine(Path::new("reg"));
        reg.args([verb, r"HKCU\Software\Wine\DllOverrides", "/v", &format!("{}.exe", self.name), "/f"])
            .args(more);
        let status = reg.stdout(Stdio::null()).status()?;
        anyhow::ensure!(status.success(), "{reg:?} ended with {status}");
        Ok(())
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = fs::copy(&self.own, &self.place);
        let _ = self.setting("delete", &[]);
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        let _ = self.run(&["stop"]);
    }
}

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::*;
use crate::model::{CommandLine, Evidence};

/// A small /proc, as the kernel would show it.
struct Machine {
    dir: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(machine.dir.path().join("cgroup")).unwrap();
        machine
    }

    fn attributor(&self) -> Attributor {
        Attributor::new(Roots { proc: self.dir.path().join("proc"), cgroup: self.dir.path().join("cgroup") })
    }

    fn path(&self, pid: u32) -> PathBuf {
        self.dir.path().join("proc").join(pid.to_string())
    }

    fn process(&self, pid: u32, parent: u32, session: u32, start: u64, comm: &str, cmdline: &[u8]) {
        let dir = self.path(pid);
        fs::create_dir_all(&dir).unwrap();
        let line = format!(
            "{pid} ({comm}) S {parent} {pid} {session} 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 {start} 0 0\n"
        );
        fs::write(dir.join("stat"), line).unwrap();
        fs::write(dir.join("cmdline"), cmdline).unwrap();
        fs::write(dir.join("status"), "Name:\tx\nUid:\t0\t0\t0\t0\n").unwrap();
        fs::write(dir.join("cgroup"), "1:name=systemd:/\n0::/app.slice\n").unwrap();
        let _ = symlink("/", dir.join("cwd"));
        let _ = symlink("/", dir.join("root"));
        let _ = symlink("/usr/bin/x", dir.join("exe"));
    }

    fn kill(&self, pid: u32) {
        fs::remove_dir_all(self.path(pid)).unwrap();
    }
}

fn id(pid: u32, start_ticks: u64) -> ProcessId {
    ProcessId { pid, start_ticks }
}

fn seen(id: ProcessId, parent: (u32, &str), comm: &str, command: &str) -> ProcessSeen {
    ProcessSeen {
        id,
        parent_pid: parent.0,
        parent_comm: Some(parent.1.to_owned()),
        uid: Some(0),
        gid: Some(0),
        comm: comm.to_owned(),
        command: Some(line(command)),
        cgroup_id: None,
        evidence: Evidence::Kernel,
    }
}

fn line(text: &str) -> CommandLine {
    CommandLine { args: text.split(' ').map(str::to_owned).collect(), truncated: false }
}

fn names(process: &Process) -> Vec<(u32, &str)> {
    process.lineage.iter().map(|a| (a.pid, a.comm.as_str())).collect()
}

#[test]
fn a_process_that_is_gone_keeps_what_its_event_told() {
    let machine = Machine::new();
    machine.process(1, 0, 1, 0, "init", b"init\0");
    machine.process(20, 1, 20, 50, "bash", b"bash\0");
    let told = seen(id(900, 700), (20, "bash"), "python3", "python3 quick.py");
    let process = machine.attributor().learn(&told);
    assert_eq!(process.evidence, Evidence::Kernel);
    assert_eq!(process.command, Some(line("python3 quick.py")));
    assert_eq!((process.cwd.as_ref(), process.exe.as_ref(), process.project.as_ref()), (None, None, None));
    assert_eq!(process.user.as_deref(), Some("root"));
    assert_eq!(names(&process), [(20, "bash"), (1, "init")], "its parent lives and can be asked");
}

#[test]
fn a_used_again_pid_is_never_described_as_the_old_process() {
    let machine = Machine::new();
    machine.process(900, 1, 900, 9999, "mallory", b"mallory\0");
    let mut attributor = machine.attributor();
    let process = attributor.learn(&seen(id(900, 700), (20, "bash"), "python3", "python3 quick.py"));
    assert_eq!((process.comm.as_str(), process.evidence), ("python3", Evidence::Kernel));
    assert_eq!(names(&process), [(20, "bash")]);
    assert_eq!(attributor.of(id(900, 701)), None);
    assert_eq!(attributor.of(id(900, 9999)).unwrap().comm, "mallory");
    // Nor is a pid that was used again for a parent taken for the parent.
    machine.process(20, 1, 20, 8000, "mallory", b"mallory\0");
    let process = attributor.learn(&seen(id(901, 700), (20, "bash"), "python3", "python3 two.py"));
    assert_eq!(names(&process), [(20, "bash")]);
    assert_eq!(process.lineage[0].start_ticks, None);
}

#[test]
fn proc_completes_what_the_event_cut_off() {
    let machine = Machine::new();
    machine.process(1, 0, 1, 0, "init", b"init\0");
    machine.process(30, 1, 1, 10, "node", b"node\0server.js\0--port\x003100\0");
    let mut told = seen(id(30, 10), (1, "init"), "node", "node serv");
    told.command = Some(CommandLine { truncated: true, ..line("node serv") });
    told.cgroup_id = Some(77);
    let mut attributor = machine.attributor();
    let process = attributor.learn(&told);
    assert_eq!(process.command, Some(line("node server.js --port 3100")));
    assert_eq!(process.evidence, Evidence::Scan);
    assert_eq!(process.exe.as_deref(), Some(Path::new("/usr/bin/x")));
    assert_eq!(process.cgroup, Some(Cgroup { id: Some(77), path: "/app.slice".into() }));
    assert!(process.started.is_some());
    assert!(Arc::ptr_eq(&process, &attributor.learn(&told)), "it is looked at once");
    // The id alone tells the path of a later process that is gone.
    let mut late = seen(id(31, 12), (1, "init"), "gone", "gone");
    late.cgroup_id = Some(77);
    assert_eq!(attributor.learn(&late).cgroup.as_ref().unwrap().path, "/app.slice");
}

#[test]
fn a_process_that_called_exec_since_is_shown_as_it_was_when_it_acted() {
    let machine = Machine::new();
    machine.process(30, 1, 1, 10, "sleep", b"sleep\x0060\0");
    let mut attributor = machine.attributor();
    let process = attributor.learn(&seen(id(30, 10), (1, "init"), "python3", "python3 bind.py"));
    assert_eq!((process.comm.as_str(), &process.command), ("python3", &Some(line("python3 bind.py"))));
    assert_eq!(process.exe, None, "the program that runs now is not the one that acted");
    let now = attributor.refresh(id(30, 10)).unwrap();
    assert_eq!((now.comm.as_str(), &now.command), ("sleep", &Some(line("sleep 60"))));
    // Told again after the exec.
    let again = attributor.learn(&seen(id(30, 10), (1, "init"), "sleep", "sleep 60"));
    assert_eq!(again.exe.as_deref(), Some(Path::new("/usr/bin/x")));
    machine.kill(30);
    assert_eq!(attributor.refresh(id(30, 10)).unwrap().comm, "sleep", "what was known stays");
    attributor.forget(id(30, 10));
    assert_eq!(attributor.of(id(30, 10)), None);
}

#[test]
fn the_lineage_ends_with_the_parent_of_the_session_leader() {
    let machine = Machine::new();
    machine.process(1, 0, 1, 0, "init", b"init\0");
    machine.process(10, 1, 10, 5, "tmux", b"tmux\0new\0");
    machine.process(20, 10, 20, 6, "zsh", b"-zsh\0");
    machine.process(30, 20, 20, 7, "npm", b"npm\0run\0dev\0");
    machine.process(40, 30, 20, 8, "node", b"node\0server.js\0");
    let process = machine.attributor().of(id(40, 8)).unwrap();
    assert_eq!(names(&process), [(30, "npm"), (20, "zsh"), (10, "tmux")]);
    assert_eq!(process.lineage[0].command, Some(line("npm run dev")));
    assert_eq!(process.lineage[2].start_ticks, Some(5));
}

#[test]
fn a_loop_of_parents_ends() {
    let machine = Machine::new();
    machine.process(30, 40, 1, 7, "a", b"a\0");
    machine.process(40, 30, 1, 7, "b", b"b\0");
    assert_eq!(names(&machine.attributor().of(id(40, 7)).unwrap()), [(30, "a"), (40, "b")]);
}

#[test]
fn a_child_that_was_adopted_shows_who_started_it_and_who_has_it_now() {
    let machine = Machine::new();
    machine.process(1, 0, 1, 0, "init", b"init\0");
    machine.process(40, 1, 33, 8, "server", b"server\0");
    let process = machine.attributor().learn(&seen(id(40, 8), (33, "deploy.sh"), "server", "server"));
    assert_eq!(names(&process), [(33, "deploy.sh"), (1, "init")]);
    assert_eq!(process.lineage[0].start_ticks, None);
}

#[test]
fn strange_names_and_arguments_are_kept() {
    let machine = Machine::new();
    machine.process(50, 1, 1, 9, "a) Z 1\n(b", b"x\0\xff\xfe\0\0");
    let process = machine.attributor().of(id(50, 9)).unwrap();
    assert_eq!(process.comm, "a) Z 1\n(b");
    assert_eq!(process.command.as_ref().unwrap().args, ["x", "\u{fffd}\u{fffd}", ""]);
    machine.process(51, 1, 1, 9, "kworker/0:1", b"");
    assert_eq!(
        machine.attributor().of(id(51, 9)).unwrap().command,
        Some(CommandLine { args: vec![], truncated: false })
    );
}

#[test]
fn a_pid_that_vanished_is_not_an_empty_process() {
    assert_eq!(Machine::new().attributor().of(id(7, 7)), None);
}

/// A real child that waits for its standard input to close.
struct Waiting(Child);

impl Waiting {
    fn start(dir: &Path) -> Self {
        let mut cat = Command::new("cat");
        cat.arg("-u").current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = cat.spawn().expect("cat starts");
        // Spawning returns while the kernel may still be in the middle of exec, with no command line yet.
        child.stdin.as_ref().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Self(child)
    }

    fn id(&self) -> ProcessId {
        let directory = PidDir::open(Path::new("/proc"), self.0.id()).unwrap();
        id(self.0.id(), directory.stat().unwrap().start_ticks)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_process_is_described() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().canonicalize().unwrap();
    fs::write(home.join("package.json"), "{\"name\": \"real\"}").unwrap();
    let before = Timestamp::now();
    let child = Waiting::start(&home);
    let process = Attributor::new(Roots::default()).of(child.id()).unwrap();
    assert_eq!(process.comm, "cat");
    assert_eq!(process.command, Some(line("cat -u")));
    assert_eq!(process.cwd.as_deref(), Some(home.as_path()));
    assert_eq!(process.project.as_ref().unwrap().name, "real");
    assert_eq!(process.uid, Some(nix::unistd::getuid().as_raw()));
    assert_eq!(process.lineage[0].pid, std::process::id());
    assert!(process.cgroup.is_some());
    let late = process.started.unwrap().duration_since(before).as_secs_f64();
    assert!(late.abs() < 1.0, "started {late} s from the moment it was started");
}

#[test]
#[ignore = "a measurement: cargo test --release -p portwatch --lib -- --ignored --nocapture cost_of"]
fn cost_of_one_new_process() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("package.json"), "{\"name\": \"real\"}").unwrap();
    let child = Waiting::start(dir.path());
    let mut attributor = Attributor::new(Roots::default());
    let told = |id| seen(id, (std::process::id(), "x"), "cat", "cat -u");
    attributor.learn(&told(child.id()));
    let mut times: Vec<_> = (0..2000)
        .map(|_| {
            attributor.known.clear();
            let begin = std::time::Instant::now();
            attributor.learn(&told(child.id()));
            begin.elapsed()
        })
        .collect();
    times.sort();
    println!("living: median {:?}, p99 {:?}", times[1000], times[1980]);
    let mut times: Vec<_> = (0..2000)
        .map(|n| {
            let begin = std::time::Instant::now();
            attributor.learn(&told(id(4_100_000, n + (1 << 40))));
            begin.elapsed()
        })
        .collect();
    times.sort();
    println!("gone: median {:?}, p99 {:?}", times[1000], times[1980]);
}

#[test]
fn no_secret_of_a_process_or_its_ancestors_gets_in_by_event_or_by_proc() {
    let machine = Machine::new();
    machine.process(20, 1, 1, 5, "sh", b"sh\0-c\0TOKEN=hunter2 node x.js\0");
    machine.process(30, 20, 1, 10, "node", b"node\0x.js\0--password=hunter2\0--port\x003100\0");
    let mut told = seen(id(30, 10), (20, "sh"), "node", "node x.js --password=hun");
    told.command = told.command.map(|command| CommandLine { truncated: true, ..command });
    let mut attributor = machine.attributor();
    let process = attributor.learn(&told);
    assert_eq!(process.command, Some(line("node x.js --password=*** --port 3100")));
    assert!(Arc::ptr_eq(&process, &attributor.learn(&told)), "a redacted line is no other line");
    let gone = attributor.learn(&seen(id(31, 10), (20, "sh"), "node", "node x.js --password=hunter2"));
    assert_eq!(gone.command, Some(line("node x.js --password=***")));
    let refreshed = attributor.refresh(id(30, 10)).unwrap();
    for process in [&process, &gone, &refreshed] {
        let text = format!("{process:?}");
        assert!(text.contains("TOKEN=*** node x.js") && !text.contains("hun"), "{text}");
    }
    let roots = Roots { proc: machine.dir.path().join("proc"), cgroup: machine.dir.path().join("cgroup") };
    let process = Attributor::with_redaction(roots, Redaction::off()).learn(&told);
    assert!(format!("{process:?}").contains("--password=hunter2"));
}

#[test]
fn a_description_has_its_bounds_whatever_its_process_and_its_parents_choose() {
    let machine = Machine::new();
    let fat = [b"fat\0".as_slice(), &[1; 4092]].concat();
    for pid in 2..20 {
        machine.process(pid, pid - 1, 1, u64::from(pid), "\u{1}\u{1}", &fat);
    }
    let mut attributor = machine.attributor();
    let process = attributor.of(id(19, 19)).unwrap();
    assert!(process.json_bytes() < 16 * 1024, "{}", process.json_bytes());
    let command = process.command.as_ref().unwrap();
    assert!(command.truncated && command.args.len() == 2, "{command:?}");
    assert_eq!(process.lineage.len(), 16, "every ancestor is named");
    let parent = process.lineage.first().unwrap().command.as_ref().unwrap();
    assert!(parent.truncated && parent.args.first().unwrap() == "fat", "{parent:?}");
    assert_eq!(process.lineage.last().unwrap().command, None, "one far above is named alone");

    // What a machine has is kept whole.
    let ordinary: Vec<u8> = (0..400).flat_map(|n| format!("--o{n:05}\0").into_bytes()).collect();
    machine.process(50, 1, 1, 50, "java", &ordinary);
    let java = attributor.of(id(50, 50)).unwrap();
    assert_eq!(java.command.as_ref().map(|c| (c.args.len(), c.truncated)), Some((400, false)));
    let told = attributor.learn(&ProcessSeen {
        command: Some(CommandLine::from_nul_separated(&fat[..256], true)),
        ..seen(id(19, 19), (18, "\u{1}\u{1}"), "\u{1}\u{1}", "")
    });
    assert!(Arc::ptr_eq(&told, &process), "an event tells nothing that is not known");
}

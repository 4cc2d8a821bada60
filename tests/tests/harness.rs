//! The harness itself: what the other tests rely on.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    time::Duration,
};

use nix::sys::signal::Signal;
use portwatch_tests::{Actor, DEADLINE, Netns, Portwatch, require_bpf, require_netns, wait_until};

#[test]
fn a_port_in_a_namespace_is_not_one_outside() {
    if !require_netns() {
        return;
    }
    let (one, other) = (Netns::new().unwrap(), Netns::new().unwrap());
    assert_ne!(one.inode().unwrap(), other.inode().unwrap());
    let (_listener, port) = one.enter(|| Actor::listener("127.0.0.1", 3100)).unwrap();
    assert_eq!(port, 3100);
    one.enter(|| Ok(TcpStream::connect(("127.0.0.1", 3100))?)).unwrap();
    other.enter(|| Ok(TcpListener::bind(("127.0.0.1", 3100))?)).unwrap();
    let error = one.enter(|| Ok(TcpListener::bind(("127.0.0.1", 3100))?)).unwrap_err();
    assert_eq!(error.downcast::<std::io::Error>().unwrap().raw_os_error(), Some(98));
}

#[test]
fn an_actor_tells_what_the_kernel_answered() {
    let (listener, port) = Actor::listener("127.0.0.1", 0).unwrap();
    let (loser, errno) = Actor::bind("127.0.0.1", port).unwrap();
    assert_eq!(errno, 98);
    assert!(loser.finish().unwrap().success());
    assert!(listener.finish().unwrap().success());
}

#[test]
fn a_dropped_actor_leaves_no_process() {
    let (actor, _) = Actor::listener("::1", 0).unwrap();
    let folder = format!("/proc/{}", actor.pid());
    assert!(Path::new(&folder).exists());
    drop(actor);
    assert!(!Path::new(&folder).exists());
}

#[test]
fn an_actor_that_is_signalled_says_by_what_it_ended() {
    use std::os::unix::process::ExitStatusExt as _;
    let (actor, _) = Actor::listener("127.0.0.1", 0).unwrap();
    actor.signal(Signal::SIGKILL).unwrap();
    assert_eq!(actor.finish().unwrap().signal(), Some(9));
}

#[test]
fn waiting_in_vain_names_what_was_waited_for() {
    let error = wait_until("rain", Duration::from_millis(5), || None::<()>).unwrap_err();
    assert_eq!(error.to_string(), "waited 5ms in vain for rain");
    assert_eq!(wait_until("sun", DEADLINE, || Some(1)).unwrap(), 1);
}

#[test]
fn a_portwatch_has_a_folder_of_its_own_and_leaves_nothing() {
    let portwatch = Portwatch::new().unwrap();
    let folder = portwatch.folder().to_owned();
    fs::create_dir(portwatch.state()).unwrap();
    let ran = portwatch.run(&["--version"]).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(portwatch.socket().as_os_str().len() < 100);
    drop(portwatch);
    assert!(!folder.exists());
}

#[test]
fn bpf_is_required_where_the_run_declares_it() {
    // Fails in a run with PORTWATCH_REQUIRE=ebpf on a machine without; elsewhere it tells.
    require_bpf();
}

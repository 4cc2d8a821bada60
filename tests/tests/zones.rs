//! Addresses of a link: two interfaces have the same one, and a bind names which is meant. What `who` says of it is held against binds that are
//! made, and `probe` binds itself.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use std::{
    net::{Ipv6Addr, SocketAddrV6},
    os::fd::{AsRawFd as _, OwnedFd},
    process::Command,
};

use nix::{
    errno::Errno,
    net::if_::if_nametoindex,
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrIn6, bind, listen, setsockopt, socket, sockopt,
    },
};
use portwatch_tests::{Actor, Netns, Portwatch, Source, in_own_netns, require_bpf, require_program};
use serde_json::{Value, json};

/// Both ends of the cable have it.
const LINK: &str = "fe80::77:1";
/// A number that no interface here has.
const NOBODYS: &str = "4242";

/// Where the interface of a socket is not known.
const UNSEEN: &str = "whether that is on this interface could not be seen";

/// Two ends of a cable, each with the same address of its link, and one of the machine.
fn furnish() {
    for words in [
        "link add va type veth peer name vb",
        "addr add fe80::77:1/64 dev va nodad",
        "addr add fe80::77:1/64 dev vb nodad",
        "addr add fe80::77:2/64 dev vb nodad",
        "addr add fd77::1/64 dev va nodad",
        "link set va up",
        "link set vb up",
    ] {
        let done = Command::new("ip").args(words.split(' ')).status().unwrap();
        assert!(done.success(), "ip {words}");
    }
}

fn number(zone: &str) -> u32 {
    zone.parse().unwrap_or_else(|_| if_nametoindex(zone).unwrap())
}

/// A socket on `address%zone`, bound to a device where one is named.
fn bound(
    (address, zone): (&str, &str),
    port: u16,
    (kind, device, reuse): (SockType, &str, bool),
) -> Result<OwnedFd, Errno> {
    let fd = socket(AddressFamily::Inet6, kind, SockFlag::SOCK_CLOEXEC, None)?;
    if !device.is_empty() {
        setsockopt(&fd, sockopt::BindToDevice, &device.into())?;
    }
    setsockopt(&fd, sockopt::ReuseAddr, &reuse)?;
    let zone = if zone.is_empty() { 0 } else { number(zone) };
    let place = SocketAddrV6::new(address.parse::<Ipv6Addr>().unwrap(), port, 0, zone);
    bind(fd.as_raw_fd(), &SockaddrIn6::from(place))?;
    Ok(fd)
}

fn listener(place: (&str, &str), port: u16, device: &str) -> OwnedFd {
    let fd = bound(place, port, (SockType::Stream, device, false)).unwrap();
    listen(&fd, Backlog::new(8).unwrap()).unwrap();
    fd
}

/// What is on which port.
fn occupied() -> Vec<OwnedFd> {
    vec![
        listener((LINK, "va"), 3100, ""),
        listener((LINK, "va"), 3101, ""),
        listener((LINK, "vb"), 3101, ""),
        listener(("::", ""), 3102, ""),
        listener(("::", ""), 3103, "vb"),
        listener(("fd77::1", ""), 3104, ""),
        bound((LINK, "vb"), 3105, (SockType::Stream, "", true)).unwrap(),
        bound((LINK, "va"), 3107, (SockType::Datagram, "", false)).unwrap(),
    ]
}

fn who(portwatch: &Portwatch, target: &str) -> Value {
    let ran = portwatch.run(&["who", target, "--json"]).unwrap();
    ran.json().unwrap_or_else(|error| panic!("{error}: {ran:?}"))["targets"][0].clone()
}

/// Every interface on every port: what is said is what happens. How often that was said, and how often the interface of
/// what is there was not known.
fn compare(portwatch: &Portwatch) -> (usize, usize) {
    let mut cases = Vec::new();
    for port in 3100..=3107 {
        for zone in ["va", "vb", "lo", NOBODYS] {
            cases.extend(
                ["tcp", "udp"].map(|protocol| (format!("[{LINK}%{zone}]:{port}/{protocol}"), port, zone)),
            );
        }
    }
    let targets: Vec<&str> = cases.iter().map(|(target, ..)| target.as_str()).collect();
    let ran = portwatch.run(&[&["who", "--json"][..], &targets].concat()).unwrap();
    let answer = ran.json().unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let (mut known, mut unknown) = (0, 0);
    let answers = answer["targets"].as_array().unwrap();
    assert_eq!(answers.len(), cases.len(), "{ran:?}");
    for ((target, port, zone), told) in cases.iter().zip(answers) {
        assert_eq!(told["asked"], target.as_str());
        let (udp, verdict) = (target.ends_with("udp"), &told["verdict"]);
        let kind = if udp { SockType::Datagram } else { SockType::Stream };
        let fares = |reuse| {
            let tried = bound((LINK, zone), *port, (kind, "", reuse));
            let listens =
                tried.and_then(|fd| if udp { Ok(()) } else { listen(&fd, Backlog::new(8).unwrap()) });
            listens.err().map_or(0, |errno| errno as i32)
        };
        let (plain, reuse) = (fares(false), fares(true));
        for (field, errno) in [("bindable", plain), ("with_reuse_addr", reuse)] {
            match verdict[field].as_bool() {
                Some(said) => {
                    known += 1;
                    assert_eq!(said, errno == 0, "{target}, {field}, {errno}: {verdict}");
                }
                // The tables do not tell SO_REUSEADDR either.
                None => unknown += usize::from(verdict["sentence"].as_str().unwrap().contains(UNSEEN)),
            }
        }
        if verdict["bindable"] == false {
            assert_eq!(verdict["errno"], plain, "{target}: {verdict}");
        }
    }
    (known, unknown)
}

#[test]
fn a_bind_on_a_link_fares_as_was_told_by_whoever_knows_the_interfaces_and_others_say_that_they_do_not() {
    if !require_program("ip") {
        return;
    }
    in_own_netns(|| {
        furnish();
        let kept = occupied();
        let knows = |portwatch: &Portwatch| {
            let (known, unknown) = compare(portwatch);
            assert!(known > 100 && unknown == 0, "{known} known, {unknown} unknown");
        };
        knows(&Portwatch::new().unwrap());
        knows(&Portwatch::started(&["--source", "scan"]).unwrap());
        if require_bpf() {
            // Those that were there before it, and those that it sees come.
            let daemon = Portwatch::started(&[]).unwrap();
            knows(&daemon);
            drop(kept);
            let _kept = occupied();
            knows(&daemon);
        }
    });
    in_own_netns(|| {
        furnish();
        let _kept = occupied();
        for source in [Source::Lsof, Source::Netstat].into_iter().filter(|source| source.ready()) {
            let portwatch = Portwatch::on(source).unwrap();
            assert!(compare(&portwatch).1 > 0, "{source:?} knows no interface");
            let told = who(&portwatch, &format!("[{LINK}%vb]:3100/tcp"));
            let sentence = told["verdict"]["sentence"].as_str().unwrap();
            assert!(sentence.contains(UNSEEN), "{told}");
        }
    });
}

#[test]
fn who_shows_the_sockets_of_the_interface_that_was_asked_about() {
    if !require_program("ip") {
        return;
    }
    in_own_netns(|| {
        furnish();
        let _kept = occupied();
        let mut portwatch = Portwatch::new().unwrap();
        for daemon in [false, true] {
            if daemon {
                portwatch.start(&["--source", "scan"]).unwrap();
            }
            for (target, state, sockets, sentence) in [
                ("[fe80::77:1%va]:3100", "held", 1, "would fail with EADDRINUSE"),
                ("[fe80::77:1%vb]:3100", "free", 0, "A bind of [fe80::77:1%vb]:3100 would succeed."),
                // As ss prints it, and without brackets.
                (
                    "[fe80::77:1]%va:3100",
                    "held",
                    1,
                    "A bind of [fe80::77:1%va]:3100 would fail with EADDRINUSE",
                ),
                ("fe80::77:1%vb:3100", "free", 0, "A bind of [fe80::77:1%vb]:3100 would succeed."),
                ("[fe80::77:1%vb]:3101", "held", 1, "listens there."),
                ("[fe80::77:1]:3101", "held", 2, "Ask with one: [fe80::77:1%INTERFACE]:3101."),
                ("[fe80::77:1%va]:3102", "held", 1, "listens on [::]:3102"),
                ("[fe80::77:1%va]:3103", "free", 0, "would succeed"),
                (
                    "[fe80::77:1%lo]:3106",
                    "free",
                    0,
                    "with EADDRNOTAVAIL: that interface does not have the address.",
                ),
                ("[fe80::77:1%4242]:3106", "free", 0, "with ENODEV: there is no such interface"),
                ("[ff02::5%va]:3107/udp", "free", 0, "A UDP bind of [ff02::5%va]:3107 would succeed."),
            ] {
                let told = who(&portwatch, target);
                assert_eq!(told["state"], state, "{target}: {told}");
                assert_eq!(told["sockets"].as_array().unwrap().len(), sockets, "{target}: {told}");
                let said = told["verdict"]["sentence"].as_str().unwrap();
                assert!(said.contains(sentence), "{target}: {said}");
                let plain = |text: &str| text.replace(['[', ']'], "");
                assert_eq!(plain(told["asked"].as_str().unwrap()), plain(target));
            }
        }
    });
}

#[test]
fn what_is_no_interface_or_no_address_of_a_link_is_refused_with_a_sentence() {
    if !require_program("ip") {
        return;
    }
    in_own_netns(|| {
        furnish();
        let portwatch = Portwatch::new().unwrap();
        for (words, sentence) in [
            (&["who", "[fe80::77:1%eth9]:3100"][..], "there is no interface 'eth9' here; ip link shows them"),
            (&["probe", "[fe80::77:1%eth9]:3100"], "there is no interface 'eth9' here; ip link shows them"),
            (&["probe", "[fe80::77:1%0]:3100"], "there is no interface '0' here"),
            (
                &["who", "127.0.0.53%lo:53"],
                "'127.0.0.53%lo' names an interface, which only an address of a link has",
            ),
            (
                &["probe", "[fd77::1%va]:3100"],
                "only an address of a link has (fe80::..., ff02::...); say 'fd77::1'",
            ),
            (&["who", "[fe80::77:1%]:3100"], "is not a port, host:port"),
            (&["who", "[fe80::77:1%va]:3100", "--all-namespaces"], "'va' is not the number of an interface"),
            (&["wait", "[fe80::77:1%eth9]:3100", "--free"], "there is no interface 'eth9' here"),
            (&["free", "[fd77::1%va]:3100"], "only an address of a link has"),
        ] {
            let ran = portwatch.run(words).unwrap();
            assert_eq!(ran.code, Some(2), "{words:?}: {ran:?}");
            assert!(ran.stderr.contains(sentence), "{words:?}: {ran:?}");
        }
    });
}

#[test]
fn probe_binds_on_the_interface_that_was_named_by_name_or_number() {
    if !require_program("ip") {
        return;
    }
    in_own_netns(|| {
        furnish();
        let _kept = occupied();
        let portwatch = Portwatch::new().unwrap();
        let vb = number("vb").to_string();
        for (zone, port, code, errno) in [
            ("va", 3100, 1, json!("EADDRINUSE")),
            ("vb", 3100, 0, Value::Null),
            (vb.as_str(), 3100, 0, Value::Null),
            (vb.as_str(), 3101, 1, json!("EADDRINUSE")),
            ("va", 3102, 1, json!("EADDRINUSE")),
            ("va", 3103, 0, Value::Null),
            ("lo", 3106, 1, json!("EADDRNOTAVAIL")),
            (NOBODYS, 3106, 1, json!("ENODEV")),
        ] {
            let ran = portwatch.run(&["probe", &format!("[{LINK}%{zone}]:{port}"), "--json"]).unwrap();
            let told = ran.json().unwrap_or_else(|error| panic!("{error}: {ran:?}"));
            let tried = &told["addresses"][0];
            assert_eq!(
                (ran.code, &tried["plain"]["errno_name"]),
                (Some(code), &errno),
                "{zone} {port}: {told}"
            );
            assert_eq!(tried["address"], format!("{LINK}%{zone}"), "{told}");
            // What was computed is what was done.
            assert_eq!(tried["verdict"]["bindable"], code == 0, "{zone} {port}: {told}");
            let text = portwatch.run(&["probe", &format!("[{LINK}%{zone}]:{port}")]).unwrap().text();
            assert!(text.contains(&format!("[{LINK}%{zone}]:{port}")), "{text}");
        }
    });
}

/// What `ls` and `who` show of the interfaces that sockets are bound to.
fn shown(portwatch: &Portwatch) {
    let (va, vb) = (number("va"), number("vb"));
    let ran = portwatch.run(&["ls", "--json", "--all"]).unwrap();
    let list = ran.json().unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    for (port, address, interface, index) in [
        (3100, LINK, json!("va"), va),
        (3103, "::", json!("vb"), vb),
        (3102, "::", Value::Null, 0),
        (3104, "fd77::1", Value::Null, 0),
        (3105, LINK, json!("vb"), vb),
        (3107, LINK, json!("va"), va),
    ] {
        let asked = format!("{port}");
        let in_list = list["sockets"].as_array().unwrap().iter().find(|s| s["port"] == port).unwrap();
        for socket in [in_list, &who(portwatch, &asked)["sockets"][0]] {
            assert_eq!((&socket["address"], &socket["interface"]), (&json!(address), &interface), "{socket}");
            assert_eq!(socket["interface_index"], index, "{socket}");
        }
    }
    let text = portwatch.run(&["ls"]).unwrap().text();
    // One row for a program, its interfaces by number.
    let both = if va < vb { "fe80::77:1%va fe80::77:1%vb" } else { "fe80::77:1%vb fe80::77:1%va" };
    for words in ["fe80::77:1%va", "*%vb", both] {
        assert!(text.contains(words), "{words}: {text}");
    }
    for (port, words) in [
        ("3100", "[fe80::77:1%va]:3100"),
        ("3101", "[fe80::77:1%va]:3101"),
        ("3101", "[fe80::77:1%vb]:3101"),
        ("3103", "*%vb:3103 (IPv4 and IPv6)"),
    ] {
        let text = portwatch.run(&["who", port]).unwrap().text();
        assert!(text.contains(words), "{port}: {text}");
    }
}

#[test]
fn a_socket_is_shown_with_the_interface_that_it_is_bound_to_by_whoever_knows_it() {
    if !require_program("ip") {
        return;
    }
    in_own_netns(|| {
        furnish();
        let kept = occupied();
        shown(&Portwatch::new().unwrap());
        shown(&Portwatch::started(&["--source", "scan"]).unwrap());
        if require_bpf() {
            let daemon = Portwatch::started(&[]).unwrap();
            shown(&daemon);
            // Of those that come the kernel's programs do not tell it.
            drop(kept);
            let _kept = occupied();
            shown(&daemon);
        }
        // From another namespace, where the numbers are others' and the names are not.
        let here = Netns::current().unwrap().to_string();
        let _kept = listener((LINK, "vb"), 3110, "");
        // A namespace is found by a process in it.
        let _resident = Actor::listener("127.0.0.1", 3111).unwrap();
        let elsewhere = Netns::new().unwrap();
        let portwatch = Portwatch::new().unwrap();
        let ask = || portwatch.run(&["who", "3110", "--json", "--netns", &here]);
        let ran = elsewhere.enter(ask).unwrap();
        let answer = ran.json().unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        assert_eq!(answer["targets"][0]["sockets"][0]["interface"], "vb", "{answer}");
        for source in [Source::Lsof, Source::Netstat].into_iter().filter(|source| source.ready()) {
            let told = who(&Portwatch::on(source).unwrap(), "3110");
            assert_eq!(told["sockets"][0]["interface_index"], Value::Null, "{source:?}: {told}");
        }
    });
}

#[test]
fn what_is_freed_and_waited_for_is_what_listens_on_the_interface_that_was_named() {
    if !require_program("ip") {
        return;
    }
    in_own_netns(|| {
        furnish();
        let program = "
import socket, sys
s = socket.socket(socket.AF_INET6)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[1], 3100, 0, int(sys.argv[2])))
s.listen()
print('ready', flush=True)
while True:
    peer = s.accept()[0]
    peer.recv(4096)
    peer.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\n')
    peer.close()
";
        let serve = |zone: &str| {
            let mut actor = Actor::python(program, &[LINK, &number(zone).to_string()]).unwrap();
            assert_eq!(actor.line().unwrap(), "ready");
            actor
        };
        let (mut va, mut vb) = (serve("va"), serve("vb"));
        let portwatch = Portwatch::new().unwrap();
        let on = |zone: &str| format!("[{LINK}%{zone}]:3100");
        let code = |words: &[&str]| {
            let ran = portwatch.run(words).unwrap();
            (ran.code, format!("{}{}", ran.stdout, ran.stderr))
        };
        assert_eq!(code(&["wait", &on("va"), "--healthy", "--timeout", "5s"]).0, Some(0));
        let (lo, said) = code(&["wait", &on("lo"), "--listening", "--timeout", "100ms"]);
        assert_eq!(lo, Some(1), "{said}");
        let (freed, said) = code(&["free", &on("va"), "--yes"]);
        assert_eq!(freed, Some(0), "{said}");
        assert!(said.contains(&on("va")), "as it was typed: {said}");
        assert!(va.has_ended().unwrap() && !vb.has_ended().unwrap(), "{said}");
        assert_eq!(code(&["wait", &on("va"), "--free", "--timeout", "5s"]).0, Some(0));
        assert_eq!(code(&["wait", &on("vb"), "--free", "--timeout", "100ms"]).0, Some(1));
    });
}

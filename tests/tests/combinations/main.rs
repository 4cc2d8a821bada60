//! Whatever is on a port, in whichever combination: the verdict is the kernel's, or says that it does not know.
//!
//! Sockets of every kind that the kernel here has, one to three of them on a port, chosen by dice with a seed; then `who` is asked
//! about every kind of address, and the binds are made, some by `probe` too. `PORTWATCH_COMBINATIONS=N` makes N of them a source instead of a few
//! seconds' worth, `PORTWATCH_SEED` throws other dice.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do"
)]

use std::{collections::BTreeMap, env, fs, process::Command};

use portwatch_tests::{Actor, Netns, Portwatch, require_bpf, require_netns, require_program};
use serde_json::{Value, json};

/// Makes the sockets and tries the binds.
const MAKER: &str = include_str!("maker.py");

/// Ports of one question.
const AT_ONCE: usize = 50;

/// One question in so many is put to `probe` too, which takes a process for each.
const PROBED: usize = 10;

/// What a socket is made on.
const PLACES: [&str; 18] = [
    "0.0.0.0",
    "127.0.0.1",
    "127.0.0.2",
    "127.0.0.6",
    "10.77.0.1",
    "10.77.0.255",
    "224.0.0.5",
    "192.0.2.9",
    "::",
    "::",
    "::1",
    "fd77::1",
    "fe80::77:1%va",
    "fe80::77:1%vb",
    "ff02::5%va",
    "2001:db8::9",
    "::ffff:127.0.0.1",
    "::ffff:0.0.0.0",
];

/// What is asked about: the empty one is a port alone.
const ASKED: [&str; 28] = [
    "",
    "",
    "0.0.0.0",
    "127.0.0.1",
    "127.0.0.2",
    "127.0.0.6",
    "10.77.0.1",
    "10.78.0.2",
    "10.77.0.255",
    "224.0.0.5",
    "255.255.255.255",
    "192.0.2.9",
    "::",
    "::1",
    "fd77::1",
    "fd78::1",
    "fe80::77:1",
    "fe80::77:1%va",
    "fe80::77:1%va",
    "fe80::77:1%vb",
    "fe80::77:1%lo",
    "fe80::77:1%4242",
    "ff02::5",
    "ff02::5%vb",
    "ff05::5",
    "2001:db8::9",
    "::ffff:127.0.0.1",
    "::ffff:0.0.0.0",
];

const TCP_STATES: [&str; 22] = [
    "bound",
    "listen",
    "listen",
    "listen-shut",
    "listen-flipped",
    "flipped",
    "shared-late",
    "gone",
    "client",
    "client-time-wait",
    "disconnected",
    "refused",
    "syn-sent",
    "lent",
    "open/stays",
    "open/goes",
    "time-wait/stays",
    "time-wait/goes",
    "fin-wait/stays",
    "fin-wait/goes",
    "close-wait/stays",
    "close-wait/goes",
];
const UDP_STATES: [&str; 5] = ["udp", "udp", "connected", "flipped", "shared-late"];

/// Numbers that look random and are the same in each run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % bound
    }

    fn one_in(&mut self, number: usize) -> bool {
        self.below(number) == 0
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

fn socket(dice: &mut Dice, udp: bool, port: u16) -> Value {
    let address = dice.of(&PLACES);
    let mut words = vec!["freebind".to_owned()];
    for (word, rarity) in [("reuse", 2), ("reuseport", 3), ("nobody", 4)] {
        if dice.one_in(rarity) {
            words.push(word.to_owned());
        }
    }
    if address.contains(':') && dice.one_in(2) {
        words.push(dice.of(&["v6only", "both"]).to_owned());
    }
    if dice.one_in(6) {
        words.push(dice.of(&["device=va", "device=lo", "ifindex=va"]).to_owned());
    }
    let proto = match udp {
        true => "udp",
        false if dice.one_in(10) => "mptcp",
        false => "tcp",
    };
    let state = if udp { dice.of(&UDP_STATES) } else { dice.of(&TCP_STATES) };
    let over = if dice.one_in(2) { 4 } else { 6 };
    json!({ "proto": proto, "address": address, "port": port, "words": words, "state": state, "over": over })
}

fn request(protocol: &str, address: &str, port: u16, words: &[&str]) -> Value {
    json!({ "proto": protocol, "address": address, "port": port, "words": words })
}

/// One question about one port, and what was there.
struct Case {
    target: String,
    protocol: &'static str,
    address: &'static str,
    port: u16,
    made: Vec<Value>,
}

fn tell(maker: &mut Actor, request: &Value) -> Vec<i64> {
    maker.say(&request.to_string()).unwrap();
    serde_json::from_str(&maker.line().unwrap()).unwrap()
}

#[derive(Default, Debug)]
struct Counts {
    right: usize,
    refused: usize,
    probed: usize,
    unknown: BTreeMap<String, usize>,
    wrong: Vec<String>,
}

impl Counts {
    /// Compares one answer with the binds that it spoke of.
    fn compare(&mut self, maker: &mut Actor, case: &Case, told: &Value) {
        // A port alone means both families.
        let addresses = if case.address.is_empty() { vec!["0.0.0.0", "::"] } else { vec![case.address] };
        let mut fares = |words: &[&str]| {
            let binds: Vec<_> =
                addresses.iter().map(|address| request(case.protocol, address, case.port, words)).collect();
            let errnos = tell(maker, &json!({ "bind": binds }));
            errnos.into_iter().find(|&errno| errno != 0).unwrap_or(0)
        };
        let (plain, with) = (fares(&[]), fares(&["reuse"]));
        for (field, words, errno) in [("bindable", "plain", plain), ("with_reuse_addr", "reuse", with)] {
            match told[field].as_bool() {
                Some(said) if said == (errno == 0) => {
                    self.right += 1;
                    self.refused += usize::from(!said);
                }
                Some(_) => {
                    self.wrong
                        .push(format!("{}, {words} {errno}: {told}\n  beside {:#?}", case.target, case.made));
                }
                None => {
                    let sentence = told["sentence"].as_str().unwrap();
                    let why = sentence.rsplit(':').next().unwrap();
                    *self
                        .unknown
                        .entry(why.chars().filter(|c| !c.is_ascii_digit()).collect())
                        .or_default() += 1;
                }
            }
        }
        if told["bindable"] == false && told["errno"] != plain {
            self.wrong.push(format!("{}, errno {plain}: {told}\n  beside {:#?}", case.target, case.made));
        }
        if let Some((_, user)) =
            told["sentence"].as_str().unwrap().split_once("With SO_REUSEPORT a socket of ")
        {
            let words: &[&str] = if user.starts_with("nobody") || user.starts_with("uid 65534") {
                &["reuseport", "nobody"]
            } else {
                &["reuseport"]
            };
            let errno = fares(words);
            if errno != 0 && !case.address.is_empty() {
                self.wrong.push(format!("{}, join {errno}: {told}\n  beside {:#?}", case.target, case.made));
            }
        }
    }
}

impl Counts {
    /// Compares it with the binds that `probe` makes.
    fn probe(&mut self, portwatch: &Portwatch, case: &Case, told: &Value) {
        let ran = portwatch.run(&["probe", &case.target, "--json"]).unwrap();
        let probe = ran.json().unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        for field in ["bindable", "with_reuse_addr"] {
            if !told[field].is_null() && told[field] != probe[field] {
                self.wrong.push(format!("{}, {probe}: {told}\n  beside {:#?}", case.target, case.made));
            }
        }
        self.probed += 1;
    }
}

/// A namespace with two ends of a cable that leads nowhere, and addresses of every kind.
fn furnish() {
    for words in [
        "link add va type veth peer name vb",
        "addr add 10.77.0.1/24 brd + dev va",
        "addr add fd77::1/64 dev va nodad",
        "addr add fe80::77:1/64 dev va nodad",
        "addr add fe80::77:1/64 dev vb nodad",
        "link set va up",
        "link set vb up",
        "route add local 10.78.0.0/24 dev lo",
        "-6 route add local fd78::/64 dev lo",
        "neigh add 10.77.0.77 lladdr 02:00:00:00:00:77 dev va",
        "neigh add fd77::77 lladdr 02:00:00:00:00:77 dev va",
    ] {
        let done = Command::new("ip").args(words.split(' ')).status().unwrap();
        assert!(done.success(), "ip {words}");
    }
}

fn rounds(portwatch: &Portwatch, (number, seed): (usize, u64)) -> Counts {
    let mut maker = Actor::python(MAKER, &[]).unwrap();
    let mut dice = Dice(seed);
    let mut counts = Counts::default();
    let mut port = 2000;
    for round in 0..number.div_ceil(AT_ONCE) {
        for (setting, every) in
            [("ipv6/bindv6only", 2), ("ipv4/ip_nonlocal_bind", 3), ("ipv6/ip_nonlocal_bind", 3)]
        {
            let on = u8::from(round % every == 1);
            fs::write(format!("/proc/sys/net/{setting}"), on.to_string()).unwrap();
        }
        let mut cases = Vec::new();
        for _ in 0..AT_ONCE {
            port = if port == 40_000 { 2000 } else { port + 1 };
            let udp = dice.one_in(4);
            let made: Vec<_> = (0..=dice.below(3)).map(|_| socket(&mut dice, udp, port)).collect();
            let errnos = tell(&mut maker, &json!({ "make": made }));
            assert_eq!(errnos.len(), made.len(), "{made:?}");
            let made: Vec<_> = made
                .into_iter()
                .zip(errnos)
                .map(|(mut made, errno)| {
                    made["errno"] = errno.into();
                    made
                })
                .collect();
            for _ in 0..3 {
                let address = dice.of(&ASKED);
                let protocol = if udp { "udp" } else { "tcp" };
                let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
                let target = format!("{host}:{port}/{protocol}");
                cases.push(Case { target, protocol, address, port, made: made.clone() });
            }
        }
        let targets: Vec<_> = cases.iter().map(|case| case.target.as_str()).collect();
        let ran = portwatch.run(&[&["who", "--json"][..], &targets].concat()).unwrap();
        let answer = ran.json().unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        let answers = answer["targets"].as_array().unwrap();
        assert_eq!(answers.len(), cases.len(), "{ran:?}");
        for (case, answer) in cases.iter().zip(answers) {
            counts.compare(&mut maker, case, &answer["verdict"]);
            if dice.one_in(PROBED) {
                counts.probe(portwatch, case, &answer["verdict"]);
            }
        }
        tell(&mut maker, &json!({ "drop": true }));
    }
    assert!(maker.finish().unwrap().success());
    counts
}

fn combinations(daemon: Option<&[&str]>) {
    if !(require_netns() && require_program("ip") && (daemon.is_none() || require_bpf())) {
        return;
    }
    let number = env::var("PORTWATCH_COMBINATIONS").ok().map_or(100, |text| text.parse().unwrap());
    let seed = env::var("PORTWATCH_SEED").ok().map_or(0x5eed, |text| text.parse().unwrap());
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            furnish();
            let portwatch = match daemon {
                Some(arguments) => Portwatch::started(arguments)?,
                None => Portwatch::new()?,
            };
            let counts = rounds(&portwatch, (number, seed));
            let Counts { right, refused, probed, unknown, .. } = &counts;
            eprintln!("{right} right ({refused} refused, {probed} probed), unknown: {unknown:#?}");
            let unknown: usize = counts.unknown.values().sum();
            assert!(counts.wrong.is_empty(), "{} wrong:\n{}", counts.wrong.len(), counts.wrong.join("\n"));
            assert!(counts.right > number && counts.refused > number / 2, "{counts:?}");
            assert!(counts.probed > 0, "{counts:?}");
            assert!(unknown < counts.right, "{counts:?}");
            Ok(())
        })
        .unwrap();
}

#[test]
fn with_kernel_programs_every_combination_fares_as_was_told() {
    combinations(Some(&[]));
}

#[test]
fn with_a_daemon_that_polls_every_combination_fares_as_was_told() {
    combinations(Some(&["--source", "scan"]));
}

#[test]
fn without_a_daemon_every_combination_fares_as_was_told() {
    combinations(None);
}

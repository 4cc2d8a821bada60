//! Properties: after any loss and any interleaving of events and snapshots, the table equals the kernel and the
//! account is exact.

use std::collections::{BTreeMap, VecDeque};

use jiff::SignedDuration;
use proptest::{collection::vec, prelude::*};

use super::{
    super::{LiveTable, Policy},
    build::*,
};
use crate::model::{
    AskedPort, Change, EventKind, Evidence, GapReason, LossCounts, Netns, Observation, Phase, ProcessId,
    Protocol, Seen, SnapshotSocket, SocketSeen,
};
use EventKind::{Bind, Close, Listen, Noise, Unlisten};

#[derive(Debug, Clone, Copy)]
enum Step {
    Bind {
        by: u8,
        place: u8,
        lost: bool,
    },
    Listen {
        which: u8,
        lost: bool,
    },
    Unlisten {
        which: u8,
        lost: bool,
    },
    Close {
        which: u8,
        lost: bool,
    },
    Exit {
        who: u8,
        lost: bool,
    },
    /// A snapshot begins, reads half of its sockets, reads the other half, is delivered.
    Look,
    /// Some of what waits in the ring is taken out.
    Consume {
        count: u8,
    },
    /// Somebody sets the wall clock.
    SetClock {
        by: i16,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let lost = || prop::bool::weighted(0.3);
    prop_oneof![
        4 => (any::<u8>(), any::<u8>(), lost()).prop_map(|(by, place, lost)| Step::Bind { by, place, lost }),
        3 => (any::<u8>(), lost()).prop_map(|(which, lost)| Step::Listen { which, lost }),
        1 => (any::<u8>(), lost()).prop_map(|(which, lost)| Step::Unlisten { which, lost }),
        2 => (any::<u8>(), lost()).prop_map(|(which, lost)| Step::Close { which, lost }),
        1 => (any::<u8>(), lost()).prop_map(|(who, lost)| Step::Exit { who, lost }),
        3 => Just(Step::Look),
        4 => (0_u8..6).prop_map(|count| Step::Consume { count }),
        1 => any::<i16>().prop_map(|by| Step::SetClock { by }),
    ]
}

#[derive(Debug)]
enum Look {
    None,
    Begun(i64),
    Half(i64, Vec<SnapshotSocket>),
    Read(i64, Vec<SnapshotSocket>),
}

struct World {
    table: LiveTable,
    out: Vec<Change>,
    /// Milliseconds since boot.
    now: i64,
    /// How far the wall clock is ahead of that, in truth and by the source's last look at it.
    wall: i64,
    held: i64,
    cookies: u64,
    sockets: BTreeMap<u64, (SocketSeen, u32)>,
    slots: [u32; 4],
    ring: VecDeque<Observation>,
    look: Look,
    happened: LossCounts,
    lost: LossCounts,
    reported: LossCounts,
}

impl World {
    fn new() -> Self {
        Self {
            table: LiveTable::new(Policy::default()),
            out: Vec::new(),
            now: 0,
            wall: 0,
            held: 0,
            cookies: 0,
            sockets: BTreeMap::new(),
            slots: [1, 2, 3, 4],
            ring: VecDeque::new(),
            look: Look::None,
            happened: LossCounts::default(),
            lost: LossCounts::default(),
            reported: LossCounts::default(),
        }
    }

    fn count(counts: &mut LossCounts, seen: &Seen) {
        match seen {
            Seen::Bound(_) => counts.bind += 1,
            Seen::Listening(_) => counts.listen += 1,
            Seen::Unlistened(_) | Seen::Closed(_) => counts.close += 1,
            _ => counts.exit += 1,
        }
    }

    fn emit(&mut self, observation: Observation, lost: bool) {
        Self::count(&mut self.happened, &observation.seen);
        if lost {
            Self::count(&mut self.lost, &observation.seen);
        } else {
            self.ring.push_back(observation);
        }
    }

    fn pick(&self, which: u8, wanted: impl Fn(&SocketSeen) -> bool) -> Option<u64> {
        let fit: Vec<_> = self.sockets.iter().filter(|(_, (s, _))| wanted(s)).map(|(&k, _)| k).collect();
        (!fit.is_empty()).then(|| fit[usize::from(which) % fit.len()])
    }

    fn read(&self, odd: u64) -> Vec<SnapshotSocket> {
        let half = self.sockets.iter().filter(|(k, _)| *k % 2 == odd);
        half.map(|(_, (seen, by))| held(seen, &[*by])).collect()
    }

    fn consume(&mut self, count: usize) {
        for _ in 0..count {
            let Some(mut observation) = self.ring.pop_front() else { return };
            // Records have the time since boot; the source dates them when it takes them out.
            observation.at += SignedDuration::from_millis(self.held);
            self.table.apply(observation, &mut self.out);
        }
    }

    /// A delivery begins: the source takes over the wall clock, unless it is in the middle of a look.
    fn follow_clock(&mut self) {
        if matches!(self.look, Look::None) && self.wall != self.held {
            let by = SignedDuration::from_millis(self.wall - self.held);
            self.held = self.wall;
            let set = Observation::new(at(self.now + self.held), Evidence::Kernel, Seen::ClockSet { by });
            self.table.apply(set, &mut self.out);
        }
    }

    fn advance_look(&mut self) {
        self.follow_clock();
        let held = self.held;
        self.look = match std::mem::replace(&mut self.look, Look::None) {
            Look::None => Look::Begun(self.now),
            Look::Begun(begun) => Look::Half(begun, self.read(0)),
            Look::Half(begun, mut half) => {
                half.extend(self.read(1));
                Look::Read(begun, half)
            }
            Look::Read(begun, sockets) => {
                let lost = std::mem::take(&mut self.lost);
                self.reported.bind += lost.bind;
                self.reported.listen += lost.listen;
                self.reported.close += lost.close;
                let gap = Seen::Gap { lost, since: at(0), reason: GapReason::BufferFull };
                let gap = Observation::new(at(self.now + held), Evidence::Kernel, gap);
                self.table.apply(gap, &mut self.out);
                let shot = snapshot(begun + held, self.now + held, sockets);
                self.table.apply(taken(shot), &mut self.out);
                Look::None
            }
        };
    }

    fn run(&mut self, step: Step) {
        self.now += 1;
        let now = self.now;
        match step {
            Step::Bind { by, place, lost } => {
                self.cookies += 1;
                let by = self.slots[usize::from(by) % 4];
                let number = if place & 1 == 0 { 3_000 } else { 40_000 } + u16::from(place >> 4) % 4;
                let mut seen = if place & 2 == 0 {
                    tcp(self.cookies, "127.0.0.1", number)
                } else {
                    let asked = if place & 8 == 0 {
                        AskedPort::KernelChosen
                    } else {
                        AskedPort::Explicit(port(number))
                    };
                    udp(self.cookies, asked, number)
                };
                seen.endpoint.netns = Some(if place & 4 == 0 { HOST } else { Netns(2) });
                self.sockets.insert(self.cookies, (seen.clone(), by));
                self.emit(bound(now, seen, by), lost);
            }
            Step::Listen { which, lost } => {
                let able = |s: &SocketSeen| s.endpoint.protocol == Protocol::Tcp && s.phase == Phase::Bound;
                if let Some(cookie) = self.pick(which, able) {
                    let (seen, by) = self.sockets.get_mut(&cookie).unwrap();
                    seen.phase = Phase::Listening;
                    let event = listening(now, seen.clone(), *by);
                    self.emit(event, lost);
                }
            }
            Step::Unlisten { which, lost } => {
                if let Some(cookie) = self.pick(which, |s| s.phase == Phase::Listening) {
                    self.sockets.get_mut(&cookie).unwrap().0.phase = Phase::Bound;
                    self.emit(unlistened(now, cookie), lost);
                }
            }
            Step::Close { which, lost } => {
                if let Some(cookie) = self.pick(which, |_| true) {
                    let (_, by) = self.sockets.remove(&cookie).unwrap();
                    self.emit(closed(now, cookie, by), lost);
                }
            }
            Step::Exit { who, lost } => {
                let slot = usize::from(who) % 4;
                let process = self.slots[slot];
                self.slots[slot] = process + 4;
                self.emit(exited(now, pid(process)), lost);
                let orphans: Vec<_> =
                    self.sockets.iter().filter(|(_, (_, by))| *by == process).map(|(&k, _)| k).collect();
                for cookie in orphans {
                    self.now += 1;
                    self.sockets.remove(&cookie);
                    self.emit(closed(self.now, cookie, process), lost);
                }
            }
            Step::Look => self.advance_look(),
            Step::Consume { count } => {
                self.follow_clock();
                self.consume(count.into());
            }
            Step::SetClock { by } => self.wall += i64::from(by),
        }
    }

    /// A last look, begun when nothing happens any more.
    fn last_look(&mut self) {
        while !matches!(self.look, Look::None) {
            self.advance_look();
        }
        self.now += 1;
        for _ in 0..4 {
            self.advance_look();
        }
    }

    fn rows(&self, kinds: &[EventKind]) -> u64 {
        let rows = self.out.iter().filter(|c| c.event.evidence == Evidence::Kernel);
        rows.filter(|c| kinds.contains(&c.event.kind)).map(|c| c.event.count).sum()
    }
}

type Row = (u64, SocketSeen, Vec<ProcessId>);

fn live(table: &LiveTable) -> Vec<Row> {
    let mut rows: Vec<Row> = table
        .sockets()
        .map(|s| {
            let crate::model::SocketKey::Cookie(cookie) = s.seen.key else { unreachable!() };
            let seen = SocketSeen { asked: AskedPort::Unknown, ..s.seen.clone() };
            (cookie, seen, s.holders.iter().map(|h| h.process).collect())
        })
        .collect();
    rows.sort_by_key(|row| row.0);
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_any_loss_the_table_equals_the_kernel_and_the_account_is_exact(
        steps in vec(step(), 0..80),
        ring_first: bool,
    ) {
        let mut world = World::new();
        for step in steps {
            world.run(step);
        }
        // What waits in the ring may come before the last snapshot or after it.
        if ring_first {
            world.consume(usize::MAX);
        }
        world.last_look();
        world.consume(usize::MAX);

        let truth: Vec<Row> = world
            .sockets
            .iter()
            .map(|(&k, (seen, by))| (k, SocketSeen { asked: AskedPort::Unknown, ..seen.clone() }, vec![pid(*by)]))
            .collect();
        prop_assert_eq!(live(&world.table), truth);
        let listening = world.sockets.values().filter(|(s, _)| s.phase == Phase::Listening).count();
        prop_assert_eq!(world.table.listening(), listening);
        prop_assert_eq!(world.table.bound_only(), world.sockets.len() - listening);

        let mut out = std::mem::take(&mut world.out);
        world.table.tick(at(1_000_000_000), &mut out);
        prop_assert_eq!(world.table.next_tick(), None);
        world.out = out;
        let tally = world.table.tally();
        let (all, lost) = (world.happened, world.reported);
        prop_assert_eq!(world.rows(&[Bind, Noise]) + lost.bind, all.bind);
        prop_assert_eq!(world.rows(&[Noise]), tally.noise_binds);
        prop_assert_eq!(world.rows(&[Listen]) + lost.listen, all.listen);
        let ends = world.rows(&[Close, Unlisten]) + tally.noise_closes + tally.unknown;
        prop_assert_eq!(ends + lost.close, all.close);
    }
}

/// Time that this thread has worked: what others do on the machine is not in it.
#[cfg(target_os = "linux")]
fn worked() -> std::time::Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

#[cfg(not(target_os = "linux"))]
fn worked() -> std::time::Duration {
    static BEGUN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    BEGUN.get_or_init(std::time::Instant::now).elapsed()
}

/// The number is printed; the bound is loose because debug builds run this too.
#[test]
fn six_hundred_thousand_observations_pass_in_little_time_and_leave_nothing() {
    let mut table = LiveTable::new(Policy::default());
    let mut out = Vec::new();
    let seen = tcp(0, "127.0.0.1", 3100);
    let begun = worked();
    let mut rows = 0;
    for cookie in 1..=200_000_u64 {
        let by = u32::try_from(cookie % 4).unwrap();
        let now = i64::try_from(cookie / 50).unwrap();
        let seen = SocketSeen { key: key(cookie), ..seen.clone() };
        table.apply(bound(now, seen.clone(), by), &mut out);
        table.apply(listening(now, seen, by), &mut out);
        table.apply(closed(now, cookie, by), &mut out);
        if cookie % 100 == 0 {
            rows += out.len();
            out.clear();
        }
    }
    let took = worked().checked_sub(begun).unwrap();
    println!("600,000 observations in {took:?}");
    assert_eq!(rows, 600_000);
    assert!(table.is_empty() && table.next_tick().is_none());
    assert!(took.as_secs() < 30, "{took:?}");
}

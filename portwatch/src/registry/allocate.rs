//! Which port a name gets: where its hash says, or the next one that is free.

use std::ops::RangeInclusive;

use super::{Name, PortRange, PortSet};
use crate::model::Port;

/// Why a port is not given. In the order in which they are looked at: what costs least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Obstacle {
    /// The project or the default leaves it out.
    Excluded,
    /// The kernel keeps it back (`net.ipv4.ip_local_reserved_ports`).
    Reserved,
    /// The kernel lends it to outgoing connections (`net.ipv4.ip_local_port_range`).
    Ephemeral,
    /// Below `net.ipv4.ip_unprivileged_port_start`, and the caller is not root.
    Privileged,
    /// Another claim has it.
    Claimed,
    /// A real bind was refused: something is bound, or a closed connection still waits (EADDRINUSE).
    InUse,
    /// The host asked for is no address of this machine (EADDRNOTAVAIL).
    NoAddress,
    /// A real bind was not permitted or not possible for another reason.
    Refused,
}

impl Obstacle {
    /// Every obstacle.
    pub const ALL: [Self; 8] = [
        Self::Excluded,
        Self::Reserved,
        Self::Ephemeral,
        Self::Privileged,
        Self::Claimed,
        Self::InUse,
        Self::NoAddress,
        Self::Refused,
    ];

    /// The words after a count: "12 claimed".
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Excluded => "excluded",
            Self::Reserved => "reserved by the kernel",
            Self::Ephemeral => "in the ephemeral range",
            Self::Privileged => "privileged",
            Self::Claimed => "claimed",
            Self::InUse => "in use",
            Self::NoAddress => "on an address that this machine does not have",
            Self::Refused => "refused by the kernel",
        }
    }
}

/// What somebody asks of a port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Out of this range.
    pub range: Option<PortRange>,
    /// None of these.
    pub exclude: PortSet,
    /// The ephemeral range may be used.
    pub ephemeral: bool,
    /// Ports that need a privilege may be used.
    pub privileged: bool,
}

/// Under which terms ports are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Out of these.
    pub range: PortRange,
    /// And of these none.
    pub exclude: PortSet,
    /// `net.ipv4.ip_local_reserved_ports`
    pub reserved: PortSet,
    /// `net.ipv4.ip_local_port_range`; `None` when it was asked for.
    pub ephemeral: Option<RangeInclusive<u16>>,
    /// Ports below need a privilege that the caller lacks.
    pub unprivileged_from: u16,
}

impl Terms {
    /// What the terms alone say against a port.
    pub fn against(&self, port: Port) -> Option<Obstacle> {
        if self.exclude.contains(port) {
            Some(Obstacle::Excluded)
        } else if self.reserved.contains(port) {
            Some(Obstacle::Reserved)
        } else if self.ephemeral.as_ref().is_some_and(|range| range.contains(&port.get())) {
            Some(Obstacle::Ephemeral)
        } else if port.get() < self.unprivileged_from {
            Some(Obstacle::Privileged)
        } else {
            None
        }
    }
}

/// No port of the range can be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted {
    /// The range.
    pub range: PortRange,
    /// How many of its ports each obstacle stands before; those that stand before none are left out.
    pub counts: Vec<(Obstacle, u32)>,
}

/// The port for the `slot`th port (from 0) of `name`: the first, from where the name's hash points, that neither
/// the terms nor `obstacle` speak against. `obstacle` may fail; then so does this.
pub fn allocate<E>(
    name: &Name,
    slot: u16,
    terms: &Terms,
    mut obstacle: impl FnMut(Port) -> Result<Option<Obstacle>, E>,
) -> Result<Result<Port, Exhausted>, E> {
    let mut counts = [0_u32; Obstacle::ALL.len()];
    for port in candidates(name, slot, terms.range) {
        let against = match terms.against(port) {
            None => obstacle(port)?,
            some => some,
        };
        match against {
            None => return Ok(Ok(port)),
            Some(against) => {
                let index = Obstacle::ALL.iter().position(|&o| o == against);
                if let Some(count) = index.and_then(|index| counts.get_mut(index)) {
                    *count += 1;
                }
            }
        }
    }
    let counts = Obstacle::ALL.into_iter().zip(counts).filter(|&(_, count)| count > 0).collect();
    Ok(Err(Exhausted { range: terms.range, counts }))
}

/// Every port of the range once, from where the hash points, round the end.
fn candidates(name: &Name, slot: u16, range: PortRange) -> impl Iterator<Item = Port> {
    let length = range.len();
    let first = u32::try_from(hash(name, slot) % u64::from(length)).unwrap_or(0);
    (0..length).filter_map(move |step| {
        let offset = u16::try_from((first + step) % length).ok()?;
        Port::new(range.from() + offset)
    })
}

/// FNV-1a over the name's text and the slot, then mixed. Part of the contract: a name keeps its port over versions
/// and machines, so this never changes.
fn hash(name: &Name, slot: u16) -> u64 {
    let text = name.to_string();
    let bytes = text.bytes().chain(std::iter::once(0)).chain(slot.to_le_bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // The low bits of FNV alone are close together for close names.
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, convert::Infallible};

    use proptest::prelude::*;

    use super::{Exhausted, Obstacle, Terms, allocate, candidates};
    use crate::{
        model::Port,
        registry::{DEFAULT_RANGE, Name, PortRange, PortSet},
    };

    fn terms(range: PortRange) -> Terms {
        Terms {
            range,
            exclude: PortSet::default(),
            reserved: PortSet::default(),
            ephemeral: Some(32_768..=60_999),
            unprivileged_from: 1024,
        }
    }

    fn given(name: &str, terms: &Terms, taken: &HashSet<u16>) -> Result<u16, Exhausted> {
        let name: Name = name.parse().unwrap();
        let obstacle =
            |port: Port| Ok::<_, Infallible>(taken.contains(&port.get()).then_some(Obstacle::Claimed));
        let Ok(answer) = allocate(&name, 0, terms, obstacle);
        answer.map(Port::get)
    }

    #[test]
    fn a_name_keeps_its_port_over_versions() {
        let none = HashSet::new();
        let terms = terms(DEFAULT_RANGE);
        for (name, port) in [("myapp:api", 5621), ("myapp:web", 3245), ("blog:gatsby:feature", 4761)] {
            assert_eq!(given(name, &terms, &none), Ok(port), "{name}");
        }
    }

    #[test]
    fn an_exhausted_range_says_what_stands_before_each_port() {
        let mut terms = terms("30000-32770".parse().unwrap());
        terms.exclude = PortSet::from_iter(["30000-30009".parse().unwrap()]);
        terms.reserved = PortSet::from_iter(["30010".parse().unwrap()]);
        let taken = (30_011..32_768).collect();
        let exhausted = given("a:b", &terms, &taken).unwrap_err();
        assert_eq!(
            exhausted.counts,
            [
                (Obstacle::Excluded, 10),
                (Obstacle::Reserved, 1),
                (Obstacle::Ephemeral, 3),
                (Obstacle::Claimed, 2757)
            ]
        );
        let total: u32 = exhausted.counts.iter().map(|(_, count)| count).sum();
        assert_eq!(total, terms.range.len());
    }

    #[test]
    fn what_was_asked_for_may_be_ephemeral() {
        let mut terms = terms("40000-40001".parse().unwrap());
        assert!(given("a:b", &terms, &HashSet::new()).is_err());
        terms.ephemeral = None;
        assert!(given("a:b", &terms, &HashSet::new()).is_ok());
    }

    proptest! {
        #[test]
        fn every_port_of_a_range_is_tried_once(from in 1_u16..=65_535, length in 0_u16..300, slot in 0_u16..4) {
            let to = from.saturating_add(length);
            let range: PortRange = format!("{from}-{to}").parse().unwrap();
            let name: Name = "a:b".parse().unwrap();
            let seen: Vec<u16> = candidates(&name, slot, range).map(Port::get).collect();
            prop_assert_eq!(seen.iter().copied().collect::<HashSet<_>>(), (from..=to).collect());
            prop_assert_eq!(seen.len(), usize::from(to - from) + 1);
        }

        #[test]
        fn a_port_is_given_whenever_one_is_free_and_it_is_free(
            name in "[a-z]{1,8}:[a-z]{1,8}", taken in proptest::collection::hash_set(2000_u16..2040, 0..41)
        ) {
            let terms = terms("2000-2039".parse().unwrap());
            if let Ok(port) = given(&name, &terms, &taken) {
                prop_assert!((2000..2040).contains(&port) && !taken.contains(&port));
            } else {
                prop_assert_eq!(taken.len(), 40);
            }
        }

        #[test]
        fn the_same_name_gets_the_same_port_while_nothing_else_changes(name in "[a-z]{1,8}:[a-z]{1,8}") {
            let terms = terms(DEFAULT_RANGE);
            let first = given(&name, &terms, &HashSet::new());
            prop_assert_eq!(&first, &given(&name, &terms, &HashSet::new()));
            prop_assert!(first.is_ok());
        }
    }
}

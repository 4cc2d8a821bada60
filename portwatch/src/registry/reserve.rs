//! Which ports the kernel is to keep back (`net.ipv4.ip_local_reserved_ports`), so that it lends no claimed one to an
//! outgoing connection. Others put ports there too: those stay.

use std::collections::BTreeSet;

use super::{PortRange, PortSet};

/// What is to be written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reservation {
    /// The setting, as the kernel takes it: `3100,3200-3210`; empty for none.
    pub setting: String,
    /// Those of it that were put there for claims.
    pub ours: PortSet,
    /// The setting is to be written: it is not so already.
    pub changed: bool,
}

/// The setting that keeps `wanted` back beside what others put there. `current` is what is there now, `ours` what of it was
/// put there for claims before. A port that others keep back anyway does not become ours.
pub fn reservation(current: &PortSet, ours: &PortSet, wanted: &PortSet) -> Reservation {
    let (current, ours, wanted) = (numbers(current), numbers(ours), numbers(wanted));
    let others: BTreeSet<u16> = current.iter().filter(|port| !ours.contains(port)).copied().collect();
    let mine: BTreeSet<u16> = wanted.difference(&others).copied().collect();
    let all: BTreeSet<u16> = others.union(&mine).copied().collect();
    Reservation { setting: ranges(&all).to_string(), ours: ranges(&mine), changed: all != current }
}

fn numbers(set: &PortSet) -> BTreeSet<u16> {
    set.ranges().iter().flat_map(|range| range.from()..=range.to()).collect()
}

fn ranges(numbers: &BTreeSet<u16>) -> PortSet {
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, to)) if to.checked_add(1) == Some(number) => *to = number,
            _ => runs.push((number, number)),
        }
    }
    runs.into_iter().filter_map(|(from, to)| PortRange::new(from, to)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Reservation, numbers, reservation};
    use crate::registry::PortSet;

    fn set(text: &str) -> PortSet {
        text.parse().unwrap()
    }

    fn plan(current: &str, ours: &str, wanted: &str) -> (String, String, bool) {
        let Reservation { setting, ours, changed } = reservation(&set(current), &set(ours), &set(wanted));
        (setting, ours.to_string(), changed)
    }

    #[test]
    fn claimed_ports_are_added_and_only_they_are_taken_out() {
        let told = |setting: &str, ours: &str, changed| (setting.to_owned(), ours.to_owned(), changed);
        assert_eq!(plan("", "", "3100"), told("3100", "3100", true));
        assert_eq!(
            plan("8080,9000-9010", "", "3100-3101"),
            told("3100-3101,8080,9000-9010", "3100-3101", true)
        );
        assert_eq!(plan("3100-3101,8080", "3100-3101", "3101"), told("3101,8080", "3101", true));
        assert_eq!(plan("3101,8080", "3101", ""), told("8080", "", true));
        assert_eq!(plan("8080", "", "8080"), told("8080", "", false), "others keep it back anyway");
        assert_eq!(plan("8080", "", ""), told("8080", "", false));
        assert_eq!(plan("65535", "65535", "65534-65535"), told("65534-65535", "65534-65535", true));
        // Somebody has taken ours out: it is put there again.
        assert_eq!(plan("", "3100", "3100"), told("3100", "3100", true));
    }

    proptest! {
        #[test]
        fn what_others_put_there_stays_whatever_is_claimed(
            others in proptest::collection::btree_set(1_u16..60, 0..20),
            rounds in proptest::collection::vec(proptest::collection::btree_set(1_u16..60, 0..20), 1..6),
        ) {
            let one = |n: &u16| n.to_string().parse().unwrap();
            let mut current: PortSet = others.iter().map(one).collect();
            let mut ours = PortSet::default();
            for wanted in rounds {
                let done = reservation(&current, &ours, &wanted.iter().map(one).collect());
                current = set(&done.setting);
                ours = done.ours;
                let expected: std::collections::BTreeSet<u16> = others.union(&wanted).copied().collect();
                prop_assert_eq!(numbers(&current), expected);
            }
            let done = reservation(&current, &ours, &PortSet::default());
            prop_assert_eq!(numbers(&set(&done.setting)), others);
        }
    }
}

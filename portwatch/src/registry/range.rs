//! Stretches of ports.

use std::{collections::HashSet, fmt, ops::RangeInclusive, str::FromStr};

use crate::model::Port;

/// Where ports come from when nothing says otherwise: above the usual fixed ports, below the kernel's own choice.
pub const DEFAULT_RANGE: PortRange = PortRange { from: 3100, to: 9999 };

/// Ports that other software expects to have to itself; not given out of the default range.
const WELL_KNOWN: [u16; 19] = [
    3128, 3306, 3389, 4369, 5000, 5432, 5672, 5900, 6379, 7000, 8000, 8080, 8443, 8888, 9000, 9090, 9092,
    9200, 9300,
];

/// `3000-3999`: both ends included, never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortRange {
    from: u16,
    to: u16,
}

/// Why a text is not a [`PortRange`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a range of ports; write 3000-3999 (the smaller first) or one port, from 1 to 65535")]
pub struct RangeError(String);

impl PortRange {
    /// From one port to another; `None` when there is none between.
    pub const fn new(from: u16, to: u16) -> Option<Self> {
        if from >= 1 && from <= to { Some(Self { from, to }) } else { None }
    }

    /// One port.
    pub const fn one(port: Port) -> Self {
        Self { from: port.get(), to: port.get() }
    }

    /// First port.
    pub const fn from(self) -> u16 {
        self.from
    }

    /// Last port.
    pub const fn to(self) -> u16 {
        self.to
    }

    /// How many ports.
    pub fn len(self) -> u32 {
        u32::from(self.to - self.from) + 1
    }

    /// Never: a range has one port at least.
    pub const fn is_empty(self) -> bool {
        false
    }

    /// Whether it lies in here.
    pub fn contains(self, port: Port) -> bool {
        (self.from..=self.to).contains(&port.get())
    }

    /// Whether a port of `other` lies in here.
    pub fn meets(self, other: &RangeInclusive<u16>) -> bool {
        self.from <= *other.end() && *other.start() <= self.to
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to { self.from.fmt(f) } else { write!(f, "{}-{}", self.from, self.to) }
    }
}

impl FromStr for PortRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || RangeError(text.to_owned());
        let port = |part: &str| part.trim().parse::<Port>().map(Port::get).map_err(|_| refused());
        let (from, to) = match text.split_once('-') {
            Some((from, to)) => (port(from)?, port(to)?),
            None => (port(text)?, port(text)?),
        };
        if from <= to { Ok(Self { from, to }) } else { Err(refused()) }
    }
}

/// Ports and ranges, for what is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortSet(Vec<PortRange>);

impl PortSet {
    /// What the default range leaves out.
    pub fn well_known() -> Self {
        Self(WELL_KNOWN.iter().map(|&port| PortRange { from: port, to: port }).collect())
    }

    /// Adds a range.
    pub fn insert(&mut self, range: PortRange) {
        self.0.push(range);
    }

    /// Whether it is in one of the ranges.
    pub fn contains(&self, port: Port) -> bool {
        self.0.iter().any(|range| range.contains(port))
    }

    /// There is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Leaves out what is in the other, port by port.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        if other.is_empty() || self.is_empty() {
            return self.clone();
        }
        let numbers =
            |set: &Self| set.0.iter().flat_map(|range| range.from..=range.to).collect::<HashSet<_>>();
        let mut left: Vec<u16> = numbers(self).difference(&numbers(other)).copied().collect();
        left.sort_unstable();
        left.into_iter().filter_map(|port| PortRange::new(port, port)).collect()
    }

    /// The ranges.
    pub fn ranges(&self) -> &[PortRange] {
        &self.0
    }
}

impl fmt::Display for PortSet {
    /// `3100,3200-3210`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            range.fmt(f)?;
        }
        Ok(())
    }
}

impl FromStr for PortSet {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.trim().split(',').filter(|part| !part.trim().is_empty());
        parts.map(|part| part.trim().parse::<PortRange>()).collect()
    }
}

impl FromIterator<PortRange> for PortSet {
    fn from_iter<T: IntoIterator<Item = PortRange>>(ranges: T) -> Self {
        Self(ranges.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::{PortRange, PortSet};
    use crate::model::Port;

    #[test]
    fn a_range_is_one_port_or_two_in_order() {
        for (text, shown) in [("3000-3999", "3000-3999"), ("80", "80"), ("1 - 65535", "1-65535")] {
            assert_eq!(text.parse::<PortRange>().unwrap().to_string(), shown);
        }
        for bad in ["", "-", "5-", "-5", "9-5", "0", "0-5", "5-70000", "a-b", "1-2-3"] {
            let error = bad.parse::<PortRange>().unwrap_err().to_string();
            assert!(error.contains(&format!("'{bad}'")), "{error}");
        }
    }

    #[test]
    fn well_known_ports_are_left_out_of_what_is_given_by_default() {
        let set = PortSet::well_known();
        assert!(set.contains(Port::new(5432).unwrap()));
        assert!(!set.contains(Port::new(3100).unwrap()));
    }
}

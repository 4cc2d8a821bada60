//! The one table of module ranks. `ARCHITECTURE.md` shows the same.

/// Modules of `portwatch/src` and their ranks. A module uses lower ranks only.
pub(super) const RANKS: [(&str, u8); 22] = [
    ("model", 0),
    ("meter", 0),
    ("platform", 0),
    ("source", 1),
    ("attribute", 2),
    ("engine", 2),
    ("state", 3),
    ("verdict", 3),
    ("registry", 3),
    ("coordinate", 3),
    ("webhook", 3),
    ("journal", 4),
    ("deliver", 4),
    ("health", 4),
    ("query", 5),
    ("resolve", 6),
    ("wire", 7),
    ("render", 8),
    ("api", 8),
    ("daemon", 9),
    ("access", 9),
    ("cli", 10),
];

/// The rank of a module.
pub(super) fn rank(module: &str) -> Option<u8> {
    RANKS.iter().find(|(name, _)| *name == module).map(|&(_, rank)| rank)
}

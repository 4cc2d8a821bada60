//! The sources that look at tables, and what each can know. A test that is the same for all of them asks here for what must
//! differ, so that a difference is asserted and no test is passed over.
//!
//! Which tests these are: every one in which the source has a say. `tests/tests/sources.rs` holds that each test is in an
//! [`each_source!`](crate::each_source) list or has its reason there.

use crate::require_program;

/// A source that needs no kernel programs, as it is named by `--source`. The tools are Debian's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The kernel's tables.
    Scan,
    /// lsof, which looks at processes and their descriptors.
    Lsof,
    /// netstat, which looks at the table and finds one process for each row.
    Netstat,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Scan, Self::Lsof, Self::Netstat];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Lsof => "lsof",
            Self::Netstat => "netstat",
        }
    }

    /// Whether its program is here, as [`require_program`] tells it.
    pub fn ready(self) -> bool {
        self.is_whole() || require_program(self.name())
    }

    /// Whether it shows all that can have a TCP port, those that are bound without listening too. Where it does not, a port on
    /// which nothing was seen is not free.
    pub const fn is_whole(self) -> bool {
        matches!(self, Self::Scan)
    }

    /// State and exit code of `who` for a TCP port on which nothing is to be seen.
    pub const fn nothing_seen(self) -> (&'static str, i32) {
        if self.is_whole() { ("free", 1) } else { ("unknown", 3) }
    }

    /// The same for a UDP port: UDP sockets have no state that is not shown; lsof shows what processes have open.
    pub const fn nothing_seen_of_udp(self) -> (&'static str, i32) {
        match self {
            Self::Scan | Self::Netstat => ("free", 1),
            Self::Lsof => ("unknown", 3),
        }
    }

    /// The state of a claim on whose port nothing is to be seen, that would be `state` if there was nothing.
    pub const fn unseen_claim(self, state: &'static str) -> &'static str {
        if self.is_whole() { state } else { "unknown" }
    }

    /// Whether it shows all processes that have a socket; the other shows one.
    pub const fn shows_every_holder(self) -> bool {
        !matches!(self, Self::Netstat)
    }

    /// Whether it shows sockets without their processes: in flight, the kernel's, or to a plain user those of others.
    pub const fn shows_sockets_without_process(self) -> bool {
        !matches!(self, Self::Lsof)
    }

    /// Whether it knows the machine's network devices, which have sockets in the kernel.
    pub const fn knows_devices(self) -> bool {
        self.is_whole()
    }

    /// Whether it looks at connections, those in TIME_WAIT among them.
    pub const fn shows_traffic(self) -> bool {
        self.is_whole()
    }

    /// Whether it looks into other network namespaces.
    pub const fn looks_elsewhere(self) -> bool {
        self.is_whole()
    }
}

/// Makes a test for each source of each of these functions, which take the source: `FUNCTION::scan`, `FUNCTION::lsof`,
/// `FUNCTION::netstat`.
#[macro_export]
macro_rules! each_source {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            use $crate::Source;

            #[test]
            fn scan() {
                super::$name(Source::Scan);
            }

            #[test]
            fn lsof() {
                if Source::Lsof.ready() {
                    super::$name(Source::Lsof);
                }
            }

            #[test]
            fn netstat() {
                if Source::Netstat.ready() {
                    super::$name(Source::Netstat);
                }
            }
        })+
    };
}

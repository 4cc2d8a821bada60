//! Kinds of machine that are emulated: how each is called by those who have a word for it.

/// A kind of processor, with the board around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Machine {
    /// This machine's own kind.
    X86,
    /// `virt` with a Cortex-A57: one that computes the pointer authentication of newer processors in software takes longer.
    Arm,
}

impl Machine {
    /// Every kind.
    pub(super) const ALL: [Self; 2] = [Self::X86, Self::Arm];

    /// The kind that a series of kernels names in front of its number, and the number: `arm64-6.12`.
    pub(super) fn of(series: &str) -> (Self, &str) {
        match series.strip_prefix("arm64-") {
            Some(number) => (Self::Arm, number),
            None => (Self::X86, series),
        }
    }

    /// Debian's word.
    pub(super) const fn debian(self) -> &'static str {
        match self {
            Self::X86 => "amd64",
            Self::Arm => "arm64",
        }
    }

    /// The emulator.
    pub(super) const fn emulator(self) -> &'static str {
        match self {
            Self::X86 => "qemu-system-x86_64",
            Self::Arm => "qemu-system-aarch64",
        }
    }

    /// The package that the emulator comes in, and those that it needs in the same version, with its firmware.
    pub(super) const fn packages(self) -> &'static [&'static str] {
        match self {
            Self::X86 => &["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"],
            Self::Arm => &["qemu-system-arm", "qemu-system-common", "qemu-system-data"],
        }
    }

    /// Debian's packages with what compiles the guest's program for it, where that is not this machine's own compiler.
    pub(super) const fn compiler(self) -> &'static [&'static str] {
        match self {
            Self::X86 => &[],
            Self::Arm => &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
        }
    }

    /// What the emulator is told of the machine.
    pub(super) const fn board(self) -> &'static [&'static str] {
        match self {
            Self::X86 => &["-cpu", "max"],
            Self::Arm => &["-M", "virt", "-cpu", "cortex-a57"],
        }
    }

    /// What the kernel is told of it. A word that a kernel does not know would be taken for one of init's.
    pub(super) const fn parameters(self) -> &'static str {
        match self {
            Self::X86 => "console=ttyS0 no_timer_check",
            Self::Arm => "console=ttyAMA0",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Machine;

    #[test]
    fn a_series_names_its_machine_where_it_is_not_the_usual_one() {
        assert_eq!(Machine::of("6.12"), (Machine::X86, "6.12"));
        assert_eq!(Machine::of("arm64-7"), (Machine::Arm, "7"));
    }
}

//! Under which terms ports are given on this machine.

use std::{fs, ops::RangeInclusive, path::Path};

use crate::{
    journal::JournalError,
    registry::{Asked, DEFAULT_RANGE, PortRange, PortSet, Terms},
};

/// What the kernel's settings say of ports.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    reserved: PortSet,
    ephemeral: RangeInclusive<u16>,
    unprivileged_from: u16,
}

impl Settings {
    /// Reads them below `proc_root`. One that cannot be read has the kernel's default.
    pub(super) fn read(proc_root: &Path) -> Self {
        let setting =
            |name: &str| fs::read_to_string(proc_root.join("sys/net/ipv4").join(name)).unwrap_or_default();
        let unprivileged = setting("ip_unprivileged_port_start").trim().parse();
        Self {
            reserved: reserved(&setting("ip_local_reserved_ports")),
            ephemeral: ephemeral(&setting("ip_local_port_range")),
            unprivileged_from: unprivileged.unwrap_or(if cfg!(windows) { 0 } else { 1024 }),
        }
    }

    /// The terms that follow from them and from what was asked.
    pub(super) fn terms(&self, asked: &Asked) -> Terms {
        let mut exclude = asked.exclude.clone();
        if asked.range.is_none() {
            for &range in PortSet::well_known().ranges() {
                exclude.insert(range);
            }
        }
        Terms {
            range: asked.range.unwrap_or(DEFAULT_RANGE),
            exclude,
            reserved: self.reserved.clone(),
            ephemeral: (!asked.ephemeral).then(|| self.ephemeral.clone()),
            unprivileged_from: if asked.privileged { 0 } else { self.unprivileged_from },
        }
    }

    /// What the kernel keeps back for claims is there to be claimed.
    pub(super) fn without(
        &mut self,
        ports: impl FnOnce() -> Result<PortSet, JournalError>,
    ) -> Result<(), JournalError> {
        if !self.reserved.is_empty() {
            self.reserved = self.reserved.without(&ports()?);
        }
        Ok(())
    }
}

/// The terms that follow from what was asked and from the kernel's settings below `proc_root`.
pub fn terms(asked: &Asked, proc_root: &Path) -> Terms {
    Settings::read(proc_root).terms(asked)
}

fn ephemeral(text: &str) -> RangeInclusive<u16> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(from)), Some(Ok(to))) => from..=to,
        // RFC 6335, section 6: what the other systems take.
        _ if cfg!(not(target_os = "linux")) => 49_152..=65_535,
        _ => 32_768..=60_999,
    }
}

/// `3000,8080-8090`
fn reserved(text: &str) -> PortSet {
    text.trim().split(',').filter_map(|part| part.parse::<PortRange>().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::terms;
    use crate::{
        model::Port,
        registry::{Asked, Obstacle},
    };

    #[test]
    fn the_kernels_settings_are_terms() {
        let folder = tempfile::tempdir().unwrap();
        let settings = folder.path().join("sys/net/ipv4");
        std::fs::create_dir_all(&settings).unwrap();
        std::fs::write(settings.join("ip_local_reserved_ports"), "3200,3300-3301\n").unwrap();
        std::fs::write(settings.join("ip_local_port_range"), "9000\t9999\n").unwrap();
        std::fs::write(settings.join("ip_unprivileged_port_start"), "80\n").unwrap();
        let against = |asked: &Asked, port| terms(asked, folder.path()).against(Port::new(port).unwrap());
        let plain = Asked::default();
        for (port, expected) in [
            (3100, None),
            (3200, Some(Obstacle::Reserved)),
            (3301, Some(Obstacle::Reserved)),
            (9500, Some(Obstacle::Ephemeral)),
            (5432, Some(Obstacle::Excluded)),
            (79, Some(Obstacle::Privileged)),
            (81, None),
        ] {
            assert_eq!(against(&plain, port), expected, "{port}");
        }
        let open = Asked { range: "1-65535".parse().ok(), ephemeral: true, privileged: true, ..plain };
        for port in [9500, 5432, 79] {
            assert_eq!(against(&open, port), None, "{port}");
        }
    }
}

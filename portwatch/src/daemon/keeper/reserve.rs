//! Claimed ports are kept back in the kernel, where root asked for that: `net.ipv4.ip_local_reserved_ports`.
//!
//! The setting belongs to a network namespace and lasts until the machine starts again. What of it is ours is kept in the
//! database, with the boot and the namespace it is about, and written there before the kernel is told: a daemon that dies in
//! between leaves no port that nobody would take out.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::PathBuf,
};

use crate::{
    journal::{ClaimError, Claims},
    model::Netns,
    registry::{Claim, PortRange, PortSet, reservation},
};

/// The setting, of the namespace of whoever opens it.
const SETTING: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Keeps claimed ports back, or takes out what an earlier daemon kept back.
#[derive(Debug)]
pub(in crate::daemon) struct Reserve {
    setting: PathBuf,
    netns: Netns,
    wanted: bool,
    /// The last failure: it is told once.
    failing: Option<String>,
}

impl Reserve {
    /// In this namespace, `wanted` or not.
    pub(in crate::daemon) fn new(netns: Netns, wanted: bool) -> Self {
        Self { setting: SETTING.into(), netns, wanted, failing: None }
    }

    /// Makes the kernel keep back the ports of these claims. What could not be done is given as a sentence, once.
    pub(super) fn update(
        &mut self,
        store: &mut Claims,
        claims: &[Claim],
    ) -> Result<Option<String>, ClaimError> {
        let ours = store.reserved(self.netns)?;
        if !self.wanted && ours.is_empty() {
            return Ok(None);
        }
        let ports = claims.iter().filter(|_| self.wanted).flat_map(|claim| &claim.ports);
        let wanted: PortSet = ports.map(|p| PortRange::one(p.port)).collect();
        let done = match self.apply(store, &ours, &wanted)? {
            Ok(()) => None,
            Err(error) => Some(format!(
                "claimed ports are not kept back in the kernel: {}: {error}; it takes root and a writable /proc/sys",
                self.setting.display()
            )),
        };
        let news = done.clone().filter(|_| self.failing != done);
        self.failing = done;
        Ok(news)
    }

    fn apply(
        &self,
        store: &mut Claims,
        ours: &PortSet,
        wanted: &PortSet,
    ) -> Result<io::Result<()>, ClaimError> {
        let current = match self.read() {
            Ok(current) => current,
            Err(error) => return Ok(Err(error)),
        };
        let plan = reservation(&current, ours, wanted);
        if plan.ours != *ours {
            // Whatever happens in between: all that is ours before or after.
            let either: PortSet = ours.ranges().iter().chain(plan.ours.ranges()).copied().collect();
            store.set_reserved(self.netns, &either)?;
        }
        if plan.changed
            && let Err(error) = self.write(&plan.setting)
        {
            return Ok(Err(error));
        }
        if plan.ours != *ours {
            store.set_reserved(self.netns, &plan.ours)?;
        }
        Ok(Ok(()))
    }

    fn read(&self) -> io::Result<PortSet> {
        let text = fs::read_to_string(&self.setting)?;
        text.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{error}")))
    }

    fn write(&self, setting: &str) -> io::Result<()> {
        // The kernel takes a page at a time, and what follows in the same file adds to it (proc_do_large_bitmap).
        let mut file = OpenOptions::new().write(true).truncate(true).open(&self.setting)?;
        file.write_all(format!("{setting}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::{Netns, Reserve};
    use crate::{
        journal::Claims,
        model::Timestamp,
        registry::{Claim, ClaimPort, Kind},
    };

    fn claim(port: u16) -> Claim {
        Claim {
            id: i64::from(port),
            name: format!("a:p{port}").parse().unwrap(),
            kind: Kind::Explicit,
            owner: 1000,
            owner_name: None,
            agent: None,
            session: None,
            root: None,
            worktree: None,
            ports: vec![ClaimPort {
                slot: 0,
                protocol: crate::model::Protocol::Tcp,
                port: crate::model::Port::new(port).unwrap(),
            }],
            created: Timestamp::UNIX_EPOCH,
            renewed: Timestamp::UNIX_EPOCH,
            expires: None,
            seen: None,
        }
    }

    #[test]
    fn only_what_was_put_there_for_claims_is_taken_out_again_also_by_the_next_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let setting = folder.path().join("setting");
        let database = folder.path().join("portwatch.db");
        std::fs::write(&setting, "3100,8080-8081\n").unwrap();
        let now = || std::fs::read_to_string(&setting).unwrap().trim().to_owned();
        let open = |boot: &str| Claims::open(&database, boot).unwrap();
        let reserve =
            |wanted, netns| Reserve { setting: setting.clone(), ..Reserve::new(Netns(netns), wanted) };

        let mut store = open("boot");
        let mut first = reserve(true, 1);
        assert_eq!(first.update(&mut store, &[claim(3100), claim(3200)]).unwrap(), None);
        assert_eq!(now(), "3100,3200,8080-8081");
        assert_eq!(store.reserved(Netns(1)).unwrap().to_string(), "3200", "3100 was there before");
        drop((store, first));

        let mut store = open("boot");
        let mut second = reserve(true, 1);
        second.update(&mut store, &[claim(3300)]).unwrap();
        assert_eq!(now(), "3100,3300,8080-8081");
        // Another namespace has a setting of its own, and another boot begins anew.
        assert!(store.reserved(Netns(2)).unwrap().is_empty());
        assert!(open("later").reserved(Netns(1)).unwrap().is_empty());
        reserve(false, 1).update(&mut store, &[claim(3300)]).unwrap();
        assert_eq!(now(), "3100,8080-8081", "not wanted any more");
    }

    #[test]
    fn what_cannot_be_written_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Claims::open(&folder.path().join("portwatch.db"), "boot").unwrap();
        let mut reserve = Reserve { setting: folder.path().join("none"), ..Reserve::new(Netns(1), true) };
        let told = reserve.update(&mut store, &[claim(3100)]).unwrap().unwrap();
        assert!(told.contains("none") && told.contains("root"), "{told}");
        assert_eq!(reserve.update(&mut store, &[claim(3100)]).unwrap(), None);
    }
}

//! The kernel's tables as something to look with.

use std::collections::{BTreeSet, HashSet};

use super::{
    HolderSearch, Look, Pace, Scanner, Tables,
    poll::{FASTEST, SLOWEST},
};
use crate::{
    model::{
        BindRules, Completeness, ConnectionScope, Connections, Coverage, Degradation, Fact, Local, Netns,
        Port, ProcessId, Snapshot, SocketSeen,
    },
    source::{SourceError, SourceKind},
};

impl Look for Scanner {
    fn kind(&self) -> SourceKind {
        SourceKind::Scan
    }

    fn netns(&self) -> Option<Netns> {
        self.netns()
    }

    fn pace(&self) -> Pace {
        Pace { fastest: FASTEST, slowest: SLOWEST, rest: 0 }
    }

    fn coverage(&self) -> Vec<Coverage> {
        let polled = format!(
            "sock_diag, polled every {} ms to {} s; sockets that live shorter can be missed",
            FASTEST.as_millis(),
            SLOWEST.as_secs()
        );
        let hook = |fact| match fact {
            Fact::Bind | Fact::Listen | Fact::Close | Fact::UdpAutoBind => Some(polled.clone()),
            Fact::Exit => Some("procfs, polled; without exit status".to_owned()),
            Fact::Holders | Fact::ProcessFacts => Some("procfs, after the fact".to_owned()),
            Fact::Existing => Some("sock_diag".to_owned()),
            Fact::Refused | Fact::AskedPort | Fact::SignalSender | Fact::OutOfMemory | Fact::TimeWait => None,
        };
        Fact::ALL.into_iter().map(|fact| Coverage { fact, hook: hook(fact) }).collect()
    }

    fn degradations(&self) -> &[Degradation] {
        self.degradations()
    }

    fn completeness(&self) -> Completeness {
        if self.shows_bound() {
            return Completeness::Complete;
        }
        Completeness::PartialTcp(
            "a TCP socket that is bound without listening cannot be seen here: sock_diag shows them from Linux 6.8; \
             a daemon of root sees them on any (portwatch start)"
                .to_owned(),
        )
    }

    fn tables(&mut self, ports: &[Port]) -> Result<Tables, SourceError> {
        self.tables(ports)
    }

    fn tables_everywhere(&mut self, ports: &[Port]) -> Result<Tables, SourceError> {
        self.tables_everywhere(ports)
    }

    fn judge_gone(&mut self) {
        self.judge_gone();
    }

    fn with_holders(
        &mut self,
        tables: Tables,
        mode: HolderSearch,
        asked: &dyn Fn(&SocketSeen) -> bool,
    ) -> Result<Snapshot, SourceError> {
        self.with_holders(tables, mode, None, asked)
    }

    fn connections(&mut self, scope: &ConnectionScope) -> Result<Option<Connections>, SourceError> {
        self.connections(scope)
    }

    fn bind_rules(&mut self, addresses: &[Local], netns: Option<Netns>) -> BindRules {
        self.bind_rules(addresses, netns)
    }

    fn known_holders(&self) -> BTreeSet<ProcessId> {
        self.known_holders()
    }

    fn without_living_holder(&mut self) -> HashSet<u64> {
        self.without_living_holder()
    }

    fn lives(&mut self, process: ProcessId) -> bool {
        self.lives(process)
    }
}

//! What askers want done in the pipeline's thread.

use std::time::{Duration, Instant};

use super::Pipeline;
use crate::{
    daemon::handle::{Command, lock},
    model::{ConnectionScope, Sharing},
    query::Around,
};

/// Commands are obeyed for so long in a row: whoever asks again and again does not keep the source unheard. Between the
/// parts of what is taken in they get no more than half of the time.
const TURN: Duration = Duration::from_millis(50);

impl Pipeline {
    /// Obeys what was asked, for one turn. Whether there may be more.
    pub(super) fn obey_some(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < TURN {
            let next = self.waiting.pop_front().or_else(|| self.commands.try_recv().ok());
            let Some(command) = next else { return false };
            self.obey(command);
        }
        true
    }

    /// Obeys commands that do not need everything taken in that was seen; the others wait, in their order.
    pub(super) fn obey_what_can_be(&mut self) {
        let begun = Instant::now();
        if begun < self.rest {
            return;
        }
        while begun.elapsed() < TURN
            && let Ok(command) = self.commands.try_recv()
        {
            match command {
                Command::Tell(_) | Command::Announce(_) | Command::Around(..) | Command::Attach(_) => {
                    self.obey(command);
                }
                Command::Verify(..) | Command::Settle(_) | Command::Subscribe(_) => {
                    self.waiting.push_back(command);
                }
            }
        }
        self.rest = begun + 2 * begun.elapsed();
    }

    /// Carries a command out, unless nobody waits for it any more: where many ask for what takes long, the late would make all others late.
    pub(super) fn obey(&mut self, command: Command) {
        if !command.is_wanted() {
            return;
        }
        match command {
            Command::Verify(scope, reply) => {
                self.refresh(&scope);
                reply.send(self.sink.pending());
            }
            Command::Attach(reply) => {
                match self.source.attached() {
                    Ok(found) => lock(&self.handle.live).attach(found),
                    Err(error) => tracing::warn!(%error, "interfaces of sockets could not be looked at"),
                }
                reply.send(());
            }
            Command::Around(scope, addresses, reply) => {
                let connections = self.source.connections(&scope).unwrap_or_else(|error| {
                    tracing::warn!(%error, "connections could not be looked at");
                    None
                });
                let netns = scope.netns();
                let rules = self.source.bind_rules(&addresses, netns);
                let netns = netns.or(lock(&self.handle.live).own());
                let sharing = match &scope {
                    ConnectionScope::Ports { ports, .. } => {
                        let held = lock(&self.handle.live).held(ports, connections.as_ref());
                        self.source.sharing(&held)
                    }
                    ConnectionScope::TimeWait { .. } | ConnectionScope::Processes { .. } => {
                        Sharing::default()
                    }
                };
                reply.send(Around { netns, connections, of_processes: None, rules, sharing });
            }
            Command::Settle(reply) => {
                let _ = self.poll(Duration::ZERO);
                reply.send(self.sink.pending());
            }
            Command::Subscribe(reply) => {
                let _ = self.poll(Duration::ZERO);
                let newest = self.settle();
                reply.send(self.sink.watch(newest));
            }
            Command::Tell(event) => self.tell(*event),
            Command::Announce(records) => self.sink.announce(records),
        }
    }
}

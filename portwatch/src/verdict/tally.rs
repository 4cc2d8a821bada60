//! What all that is on the port comes to.

use super::{
    BindRequest, Cause, Doubt, Outcome, Overlap, Party, Refusal,
    meeting::{Meeting, meeting},
    party::Standing,
    rule::EADDRINUSE,
    sharing::{Now, Share, share},
};
use crate::model::{Protocol, TcpState};

/// What the parties say, each by itself.
#[derive(Debug, Default)]
pub(super) struct Tally<'a> {
    /// The worst that certainly refuses.
    refusing: Option<(Party<'a>, Overlap, Refusal)>,
    /// How many in TIME_WAIT certainly refuse.
    time_wait: usize,
    /// The first of which it is not known.
    doubtful: Option<Doubt<'a>>,
    /// One shares, or might share, by SO_REUSEPORT.
    port_shared: bool,
}

impl<'a> Tally<'a> {
    pub(super) fn weigh(
        &mut self,
        request: &BindRequest,
        (party, now): (Party<'a>, Now),
        (same_interface, shares_overlaps): (bool, bool),
    ) {
        let same_namespace = match (request.place.netns, party.endpoint().netns) {
            (Some(ours), Some(theirs)) if ours != theirs => return,
            // On a platform without namespaces nobody has one.
            (ours, theirs) => ours == theirs,
        };
        let (overlap, certain) = match meeting(request, party) {
            Meeting::Apart => return,
            Meeting::Overlaps(overlap) => (overlap, true),
            Meeting::Perhaps(overlap) => (overlap, false),
        };
        if shares_overlaps && (overlap != Overlap::Same || request.reuse_addr) {
            self.doubtful.get_or_insert(Doubt::AloneUnknown(party));
            return;
        }
        match share(request, party, now) {
            Share::ByAddress => {}
            Share::ByPort => self.port_shared = true,
            Share::Refused(refusal) if certain && same_namespace && same_interface => {
                self.refuse(party, overlap, refusal);
            }
            Share::Refused(_) => {
                let doubt = match (same_namespace, certain) {
                    (false, _) => Doubt::NamespaceUnknown,
                    (true, false) => Doubt::V6OnlyUnknown,
                    (true, true) => Doubt::InterfaceUnknown,
                };
                self.doubtful.get_or_insert(doubt(party));
            }
            Share::HistoryDecides => {
                self.doubtful.get_or_insert(Doubt::HistoryDecides(party));
            }
            Share::OptionsUnknown { perhaps_by_port } => {
                self.port_shared |= perhaps_by_port;
                self.doubtful.get_or_insert(Doubt::OptionsUnknown(party));
            }
            Share::UserUnknown => {
                self.port_shared = true;
                self.doubtful.get_or_insert(Doubt::UserUnknown(party));
            }
        }
    }

    fn refuse(&mut self, party: Party<'a>, overlap: Overlap, refusal: Refusal) {
        self.time_wait += usize::from(party.standing() == Standing::TimeWait);
        let worse = |known: Party<'_>| match (known, party) {
            (Party::Connection(known), Party::Connection(new))
                if known.state == TcpState::TimeWait && new.state == known.state =>
            {
                new.expires > known.expires
            }
            _ => party.standing() > known.standing(),
        };
        if self.refusing.is_none_or(|(known, ..)| worse(known)) {
            self.refusing = Some((party, overlap, refusal));
        }
    }

    pub(super) fn outcome(self, protocol: Protocol) -> Outcome<'a> {
        match (self.refusing, self.doubtful) {
            // TCP asks every socket. UDP lets the first one it meets decide, in an order that is the kernel's own.
            (Some((unwilling, ..)), _) if protocol == Protocol::Udp && self.port_shared => {
                Outcome::Unknown { why: Doubt::OrderDecides { unwilling } }
            }
            (Some((Party::Connection(longest), _, refusal)), _) if longest.state == TcpState::TimeWait => {
                let (count, expires) = (self.time_wait, longest.expires);
                Outcome::Fails {
                    errno: EADDRINUSE,
                    because: Cause::TimeWait { longest, count, expires, refusal },
                }
            }
            (Some((blocker, overlap, refusal)), _) => {
                Outcome::Fails { errno: EADDRINUSE, because: Cause::InUse { blocker, overlap, refusal } }
            }
            (None, Some(why)) => Outcome::Unknown { why },
            (None, None) => Outcome::Succeeds,
        }
    }
}

//! Which kind of address the kernel takes an address for: one question over rtnetlink.
//!
//! `inet_bind` asks the routes too (`inet_addr_type`), so this is its own answer. Layouts are the published ones
//! (`include/uapi/linux/rtnetlink.h`).

use std::{io, net::IpAddr};

use netlink_packet_core::{ErrorBuffer, NLMSG_ERROR, NetlinkBuffer};
use netlink_sys::Socket;

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Position of `rtm_type` in `struct rtmsg`.
const RTM_TYPE: usize = 7;
const RTN_LOCAL: u8 = 2;
const RTN_BROADCAST: u8 = 3;
const RTN_MULTICAST: u8 = 5;

/// `rtm_type` of the route that leads to an address; 0 (unspecified) where none does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(u8);

impl Kind {
    /// A socket may be bound to it.
    pub(super) const fn is_own(self) -> bool {
        matches!(self.0, RTN_LOCAL | RTN_BROADCAST | RTN_MULTICAST)
    }
}

/// Asks for the route to `address`.
pub(super) fn to(socket: &Socket, address: IpAddr, sequence: u32) -> io::Result<Kind> {
    socket.send(&request(address, sequence), 0)?;
    let mut buffer = Vec::with_capacity(8192);
    loop {
        buffer.clear();
        match socket.recv(&mut buffer, 0) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if let Some(answer) = answer(&buffer, sequence)? {
            return Ok(answer);
        }
    }
}

fn request(address: IpAddr, sequence: u32) -> Vec<u8> {
    let (family, octets) = match address {
        IpAddr::V4(v4) => (AF_INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (AF_INET6, v6.octets().to_vec()),
    };
    let attribute = u16::try_from(4 + octets.len()).unwrap_or(u16::MAX);
    let length = 16 + 12 + u32::from(attribute);
    let mut bytes = Vec::new();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(RTM_GETROUTE.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    // struct rtmsg: family, length of the destination in bits; the rest is not asked for.
    bytes.extend([family, u8::try_from(octets.len() * 8).unwrap_or(u8::MAX)]);
    bytes.extend([0; 10]);
    bytes.extend(attribute.to_ne_bytes());
    bytes.extend(RTA_DST.to_ne_bytes());
    bytes.extend(octets);
    bytes
}

/// `None` for an answer to another question.
fn answer(bytes: &[u8], sequence: u32) -> io::Result<Option<Kind>> {
    let message = NetlinkBuffer::new_checked(bytes).map_err(io::Error::other)?;
    if message.sequence_number() != sequence {
        return Ok(None);
    }
    match message.message_type() {
        RTM_NEWROUTE => {
            let kind = message.payload().get(RTM_TYPE).copied();
            kind.map(|kind| Some(Kind(kind))).ok_or_else(|| io::Error::other("a route without its kind"))
        }
        NLMSG_ERROR => {
            let error = ErrorBuffer::new_checked(message.payload()).map_err(io::Error::other)?;
            let errno = error.code().map_or(0, std::num::NonZeroI32::get).wrapping_neg();
            match errno {
                // No route leads there, or one that refuses: the address is not ours.
                nix::libc::ENETUNREACH | nix::libc::EHOSTUNREACH | nix::libc::EACCES | nix::libc::EINVAL => {
                    Ok(Some(Kind(0)))
                }
                other => Err(io::Error::from_raw_os_error(other)),
            }
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{super::connect, *};

    #[test]
    fn loopback_is_ours_and_an_address_of_the_documentation_is_not() {
        let socket = connect().unwrap();
        let own = |text: &str, sequence| to(&socket, text.parse().unwrap(), sequence).unwrap().is_own();
        assert!(own("127.0.0.1", 1) && own("127.9.9.9", 2));
        assert!(!own("192.0.2.77", 3));
    }

    #[test]
    fn a_damaged_answer_is_an_error_and_another_question_is_passed_over() {
        assert!(answer(&[0; 7], 1).is_err());
        let question = request(IpAddr::V4(Ipv4Addr::LOCALHOST), 5);
        assert_eq!(question.len(), 36);
        assert_eq!(answer(&question, 6).unwrap(), None);
        let mut route = question;
        route[4..6].copy_from_slice(&RTM_NEWROUTE.to_ne_bytes());
        route[16 + RTM_TYPE] = RTN_LOCAL;
        assert_eq!(answer(&route, 5).unwrap(), Some(Kind(RTN_LOCAL)));
    }
}

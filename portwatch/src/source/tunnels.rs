//! Network devices that keep a UDP socket of the kernel's own. No process holds it, and nothing in the socket tables
//! tells it from one whose descriptor is on its way; the list of devices does (rtnetlink, which any user may ask).
//!
//! Attribute numbers are the published ones (`include/uapi/linux/if_link.h`). A WireGuard device does not tell its
//! port here; FOU, L2TP and file systems have no device.

use std::io;

use netlink_packet_core::{ErrorBuffer, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::model::{Port, Tunnel};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
/// `struct ifinfomsg`.
const HEADER: usize = 16;
/// Position of `ifi_flags` in it.
const FLAGS: usize = 8;
const IFF_UP: u8 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;

/// Kinds of devices that bind a UDP port while they are up, and the attribute of `IFLA_INFO_DATA` that has it in
/// network byte order.
const KINDS: [(&str, u16); 3] = [("vxlan", 15), ("geneve", 5), ("bareudp", 1)];

/// Larger than the kernel ever makes a part of a dump (32 KiB).
const BUFFER: usize = 64 * 1024;

/// The ports that devices of the calling thread's network namespace keep.
pub(super) fn in_this_namespace() -> io::Result<Vec<(Port, Tunnel)>> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&request(), 0)?;
    let mut tunnels = Vec::new();
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        buffer.clear();
        match socket.recv(&mut buffer, 0) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if read(&buffer, &mut tunnels)? {
            return Ok(tunnels);
        }
    }
}

fn request() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 + HEADER);
    bytes.extend(32_u32.to_ne_bytes());
    bytes.extend(RTM_GETLINK.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([0; HEADER]);
    bytes
}

/// Takes in a part of the dump; true when it was the last.
fn read(mut rest: &[u8], tunnels: &mut Vec<(Port, Tunnel)>) -> io::Result<bool> {
    while !rest.is_empty() {
        let message = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
        match message.message_type() {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let error = ErrorBuffer::new_checked(message.payload()).map_err(io::Error::other)?;
                let code = error.code().map_or(0, std::num::NonZeroI32::get);
                return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
            }
            RTM_NEWLINK => tunnels.extend(device(message.payload())),
            _ => {}
        }
        let length = usize::try_from(message.length()).unwrap_or(usize::MAX);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// The port of a device, if it is a tunnel that is up.
fn device(payload: &[u8]) -> Option<(Port, Tunnel)> {
    let up = payload.get(FLAGS)? & IFF_UP != 0;
    let attributes = payload.get(HEADER..)?;
    let info = attribute(attributes, IFLA_LINKINFO)?;
    let kind = attribute(info, IFLA_INFO_KIND)?;
    let (kind, number) =
        KINDS.into_iter().find(|(known, _)| kind.strip_suffix(&[0]) == Some(known.as_bytes()))?;
    let port = attribute(attribute(info, IFLA_INFO_DATA)?, number)?;
    let port = Port::new(u16::from_be_bytes(port.try_into().ok()?))?;
    up.then(|| (port, Tunnel::new(kind, attribute(attributes, IFLA_IFNAME).unwrap_or_default())))
}

/// The first attribute of this number. What does not parse has none.
fn attribute(mut rest: &[u8], number: u16) -> Option<&[u8]> {
    /// `NLA_TYPE_MASK`: without the flags for nesting and byte order.
    const NUMBER: u16 = 0x3fff;
    loop {
        let (&length, after) = rest.split_first_chunk()?;
        let (&kind, _) = after.split_first_chunk()?;
        let length = usize::from(u16::from_ne_bytes(length));
        if u16::from_ne_bytes(kind) & NUMBER == number {
            return rest.get(4..length);
        }
        // One shorter than its own header would never end.
        rest = rest.get(length.max(4).next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute_of(number: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(number.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn link(kind: &[u8], flags: u8, port: &[u8]) -> Vec<u8> {
        let data = attribute_of(IFLA_INFO_DATA | 0x8000, &attribute_of(15, port));
        let info = [attribute_of(IFLA_INFO_KIND, kind), data].concat();
        let mut bytes = vec![0; HEADER];
        bytes[FLAGS] = flags;
        bytes.extend(attribute_of(IFLA_IFNAME, b"vx\x1b[2J\0"));
        bytes.extend(attribute_of(IFLA_LINKINFO, &info));
        bytes
    }

    #[test]
    fn a_vxlan_device_that_is_up_has_its_port() {
        let (port, tunnel) = device(&link(b"vxlan\0", IFF_UP, &4789_u16.to_be_bytes())).unwrap();
        assert_eq!((port.get(), tunnel.kind, tunnel.name().as_str()), (4789, "vxlan", "vx\u{1b}[2J"));
        assert_eq!(device(&link(b"vxlan\0", 0, &4789_u16.to_be_bytes())), None, "down, it has no socket");
        assert_eq!(device(&link(b"bridge\0", IFF_UP, &4789_u16.to_be_bytes())), None);
        assert_eq!(device(&link(b"vxlan\0", IFF_UP, &[1])), None);
    }

    #[test]
    fn any_bytes_are_a_device_or_none() {
        let whole = link(b"vxlan\0", IFF_UP, &4789_u16.to_be_bytes());
        for end in 0..whole.len() {
            let _ = device(&whole[..end]);
        }
        assert!(read(&[1, 2, 3], &mut Vec::new()).is_err());
    }

    #[test]
    fn the_devices_of_this_machine_can_be_listed() {
        in_this_namespace().unwrap();
    }
}

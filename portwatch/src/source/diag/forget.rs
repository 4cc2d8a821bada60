//! Having the kernel forget connections in TIME_WAIT (`SOCK_DESTROY`). Needs CAP_NET_ADMIN and a kernel with
//! CONFIG_INET_DIAG_DESTROY.

use std::{io, net::IpAddr};

use netlink_packet_core::{ErrorBuffer, NLMSG_ERROR, NetlinkBuffer};

use super::{
    Diag, TCP,
    message::{Row, TIME_WAIT},
};
use crate::model::{Connection, Port};

/// `SOCK_DESTROY` (include/uapi/linux/sock_diag.h).
const SOCK_DESTROY: u16 = 21;

impl Diag {
    /// Forgets those in TIME_WAIT on this local port that are `wanted`, and gives their number. Each is named by
    /// addresses, ports and cookie: a living connection that has taken its place meanwhile is another one.
    pub fn forget_time_wait(&mut self, port: Port, wanted: &dyn Fn(&Connection) -> bool) -> io::Result<u64> {
        let mut forgotten = 0;
        let mut rows = Vec::new();
        self.tcp_rows(1 << TIME_WAIT, &[port], &mut rows).map_err(|error| error.error)?;
        for row in rows.iter().filter(|row| row.state == TIME_WAIT) {
            if self.connection(row).is_some_and(|connection| wanted(&connection)) {
                match self.forget(row) {
                    Ok(()) => forgotten += 1,
                    // It has ended by itself, or is alive again.
                    Err(error) if error.raw_os_error() == Some(nix::libc::ENOENT) => {}
                    Err(error) if error.raw_os_error() == Some(nix::libc::ESTALE) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(forgotten)
    }

    fn forget(&mut self, row: &Row) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request(row, self.sequence), 0)?;
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let message = NetlinkBuffer::new_checked(self.buffer.as_slice()).map_err(io::Error::other)?;
            if message.sequence_number() != self.sequence || message.message_type() != NLMSG_ERROR {
                continue;
            }
            let error = ErrorBuffer::new_checked(message.payload()).map_err(io::Error::other)?;
            return match error.code() {
                None => Ok(()),
                Some(code) => Err(io::Error::from_raw_os_error(-code.get())),
            };
        }
    }
}

/// One `inet_diag_req_v2` that names the connection in full.
fn request(row: &Row, sequence: u32) -> Vec<u8> {
    const REQUEST_ACK: u16 = 0x1 | 0x4;
    let mut bytes = Vec::with_capacity(72);
    bytes.extend(72_u32.to_ne_bytes());
    bytes.extend(SOCK_DESTROY.to_ne_bytes());
    bytes.extend(REQUEST_ACK.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend([if row.address.is_ipv6() { 10 } else { 2 }, TCP, 0, 0]);
    bytes.extend((1_u32 << TIME_WAIT).to_ne_bytes());
    bytes.extend(row.port.to_be_bytes());
    bytes.extend(row.peer_port.to_be_bytes());
    bytes.extend(address(row.address));
    bytes.extend(address(row.peer));
    bytes.extend([0; 4]);
    // Two 32-bit halves, low one first; a little-endian u64 is that on little-endian machines only.
    bytes.extend(u32::try_from(row.cookie & 0xffff_ffff).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend(u32::try_from(row.cookie >> 32).unwrap_or(u32::MAX).to_ne_bytes());
    bytes
}

fn address(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            for (slot, byte) in bytes.iter_mut().zip(address.octets()) {
                *slot = byte;
            }
            bytes
        }
    }
}

//! From facts to bytes: the inverse of the decoder, for tests, recordings made by hand and fuzzing. Live
//! records are written by kernel programs.

use core::{mem::offset_of, net::IpAddr, ops::Deref};

use crate::{
    decode::{Actor, Close, Command, Exit, Fork, Killed, Options, Process, Record, SentFrom},
    record::{self, ABI, AF_INET, AF_INET6, Header, flag},
};

/// Size of the largest record.
const MAX_LEN: usize = size_of::<record::ProcessRecord>();

/// The bytes of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl Deref for Encoded {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Encoded {
    fn new(record: &Record) -> Self {
        let mut out = Self { bytes: [0; MAX_LEN], len: record.kind().size() };
        let size = u32::try_from(out.len).unwrap_or(u32::MAX);
        out.put(offset_of!(Header, abi), &ABI.to_ne_bytes());
        out.put(offset_of!(Header, kind), &record.kind().number().to_ne_bytes());
        out.put(offset_of!(Header, size), &size.to_ne_bytes());
        out.put(offset_of!(Header, boot_ns), &record.boot_ns().to_ne_bytes());
        out
    }

    fn put(&mut self, offset: usize, source: &[u8]) {
        for (slot, byte) in self.bytes.iter_mut().skip(offset).zip(source) {
            *slot = *byte;
        }
    }

    fn put_actor(&mut self, offset: usize, actor: &Actor) {
        self.put(offset + offset_of!(record::Actor, pid), &actor.pid.get().to_ne_bytes());
        self.put(offset + offset_of!(record::Actor, tid), &actor.tid.to_ne_bytes());
        self.put(offset + offset_of!(record::Actor, uid), &actor.uid.to_ne_bytes());
        self.put(offset + offset_of!(record::Actor, gid), &actor.gid.to_ne_bytes());
        let start_ns = actor.start_ns.map_or(0, Into::into);
        self.put(offset + offset_of!(record::Actor, start_ns), &u64::to_ne_bytes(start_ns));
    }
}

/// Encodes a record so that decoding gives it back.
pub fn encode(record: &Record) -> Encoded {
    let mut out = Encoded::new(record);
    match record {
        Record::Process(r) => process(&mut out, r),
        Record::Bind(r) | Record::Listen(r) => socket(
            &mut out,
            &SocketFields {
                actor: r.actor,
                cookie: r.cookie.get(),
                cgroup_id: r.cgroup_id.map_or(0, Into::into),
                address: r.address,
                netns: r.netns.map_or(0, Into::into),
                errno: 0,
                port: r.port.get(),
                asked_port: r.asked_port,
                protocol: r.protocol as u8,
                options: r.options,
            },
        ),
        Record::Refused(r) => socket(
            &mut out,
            &SocketFields {
                actor: r.actor,
                cookie: r.cookie.map_or(0, Into::into),
                cgroup_id: r.cgroup_id.map_or(0, Into::into),
                address: r.address,
                netns: r.netns.map_or(0, Into::into),
                errno: r.errno.get(),
                port: if r.listen { r.asked_port.unwrap_or(0) } else { 0 },
                asked_port: r.asked_port,
                protocol: r.protocol.map_or(0, |p| p as u8),
                options: r.options,
            },
        ),
        Record::Unlisten(r) | Record::Close(r) => close(&mut out, r),
        Record::Exit(r) => exit(&mut out, r),
        Record::Fork(r) => fork(&mut out, r),
        Record::Exec(r) => out.put_actor(offset_of!(record::ExecRecord, actor), &r.actor),
        Record::Killed(r) => killed(&mut out, r),
    }
    out
}

fn process(out: &mut Encoded, r: &Process) {
    use record::ProcessRecord as R;
    let command: &Command = &r.command;
    let command_len = u16::try_from(command.as_bytes().len()).unwrap_or(u16::MAX);
    out.put_actor(offset_of!(R, actor), &r.actor);
    out.put(offset_of!(R, cgroup_id), &u64::to_ne_bytes(r.cgroup_id.map_or(0, Into::into)));
    out.put(offset_of!(R, parent_pid), &u32::to_ne_bytes(r.parent_pid.map_or(0, Into::into)));
    out.put(offset_of!(R, command_len), &command_len.to_ne_bytes());
    out.put(offset_of!(R, command_truncated), &[u8::from(command.is_truncated())]);
    out.put(offset_of!(R, comm), r.comm.padded());
    out.put(offset_of!(R, parent_comm), r.parent_comm.padded());
    out.put(offset_of!(R, command), command.as_bytes());
}

struct SocketFields {
    actor: Option<Actor>,
    cookie: u64,
    cgroup_id: u64,
    address: IpAddr,
    netns: u32,
    errno: u16,
    port: u16,
    asked_port: Option<u16>,
    protocol: u8,
    options: Option<Options>,
}

fn socket(out: &mut Encoded, r: &SocketFields) {
    use record::SocketRecord as R;
    let mut flags = 0;
    let mut set = |condition: bool, bit: u16| flags |= if condition { bit } else { 0 };
    set(r.actor.is_some(), flag::ACTOR_KNOWN);
    set(r.asked_port.is_some(), flag::ASKED_KNOWN);
    set(r.options.is_some(), flag::OPTIONS_KNOWN);
    let options = r.options.unwrap_or_default();
    set(options.reuse_addr, flag::REUSE_ADDR);
    set(options.reuse_port, flag::REUSE_PORT);
    set(options.v6_only, flag::V6_ONLY);

    if let Some(actor) = &r.actor {
        out.put_actor(offset_of!(R, actor), actor);
    }
    out.put(offset_of!(R, cookie), &r.cookie.to_ne_bytes());
    out.put(offset_of!(R, cgroup_id), &r.cgroup_id.to_ne_bytes());
    match r.address {
        IpAddr::V4(address) => {
            out.put(offset_of!(R, family), &[AF_INET]);
            out.put(offset_of!(R, address), &address.octets());
        }
        IpAddr::V6(address) => {
            out.put(offset_of!(R, family), &[AF_INET6]);
            out.put(offset_of!(R, address), &address.octets());
        }
    }
    out.put(offset_of!(R, netns), &r.netns.to_ne_bytes());
    out.put(offset_of!(R, errno), &u32::from(r.errno).to_ne_bytes());
    out.put(offset_of!(R, port), &r.port.to_ne_bytes());
    out.put(offset_of!(R, asked_port), &r.asked_port.unwrap_or(0).to_ne_bytes());
    out.put(offset_of!(R, protocol), &[r.protocol]);
    out.put(offset_of!(R, flags), &flags.to_ne_bytes());
}

fn close(out: &mut Encoded, r: &Close) {
    use record::CloseRecord as R;
    if let Some(actor) = &r.actor {
        out.put_actor(offset_of!(R, actor), actor);
    }
    out.put(offset_of!(R, cookie), &r.cookie.get().to_ne_bytes());
}

fn exit(out: &mut Encoded, r: &Exit) {
    use record::ExitRecord as R;
    out.put_actor(offset_of!(R, actor), &r.actor);
    out.put(offset_of!(R, exit_code), &r.exit_code.unwrap_or(0).to_ne_bytes());
    out.put(offset_of!(R, exit_code_known), &[u8::from(r.exit_code.is_some())]);
}

fn fork(out: &mut Encoded, r: &Fork) {
    use record::ForkRecord as R;
    out.put_actor(offset_of!(R, actor), &r.actor);
    out.put(offset_of!(R, child_pid), &r.child_pid.get().to_ne_bytes());
    out.put(offset_of!(R, child_start_ns), &u64::to_ne_bytes(r.child_start_ns.map_or(0, Into::into)));
}

fn killed(out: &mut Encoded, r: &Killed) {
    use record::{KilledRecord as R, from};
    out.put_actor(offset_of!(R, actor), &r.actor);
    out.put(offset_of!(R, exit_code), &r.exit_code.to_ne_bytes());
    out.put(offset_of!(R, signal), &[r.signal]);
    out.put(offset_of!(R, again), &[u8::from(r.again)]);
    out.put(offset_of!(R, sent_ns), &r.sent_ns.to_ne_bytes());
    let from = match &r.from {
        SentFrom::Process(sender) => {
            out.put_actor(offset_of!(R, sender), sender);
            from::PROCESS
        }
        SentFrom::Kernel => from::KERNEL,
        SentFrom::OutOfMemory => from::OUT_OF_MEMORY,
    };
    out.put(offset_of!(R, from), &[from]);
}

//! Where a port leads that something forwards.

use std::io::{self, Write};

use super::fact::{FACT, fact, labelled};
use crate::{
    render::{Look, Text, Tone, address, process},
    wire::{Forward, WhoTarget},
};

/// A port that an engine forwards without a socket.
pub(super) fn published(out: &mut dyn Write, target: &WhoTarget, look: &Look) -> io::Result<()> {
    for (index, published) in target.published.iter().enumerate() {
        if index > 0 || !target.sockets.is_empty() {
            writeln!(out)?;
        }
        let mut head = Text::new(look);
        head.push(Tone::Strong, &format!("{}/{}", published.port, published.protocol)).plain("  ");
        head.push(Tone::Strong, &format!("published by {}", published.to.forwarder));
        head.wrapped(out, FACT)?;
        writeln!(out)?;
        forwards(out, &published.to, look)?;
        let place = published.address.as_deref().unwrap_or("*");
        let words =
            format!("{}, no socket: the kernel's NAT forwards it", address::with_port(place, published.port));
        fact(out, "address", &words, Tone::Plain, look)?;
    }
    Ok(())
}

/// Where a port leads, and what that container is.
pub(super) fn forwards(out: &mut dyn Write, to: &Forward, look: &Look) -> io::Result<()> {
    let mut line = Text::new(look);
    line.push(
        if to.container.is_some() { Tone::Plain } else { Tone::Warn },
        &format!("to {}", process::forward(to)),
    );
    process::evidence(&mut line, &to.evidence, look);
    labelled(out, "forwards", line, look)?;
    if let Some(container) = &to.container {
        fact(out, "container", &process::container_in_full(container), Tone::Plain, look)?;
    }
    Ok(())
}

//! `probe`: what the kernel said, and why.

use std::io::{self, Write};

use super::{
    Look, Text, Tone, address, note,
    table::{self, Column},
};
use crate::wire::{Probe, ProbedAddress, ProbedBind, Verdict};

const COLUMNS: [Column; 3] = [
    Column { title: "ADDRESS", priority: 0, least: 12, right: false },
    Column { title: "PLAIN", priority: 0, least: 0, right: false },
    Column { title: "SO_REUSEADDR", priority: 0, least: 0, right: false },
];

/// What the kernel did where the verdict expected something else, or knew nothing, as far as the table does not tell.
fn refused_all_the_same(verdict: &Verdict, tried: &ProbedBind) -> Option<String> {
    let other = verdict.bindable != Some(false) || verdict.errno.is_some_and(|e| Some(e) != tried.errno);
    match tried.errno_name.as_deref().filter(|_| other) {
        Some(name @ ("EADDRNOTAVAIL" | "WSAEADDRNOTAVAIL")) => {
            Some(format!("The kernel refused it with {name}: the address is not here."))
        }
        Some(name @ "ENODEV") => {
            Some(format!("The kernel refused it with {name}: there is no such interface here."))
        }
        _ => (verdict.bindable == Some(true))
            .then(|| "The kernel refused all the same: nothing that was seen explains it.".to_owned()),
    }
}

/// Writes the answer.
pub fn probe(out: &mut dyn Write, answer: &Probe, look: &Look) -> io::Result<()> {
    let mut head = Text::new(look);
    head.push(Tone::Strong, &format!("{}/{}", answer.port, answer.protocol)).plain("  ");
    match (answer.bindable, answer.with_reuse_addr) {
        (Some(true), _) => head.push(Tone::Strong, "bindable"),
        (Some(false), Some(true)) => head.push(Tone::Warn, "bindable with SO_REUSEADDR only"),
        (Some(false), _) => head.push(Tone::Bad, "not bindable"),
        (None, _) => head.push(Tone::Warn, "not tried: the machine has no such address family"),
    };
    head.wrapped(out, 2)?;
    writeln!(out)?;
    let rows: Vec<_> = answer
        .addresses
        .iter()
        .map(|tried| {
            let place = address::with_port(&tried.address, answer.port);
            vec![(Tone::Plain, place), cell(&tried.plain), cell(&tried.reuse_addr)]
        })
        .collect();
    table::write(out, &COLUMNS, &rows, look)?;
    let mut sentences: Vec<String> = Vec::new();
    for tried in &answer.addresses {
        // Two addresses that fail for one reason have sentences that differ in the address alone; one is enough.
        let failed = tried.plain.bound == Some(false);
        let why = tried.verdict.as_ref().filter(|_| failed || look.verbose);
        if let Some(sentence) = why.map(|v| &v.sentence)
            && !sentences.contains(sentence)
        {
            sentences.push(sentence.clone());
        } else if failed && tried.verdict.is_none() {
            let place = address::with_port(&tried.address, answer.port);
            sentences.push(format!("Why {place} was refused could not be asked."));
        }
        let verdict = tried.verdict.as_ref().filter(|_| failed);
        sentences.extend(verdict.and_then(|verdict| refused_all_the_same(verdict, &tried.plain)));
    }
    let in_use = |tried: &ProbedAddress| tried.plain.errno_name.as_deref() == Some("WSAEADDRINUSE");
    if answer.addresses.iter().any(in_use) {
        sentences.push("It was asked for alone (SO_EXCLUSIVEADDRUSE), which meets whoever has the port on any of these addresses.".to_owned());
    }
    // A verdict that could not know whose TIME_WAIT it is; the kernel does.
    let strict = |tried: &&ProbedAddress| {
        let unknown = tried
            .verdict
            .as_ref()
            .is_some_and(|v| v.cause.as_deref() == Some("time-wait") && v.with_reuse_addr.is_none());
        unknown && tried.reuse_addr.bound == Some(false)
    };
    if answer.addresses.iter().any(|tried| strict(&tried)) {
        sentences.push(format!(
            "The kernel refused it with SO_REUSEADDR too: who left them had it not. portwatch free {} --time-wait ends them.",
            answer.port
        ));
    }
    for sentence in sentences {
        let mut line = Text::new(look);
        line.plain("  ").plain(&sentence);
        writeln!(out)?;
        line.wrapped(out, 2)?;
    }
    match &answer.source {
        Some(source) => {
            if source.note.is_some() || look.verbose {
                writeln!(out)?;
            }
            note(out, source, look)
        }
        None => Ok(()),
    }
}

fn cell(bind: &ProbedBind) -> (Tone, String) {
    match (bind.bound, &bind.errno_name, bind.errno) {
        (Some(true), ..) => (Tone::Plain, "bound".to_owned()),
        (Some(false), Some(name), _) => (Tone::Bad, name.clone()),
        (Some(false), None, errno) => (Tone::Bad, format!("errno {}", errno.unwrap_or(0))),
        (None, _, Some(_)) => (Tone::Faint, "no such family".to_owned()),
        (None, _, None) => (Tone::Faint, "not tried".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::probe;
    use crate::{
        render::{sample::source, tests::everywhere},
        wire::Probe,
    };

    #[test]
    fn what_was_tried_is_a_table_and_why_is_a_sentence() {
        let bind = |errno: Option<i32>| {
            let name = errno.map(|_| "EADDRINUSE");
            serde_json::json!({ "bound": errno.is_none(), "errno": errno, "errno_name": name })
        };
        let answer = |bindable: bool, with: bool, errnos: [Option<i32>; 2], sentence: &str| -> Probe {
            let tried = |address: &str| {
                serde_json::json!({ "address": address, "plain": bind(errnos[0]), "reuse_addr": bind(errnos[1]),
                    "verdict": { "sentence": sentence } })
            };
            serde_json::from_value(serde_json::json!({
                "schema": 1, "time": "2026-03-02T01:26:30Z", "asked": "3100", "port": 3100, "protocol": "tcp",
                "source": source(true), "bindable": bindable, "with_reuse_addr": with,
                "addresses": [tried("0.0.0.0"), tried("::")],
            }))
            .unwrap()
        };
        let free = answer(true, true, [None, None], "A bind of 0.0.0.0:3100 would succeed.");
        let held = "A bind of 0.0.0.0:3100 would fail with EADDRINUSE: node (48291) listens there.";
        let held = answer(false, false, [Some(98), Some(98)], held);
        let waits = "A bind of 0.0.0.0:3100 would succeed with SO_REUSEADDR; without it in 47s (14 in TIME_WAIT, left \
                     by node (48291)).";
        let waits = answer(false, true, [Some(98), None], waits);
        let all: Vec<_> = [free, held, waits]
            .iter()
            .map(|answer| everywhere(|out, look| probe(out, answer, look)))
            .collect();
        insta::assert_snapshot!(all.join("\n"));
    }
}

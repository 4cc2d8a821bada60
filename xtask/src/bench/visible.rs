//! From listen() to the answer.

use std::{
    net::{Ipv4Addr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{
    Bench, interrupt,
    report::{Row, Section, Verdict},
    stats::{Samples, time},
};

const BUDGET: f64 = 0.005;

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let daemon = bench.place()?.start(&[])?;
    let api = daemon.api();
    let address = Ipv4Addr::new(127, 83, 6, 1);
    let (mut samples, mut kernel) = (Samples::default(), 0_usize);
    for number in 0..bench.scale.samples {
        interrupt::check()?;
        let listener = TcpListener::bind((address, 0)).context("listening")?;
        let begin = Instant::now();
        let place = format!("{address}:{}", listener.local_addr()?.port());
        loop {
            let who = api.get(&format!("/v1/who?target={place}"))?;
            let elapsed = begin.elapsed();
            if let Some(evidence) = listening(&who) {
                samples.push(elapsed);
                kernel += usize::from(evidence == "kernel");
                break;
            }
            if elapsed > Duration::from_secs(10) {
                bail!("the listener on {place} is not visible after 10 s");
            }
        }
        drop(listener);
        // Not in step with anything the daemon does by the clock.
        thread::sleep(Duration::from_micros(500 + u64::try_from(number % 17)? * 300));
    }
    daemon.stop()?;
    let (p50, p99) = (samples.percentile(50), samples.percentile(99));
    Ok(Section {
        title: "From listen() to the answer".to_owned(),
        method: format!(
            "From the return of listen() until the API's `who` shows the listener, asked over and over; \
             connecting and the answer's own time are part of it. {} samples.",
            samples.len()
        ),
        rows: vec![Row::new(
            "listen() → visible to `who`",
            "p99 ≤ 5 ms",
            format!("p50 {}, p99 {}", time(p50), time(p99)),
            Verdict::of(p99 <= BUDGET),
        )],
        figures: vec![
            ["p50", "p99", "most", "seen in the kernel"].map(str::to_owned).to_vec(),
            vec![time(p50), time(p99), time(samples.most()), format!("{kernel} of {}", samples.len())],
        ],
        remarks: Vec::new(),
    })
}

/// How the listener is known, once it is.
fn listening(who: &Value) -> Option<&str> {
    let sockets = who.pointer("/targets/0/sockets")?.as_array()?;
    let socket =
        sockets.iter().find(|socket| socket.get("state").and_then(Value::as_str) == Some("listening"))?;
    socket.get("evidence")?.as_str()
}

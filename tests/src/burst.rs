//! Binds as fast as they go, from several processes, each with an address and a port of its own.

use std::{net::Ipv4Addr, process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use rusqlite::{Connection, OpenFlags};

use crate::{Actor, Portwatch, free_port};

/// How long a burst may take on a machine that is busy.
const LONGEST: Duration = Duration::from_mins(2);

/// Processes that wait for a word, then do socket, bind, listen and close over and over.
#[derive(Debug)]
pub struct Burst {
    actors: Vec<Actor>,
    places: Vec<(Ipv4Addr, u16)>,
    turns: i64,
}

/// What the journal says of a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// Rows of its addresses and ports that the kernel's programs wrote.
    pub binds: i64,
    /// As `binds`.
    pub listens: i64,
    /// As `binds`.
    pub closes: i64,
    /// Records of each kind that the gaps account for.
    pub lost: (i64, i64, i64),
    /// Kernel rows of anybody else: while others bind, what was lost may be theirs too.
    pub others: i64,
}

impl Burst {
    /// Starts `processes` on addresses 127.`net`.0.1 and up. `turns` is what each does. Call it before the daemon starts:
    /// to find a free port is a bind, too.
    pub fn prepare(burst: &str, net: u8, processes: u8, turns: i64) -> anyhow::Result<Self> {
        let mut places = Vec::new();
        for number in 1..=processes {
            let address = Ipv4Addr::new(127, net, 0, number);
            places.push((address, free_port()?));
        }
        let actors = places.iter().map(|(address, port)| {
            let arguments = [address.to_string(), port.to_string(), turns.to_string()];
            let mut actor = Actor::start(Command::new(burst).args(arguments))?;
            ensure!(actor.line()? == "ready");
            Ok(actor)
        });
        Ok(Self { actors: actors.collect::<anyhow::Result<_>>()?, places, turns })
    }

    /// Lets them go, and waits until each has begun.
    pub fn go(&mut self) -> anyhow::Result<()> {
        self.actors.iter_mut().try_for_each(|actor| actor.say("go"))?;
        self.actors.iter_mut().try_for_each(|actor| {
            ensure!(actor.line()? == "begun");
            Ok(())
        })
    }

    /// Waits until all are done and gone.
    pub fn finish(self) -> anyhow::Result<(Vec<(Ipv4Addr, u16)>, i64)> {
        for mut actor in self.actors {
            ensure!(actor.line_within(LONGEST)? == "done");
            ensure!(actor.finish()?.success());
        }
        Ok((self.places, self.turns))
    }
}

/// Adds up what the journal has of the places: rows, and what gaps account for. The database is read as it is.
pub fn told(portwatch: &Portwatch, places: &[(Ipv4Addr, u16)]) -> anyhow::Result<Told> {
    let database = Connection::open_with_flags(portwatch.database(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut told = Told::default();
    for (address, port) in places {
        let sql = "SELECT type, count(*) FROM events WHERE port = ?1 AND address = ?2 AND evidence = 'kernel' GROUP BY type";
        let mut statement = database.prepare(sql)?;
        let mut rows = statement.query((port, address.to_string()))?;
        while let Some(row) = rows.next()? {
            let count: i64 = row.get(1)?;
            match row.get::<_, String>(0)?.as_str() {
                "bind" => told.binds += count,
                "listen" => told.listens += count,
                "close" => told.closes += count,
                _ => {}
            }
        }
    }
    // The close of a socket whose bind and listen are among the lost has no place, only who did it.
    let sql = "SELECT count(*) FROM events WHERE type = 'close' AND port IS NULL AND evidence = 'kernel' AND comm = 'burst'";
    told.closes += database.query_row(sql, [], |row| row.get::<_, i64>(0))?;
    let sum = |kind: &str| {
        let sql = "SELECT ifnull(sum(json_extract(lost_counts, '$.' || ?1)), 0) FROM event WHERE lost_counts IS NOT NULL";
        database.query_row(sql, [kind], |row| row.get(0)).context("the gaps")
    };
    told.lost = (sum("bind")?, sum("listen")?, sum("close")?);
    let sql = "SELECT count(*) FROM events WHERE evidence = 'kernel' AND type IN ('bind', 'listen', 'close', 'noise')";
    let all: i64 = database.query_row(sql, [], |row| row.get(0))?;
    told.others = all - told.binds - told.listens - told.closes;
    Ok(told)
}

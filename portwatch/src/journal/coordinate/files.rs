//! Claims on files: what is in the way of whom.

use std::collections::BTreeSet;

use rusqlite::{Row, params};

use super::{Done, Tables, Turn, session::by_id, text};
use crate::{
    coordinate::{Denial, User, may_act, overlap},
    model::EventKind,
};

/// One user claims at most so many files, those of kept sessions included.
const MOST_FILES: u32 = 20_000;
/// With so many bytes of paths: everybody's list of sessions has them.
const MOST_PATH_BYTES: u32 = 2 << 20;
/// So many claims in the way are taken with force, and told.
const MOST_CONFLICTS: usize = 200;
/// So many sessions in the way are named.
const MOST_NAMED: usize = 5;
/// What one order names lies in at most so many directories: each is looked up while all other writers wait.
const MOST_PLACES: usize = 10_000;

/// Claims of other active sessions on one path. The planner has no numbers, and would go through all active sessions for each
/// path: it is told to begin with the path.
const AT: &str = "SELECT f.path, f.session, s.uid, s.user FROM file_claim f INDEXED BY file_claim_path
     CROSS JOIN session s ON s.id = f.session
     WHERE f.released IS NULL AND f.path = ?2 AND f.session <> ?1 AND s.state = 'active' ORDER BY f.session";
/// And on what lies between two paths.
const BETWEEN: &str = "SELECT f.path, f.session, s.uid, s.user FROM file_claim f INDEXED BY file_claim_path
     CROSS JOIN session s ON s.id = f.session
     WHERE f.released IS NULL AND f.path > ?2 AND f.path < ?3 AND f.session <> ?1 AND s.state = 'active'
     ORDER BY f.path, f.session";

/// A file that two sessions claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileConflict {
    /// The path that was wanted.
    pub path: String,
    /// The claim in its way.
    pub claimed: String,
    /// The session that has it.
    pub session: String,
    /// Its user.
    pub user: User,
}

/// What an order of files met and was followed all the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conflicts {
    /// Claims that others have too: some, where there are many.
    pub listed: Vec<FileConflict>,
    /// So many more there are.
    pub more: u64,
}

/// Files that are to be claimed, and where is looked for what is in the way: each place once, however many files lie there,
/// so that an order costs no more than what it names and what is claimed there.
pub(super) struct Order<'a> {
    files: BTreeSet<&'a str>,
    /// Those that lie in no other of them.
    outermost: Vec<&'a str>,
    /// These and the directories above them, each with one of `outermost` that lies there.
    places: Vec<(&'a str, &'a str)>,
}

impl<'a> Order<'a> {
    pub(super) fn of(files: &'a [String]) -> Result<Self, Denial> {
        let files: BTreeSet<&str> = files.iter().map(String::as_str).collect();
        let inner = |path: &str| ancestors(path).any(|above| above != path && files.contains(above));
        let outermost: Vec<&str> = files.iter().copied().filter(|path| !inner(path)).collect();
        let (mut seen, mut places) = (BTreeSet::new(), Vec::new());
        for path in &outermost {
            for place in ancestors(path) {
                if seen.insert(place) {
                    places.push((place, *path));
                }
            }
            if places.len() > MOST_PLACES {
                return Err(Denial::Refused {
                    what: format!(
                        "these files lie in more than {MOST_PLACES} directories; nothing was claimed"
                    ),
                    remedy: "claim their directory, or give several orders".to_owned(),
                });
            }
        }
        Ok(Self { files, outermost, places })
    }

    /// Claims of other active sessions than `id` that meet: the same path, one above, one below. First those that are in the way
    /// of a user, then those that are only told. Who may not change what is a user's keeps that user out of nothing either: else
    /// one user's claim on `/` would stop everybody.
    fn meets(&self, tables: &Tables<'_>, (id, user): (&str, &User)) -> rusqlite::Result<(Met, Met)> {
        let (mut in_the_way, mut told) = (Met::default(), Met::default());
        let mut meet = |path: &str, row: &Row<'_>| {
            let conflict = FileConflict {
                path: path.to_owned(),
                claimed: row.get(0)?,
                session: row.get(1)?,
                user: User { uid: row.get(2)?, name: row.get(3)? },
            };
            debug_assert!(overlap(path, &conflict.claimed));
            let of = if may_act(user.uid, conflict.user.uid) { &mut in_the_way } else { &mut told };
            of.add(conflict);
            Ok(())
        };
        for (place, path) in &self.places {
            tables.each(AT, params![id, place], |row| meet(path, row))?;
        }
        for path in &self.outermost {
            let (from, to) = within(path);
            tables.each(BETWEEN, params![id, from, to], |row| meet(path, row))?;
        }
        Ok((in_the_way, told))
    }

    /// Claims what nobody has who could keep this user out of it; with `force` the rest too. Tells who else has it.
    pub(super) fn claim(
        &self,
        turn: &mut Turn<'_>,
        (id, user): (&str, &User),
        force: bool,
    ) -> Done<Conflicts> {
        if self.files.is_empty() {
            return Ok(Conflicts::default());
        }
        let (met, told) = self.meets(turn, (id, user))?;
        if let Some(first) = met.listed.first()
            && (!force || met.count > MOST_CONFLICTS)
        {
            let holder = by_id(turn, &first.session)?;
            let by = holder.agent.map_or_else(String::new, |a| format!(", agent {a}"));
            let first_of_all = format!("{} is claimed by {}{by}", first.path, first.session);
            let (whole, ways) = if met.count > MOST_CONFLICTS {
                let most = format!("{}, of which --force takes {MOST_CONFLICTS} at most", met.words());
                (most, "portwatch sessions --files shows all; claim less at once")
            } else {
                (met.words(), "portwatch sessions --files shows all; --force claims it all the same")
            };
            return Err(Denial::Refused {
                what: format!("{first_of_all}{whole}; nothing was claimed"),
                remedy: if may_act(holder.user.uid, user.uid) {
                    format!("{ways}; portwatch notes --session {}", first.session)
                } else {
                    format!("{ways}; it is {}'s", holder.user)
                },
            }
            .into());
        }
        for path in &self.files {
            turn.execute(
                "INSERT INTO file_claim (session, path, claimed) VALUES (?1, ?2, ?3)
                 ON CONFLICT (session, path)
                 DO UPDATE SET released = NULL, claimed = iif(released IS NULL, claimed, ?3)",
                params![id, path, text(turn.now)],
            )?;
        }
        let sql = "SELECT count(*) > ?2 OR sum(length(CAST(f.path AS BLOB))) > ?3
             FROM session s JOIN file_claim f ON f.session = s.id WHERE s.uid = ?1";
        if turn.count(sql, params![user.uid, MOST_FILES, MOST_PATH_BYTES])? != 0 {
            return Err(Denial::Refused {
                what: format!(
                    "one user claims {MOST_FILES} files at most, with {} MB of paths, those of ended sessions that are kept among them",
                    MOST_PATH_BYTES >> 20
                ),
                remedy: "claim their directory".to_owned(),
            }
            .into());
        }
        let mut words = match self.files.len() {
            1 => "claimed 1 file".to_owned(),
            count => format!("claimed {count} files"),
        };
        let too: Vec<String> =
            [&met, &told].into_iter().filter(|met| met.count > 0).map(Met::names).collect();
        if !too.is_empty() {
            words = format!("{words}, some of them claimed by {} too", too.join(", "));
        }
        turn.tell(EventKind::Session, id, words)?;
        let count = met.count + told.count;
        let listed: Vec<FileConflict> = met.listed.into_iter().chain(told.listed).collect();
        let more = u64::try_from(count - listed.len()).unwrap_or(u64::MAX);
        Ok(Conflicts { listed, more })
    }
}

/// Claims that meet those of an order.
#[derive(Default)]
struct Met {
    /// The first [`MOST_CONFLICTS`] of them.
    listed: Vec<FileConflict>,
    /// All of them.
    count: usize,
    /// The sessions that have them.
    sessions: BTreeSet<String>,
}

impl Met {
    fn add(&mut self, conflict: FileConflict) {
        self.count += 1;
        if !self.sessions.contains(&conflict.session) {
            self.sessions.insert(conflict.session.clone());
        }
        if self.listed.len() < MOST_CONFLICTS {
            self.listed.push(conflict);
        }
    }

    /// The sessions, as many as a sentence has room for, and how many more there are.
    fn names(&self) -> String {
        let named: Vec<&str> = self.sessions.iter().take(MOST_NAMED).map(String::as_str).collect();
        match self.sessions.len() - named.len() {
            0 => named.join(", "),
            more => format!("{} and {more} more", named.join(", ")),
        }
    }

    /// Where there are more than one: how many, and whose.
    fn words(&self) -> String {
        match self.count {
            0 | 1 => String::new(),
            count => format!("; {count} claims are in the way, of {}", self.names()),
        }
    }
}

/// Every path that begins with this one and a slash lies between these; `0` comes after `/`.
fn within(path: &str) -> (String, String) {
    let path = path.trim_end_matches('/');
    (format!("{path}/"), format!("{path}0"))
}

/// The path and the directories that it lies in.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let parents = path.match_indices('/').map(|(at, _)| path.get(..at.max(1)).unwrap_or(path));
    parents.chain((path != "/").then_some(path))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use rusqlite::{Params, StatementStatus};

    use super::*;
    use crate::journal::coordinate::{
        Coordination, StartSession,
        tests_of_channels::{at, place, user},
    };

    #[test]
    fn what_is_looked_for_above_and_below_is_what_overlaps() {
        let paths = ["/", "/p", "/p/src", "/p/src/a.ts", "/p/src-old", "/p/src-old/a.ts", "/p/src0", "/q"];
        for path in paths {
            let (from, to) = within(path);
            let above: Vec<&str> = ancestors(path).collect();
            for other in paths {
                let below = *other > *from && *other < *to;
                assert_eq!(below || above.contains(&other), overlap(path, other), "{path} {other}");
            }
        }
    }

    #[test]
    fn each_place_is_looked_at_once_whatever_an_order_names_there() {
        let files = ["/p/a", "/p/a/b/c", "/p/a-b/c", "/p/a-b/d", "/p/a"].map(str::to_owned);
        let order = Order::of(&files).unwrap();
        assert_eq!(order.files.len(), 4);
        assert_eq!(order.outermost, ["/p/a", "/p/a-b/c", "/p/a-b/d"]);
        let places: Vec<&str> = order.places.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, ["/", "/p", "/p/a", "/p/a-b", "/p/a-b/c", "/p/a-b/d"]);
        assert_eq!(Order::of(&["/".to_owned()]).unwrap().places, [("/", "/")]);
        let deep: Vec<String> = (0..10).map(|at| format!("/{at}{}", "/a".repeat(2000))).collect();
        let refused = Order::of(&deep).err().unwrap();
        assert!(refused.to_string().contains("lie in more than 10000 directories"), "{refused}");
    }

    /// Instructions that SQLite runs for an answer without rows.
    fn steps(store: &Coordination, sql: &str, values: impl Params) -> i32 {
        let mut statement = store.store.parts().0.prepare(sql).unwrap();
        assert!(statement.query(values).unwrap().next().unwrap().is_none(), "{sql}");
        statement.get_status(StatementStatus::VmStep)
    }

    #[test]
    fn looking_for_claims_costs_no_more_where_many_have_sessions() {
        let (_folder, _path, mut store) = place();
        let (mut few, mut plan) = (None, String::new());
        for count in 1..=100 {
            let agent = format!("a{count}");
            let files = [format!("/p/{count}")];
            let start = StartSession {
                purpose: "work",
                agent: Some(&agent),
                terminal: None,
                root: None,
                files: &files,
                force: false,
            };
            store.start_session(&start, &user(1000), std::slice::from_ref(&agent), at(0)).unwrap();
            let here = [
                steps(&store, AT, params!["x", "/elsewhere"]),
                steps(&store, BETWEEN, params!["x", "/elsewhere/", "/elsewhere0"]),
            ];
            assert_eq!(*few.get_or_insert(here), here, "{count} sessions");
        }
        for sql in [AT, BETWEEN] {
            let mut explain = store.store.parts().0.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let mut rows = explain.raw_query();
            while let Some(row) = rows.next().unwrap() {
                writeln!(plan, "{}", row.get::<_, String>(3).unwrap()).unwrap();
            }
        }
        assert_eq!(plan.matches("INDEX file_claim_path (path").count(), 2, "{plan}");
        assert!(!plan.contains("session_state") && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}

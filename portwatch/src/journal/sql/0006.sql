-- Coordination. Times are ISO-8601 UTC text. A process is (pid, start_ticks) of one boot.
CREATE TABLE lock (
    name        TEXT PRIMARY KEY,
    kind        TEXT NOT NULL CHECK (kind IN ('agent', 'session', 'process')),
    owner       TEXT NOT NULL,
    uid         INTEGER NOT NULL,
    user        TEXT,
    -- It ends with this process.
    pid         INTEGER,
    start_ticks INTEGER,
    boot        INTEGER REFERENCES boot (id),
    since       TEXT NOT NULL,
    renewed     TEXT NOT NULL,
    ttl_ms      INTEGER,
    expires     TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX lock_boot ON lock (boot) WHERE boot IS NOT NULL;

-- Who waits for a lock, in the order of tickets.
CREATE TABLE lock_waiter (
    ticket        INTEGER PRIMARY KEY,
    lock          TEXT NOT NULL,
    kind          TEXT NOT NULL,
    owner         TEXT NOT NULL,
    uid           INTEGER NOT NULL,
    user          TEXT,
    pid           INTEGER,
    start_ticks   INTEGER,
    boot          INTEGER NOT NULL REFERENCES boot (id),
    waiting_pid   INTEGER NOT NULL,
    waiting_ticks INTEGER NOT NULL,
    since         TEXT NOT NULL,
    seen          TEXT NOT NULL
) STRICT;
CREATE INDEX lock_waiter_lock ON lock_waiter (lock, ticket);

-- What an event is about that is no claim: a lock, an agent, a session, a channel.
ALTER TABLE event ADD COLUMN subject TEXT;
CREATE INDEX event_subject ON event (subject, at) WHERE subject IS NOT NULL;

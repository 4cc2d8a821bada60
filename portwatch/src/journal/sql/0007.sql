-- Agents, each one user's: dead by silence or with their process; the row stays for its time.
CREATE TABLE agent (
    uid         INTEGER NOT NULL,
    name        TEXT NOT NULL,
    user        TEXT,
    purpose     TEXT,
    identity    TEXT,
    pid         INTEGER,
    start_ticks INTEGER,
    boot        INTEGER REFERENCES boot (id),
    registered  TEXT NOT NULL,
    seen        TEXT NOT NULL,
    -- What the log was told last: active, stale or dead.
    told        TEXT NOT NULL DEFAULT 'active',
    died        TEXT,
    cause       TEXT,
    ended       TEXT,
    salvaged_by TEXT,
    salvaged    TEXT,
    PRIMARY KEY (uid, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX agent_boot ON agent (boot) WHERE boot IS NOT NULL;

CREATE TABLE session (
    id          TEXT PRIMARY KEY,
    purpose     TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('active', 'completed', 'abandoned')),
    uid         INTEGER NOT NULL,
    user        TEXT,
    agent       TEXT,
    -- The leader of the terminal's session it was begun in.
    pid         INTEGER,
    start_ticks INTEGER,
    boot        INTEGER REFERENCES boot (id),
    root        TEXT,
    created     TEXT NOT NULL,
    ended       TEXT,
    outcome     TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX session_state ON session (state, created);
CREATE INDEX session_agent ON session (uid, agent) WHERE agent IS NOT NULL;
CREATE INDEX session_user ON session (uid, state);
CREATE INDEX session_boot ON session (boot) WHERE boot IS NOT NULL;

CREATE TABLE note (
    id      INTEGER PRIMARY KEY,
    session TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    at      TEXT NOT NULL,
    type    TEXT NOT NULL,
    agent   TEXT,
    text    TEXT NOT NULL
) STRICT;
CREATE INDEX note_session ON note (session, id);

-- A claim that was given back stays, with the time.
CREATE TABLE file_claim (
    session  TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    path     TEXT NOT NULL,
    claimed  TEXT NOT NULL,
    released TEXT,
    PRIMARY KEY (session, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX file_claim_path ON file_claim (path) WHERE released IS NULL;

-- Times are nanoseconds since 1970-01-01 UTC. Read the views `events` and `processes`: they show text.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What the numbers of event.type, event.evidence, event.state and event.gap mean.
CREATE TABLE word (
    topic TEXT NOT NULL,
    code  INTEGER NOT NULL,
    word  TEXT NOT NULL,
    PRIMARY KEY (topic, code)
) STRICT, WITHOUT ROWID;

-- Process start times and socket cookies begin anew with each boot.
CREATE TABLE boot (
    id   INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE cgroup (
    id        INTEGER PRIMARY KEY,
    boot      INTEGER NOT NULL REFERENCES boot (id),
    kernel_id INTEGER,
    path      TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX cgroup_identity ON cgroup (boot, path, ifnull(kernel_id, -1));

-- One row for each process that ever was: a pid alone is reused.
CREATE TABLE process (
    id                INTEGER PRIMARY KEY,
    boot              INTEGER NOT NULL REFERENCES boot (id),
    pid               INTEGER NOT NULL,
    start_ticks       INTEGER NOT NULL,
    started           INTEGER,
    ended             INTEGER,
    comm              TEXT,
    command           TEXT,
    command_truncated INTEGER NOT NULL DEFAULT 0,
    exe               TEXT,
    cwd               TEXT,
    uid               INTEGER,
    user              TEXT,
    cgroup            INTEGER REFERENCES cgroup (id),
    lineage           TEXT NOT NULL DEFAULT '[]',
    project           TEXT,
    project_root      TEXT,
    project_kind      TEXT,
    project_evidence  INTEGER,
    worktree          TEXT,
    worktree_root     TEXT,
    branch            TEXT,
    evidence          INTEGER NOT NULL DEFAULT 6,
    UNIQUE (pid, start_ticks, boot)
) STRICT;
CREATE INDEX process_cgroup ON process (cgroup) WHERE cgroup IS NOT NULL;

-- Rows go in at the end, and out at the beginning and from between: ids rise and have holes.
CREATE TABLE event (
    id          INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    type        INTEGER NOT NULL,
    evidence    INTEGER NOT NULL,
    boot        INTEGER NOT NULL REFERENCES boot (id),
    protocol    INTEGER,
    address     TEXT,
    port        INTEGER,
    netns       INTEGER,
    cookie      INTEGER,
    inode       INTEGER,
    state       INTEGER,
    asked_port  INTEGER,
    reuse_addr  INTEGER,
    reuse_port  INTEGER,
    v6_only     INTEGER,
    process     INTEGER REFERENCES process (id),
    other       INTEGER REFERENCES process (id),
    -- How the other is known.
    other_evidence INTEGER,
    errno       INTEGER,
    exit_code   INTEGER,
    exit_signal INTEGER,
    core_dumped INTEGER,
    gap         INTEGER,
    lost        INTEGER,
    lost_counts TEXT,
    since       INTEGER,
    count       INTEGER NOT NULL DEFAULT 1,
    message     TEXT
) STRICT;
CREATE INDEX event_at ON event (at);
-- Asked for one protocol and type at a time: the newest of each is at an end.
CREATE INDEX event_port ON event (port, protocol, type, at) WHERE port IS NOT NULL;
CREATE INDEX event_process ON event (process) WHERE process IS NOT NULL;
CREATE INDEX event_other ON event (other) WHERE other IS NOT NULL;
-- Types below 4 are the common ones; the clock finds them soon enough.
CREATE INDEX event_rare ON event (type, at) WHERE type >= 4;

INSERT INTO word (topic, code, word) VALUES
    ('type', 1, 'bind'), ('type', 2, 'listen'), ('type', 3, 'close'), ('type', 4, 'unlisten'),
    ('type', 5, 'exit'), ('type', 10, 'refused'), ('type', 11, 'noise'), ('type', 12, 'timewait'),
    ('type', 13, 'claim'), ('type', 14, 'release'), ('type', 15, 'auto'), ('type', 16, 'ghost'),
    ('type', 17, 'rogue'), ('type', 18, 'health'), ('type', 19, 'lock'), ('type', 20, 'unlock'),
    ('type', 21, 'extend'), ('type', 22, 'session'), ('type', 23, 'note'), ('type', 24, 'heartbeat'),
    ('type', 25, 'gap'), ('type', 26, 'start'), ('type', 27, 'stop'), ('type', 28, 'error'),
    ('evidence', 1, 'kernel'), ('evidence', 2, 'scan'), ('evidence', 3, 'inherited'),
    ('evidence', 4, 'inferred'), ('evidence', 5, 'ambiguous'), ('evidence', 6, 'unknown'),
    ('state', 1, 'bound'), ('state', 2, 'listening'),
    ('gap', 1, 'buffer-full'), ('gap', 2, 'not-running'), ('gap', 3, 'paused'), ('gap', 4, 'source-changed'),
    ('gap', 5, 'not-written');

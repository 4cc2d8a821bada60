-- Claims: names for ports. Times are ISO-8601 UTC text.
CREATE TABLE claim (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    kind       TEXT NOT NULL CHECK (kind IN ('explicit', 'auto')),
    owner      INTEGER NOT NULL,
    owner_name TEXT,
    agent      TEXT,
    session    TEXT,
    root       TEXT,
    worktree   TEXT,
    created    TEXT NOT NULL,
    renewed    TEXT NOT NULL,
    expires    TEXT,
    -- When a program of its own was last seen listening.
    seen       TEXT
) STRICT;
CREATE INDEX claim_expires ON claim (expires) WHERE expires IS NOT NULL;

-- A slot is one number; a pair is two rows of one slot. The key is what makes a port nobody else's.
CREATE TABLE claim_port (
    protocol TEXT NOT NULL CHECK (protocol IN ('tcp', 'udp')),
    port     INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
    claim    INTEGER NOT NULL REFERENCES claim (id) ON DELETE CASCADE,
    slot     INTEGER NOT NULL,
    PRIMARY KEY (port, protocol)
) STRICT, WITHOUT ROWID;
CREATE INDEX claim_port_claim ON claim_port (claim);

-- Programs that are not rogue. A rule of root's holds for everybody, another's for that user's own programs.
CREATE TABLE allowed (
    id         INTEGER PRIMARY KEY,
    rule       TEXT NOT NULL,
    owner      INTEGER NOT NULL,
    owner_name TEXT,
    created    TEXT NOT NULL,
    UNIQUE (rule, owner)
) STRICT;

-- The newest answer to "are you well?" for each claim, and the newest good one.
CREATE TABLE health (
    claim   INTEGER PRIMARY KEY REFERENCES claim (id) ON DELETE CASCADE,
    result  TEXT NOT NULL,
    since   TEXT NOT NULL,
    checked TEXT NOT NULL,
    healthy TEXT
) STRICT;

-- The claim an event is about, by name: it outlives the claim.
ALTER TABLE event ADD COLUMN claim TEXT;
CREATE INDEX event_claim ON event (claim, at) WHERE claim IS NOT NULL;

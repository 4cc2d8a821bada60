-- Webhooks. The secret signs what is sent and is shown to nobody: this file is its owner's alone.
CREATE TABLE webhook (
    -- A number is never used again.
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    uid       INTEGER NOT NULL,
    user      TEXT,
    url       TEXT NOT NULL,
    -- Words and numbers with commas between them; nothing means all.
    types     TEXT NOT NULL,
    ports     TEXT NOT NULL,
    filter    TEXT,
    secret    BLOB NOT NULL,
    tries     INTEGER NOT NULL,
    created   TEXT NOT NULL,
    -- Events with ids up to this have been looked at.
    seen      INTEGER NOT NULL,
    -- Tries that failed since the last that did not, and until when it rests for it.
    failures  INTEGER NOT NULL DEFAULT 0,
    paused    TEXT,
    delivered INTEGER NOT NULL DEFAULT 0,
    given_up  INTEGER NOT NULL DEFAULT 0,
    dropped   INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Events on their way, and what became of the last ones.
CREATE TABLE webhook_delivery (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook    INTEGER NOT NULL REFERENCES webhook (id) ON DELETE CASCADE,
    -- Nothing for a test.
    event      INTEGER,
    type       TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'given-up')),
    queued     TEXT NOT NULL,
    tried      TEXT,
    tries      INTEGER NOT NULL DEFAULT 0,
    status     INTEGER,
    latency_ms INTEGER,
    problem    TEXT,
    UNIQUE (webhook, event)
) STRICT;
CREATE INDEX webhook_delivery_state ON webhook_delivery (webhook, state, id);

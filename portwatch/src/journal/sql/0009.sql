INSERT INTO word (topic, code, word) VALUES ('type', 30, 'message');

-- Which database this is: numbers of messages mean something in it alone.
INSERT INTO meta (key, value) VALUES ('identity', lower(hex(randomblob(16))));

-- Channels, each one user's or shared with all. A removed one stays for its time, so that those who come back are told.
CREATE TABLE channel (
    name    TEXT PRIMARY KEY,
    uid     INTEGER NOT NULL,
    user    TEXT,
    shared  INTEGER NOT NULL DEFAULT 0 CHECK (shared IN (0, 1)),
    created TEXT NOT NULL,
    -- When something was said last.
    last    TEXT NOT NULL,
    removed TEXT,
    -- Messages with numbers up to this are not all there any more.
    cut     INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX channel_user ON channel (uid) WHERE removed IS NULL;

-- A number is never used again.
CREATE TABLE message (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    channel TEXT NOT NULL REFERENCES channel (name) ON DELETE CASCADE,
    at      TEXT NOT NULL,
    -- Who published it.
    kind    TEXT NOT NULL CHECK (kind IN ('agent', 'session', 'process')),
    sender  TEXT NOT NULL,
    uid     INTEGER NOT NULL,
    user    TEXT,
    pid     INTEGER,
    text    TEXT NOT NULL
) STRICT;
CREATE INDEX message_channel ON message (channel, id);
CREATE INDEX message_sender ON message (channel, uid, id);
CREATE INDEX message_user ON message (uid, id);

-- How much of whom is kept in which channel.
CREATE TABLE publisher (
    channel  TEXT NOT NULL REFERENCES channel (name) ON DELETE CASCADE,
    uid      INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    bytes    INTEGER NOT NULL,
    PRIMARY KEY (channel, uid)
) STRICT, WITHOUT ROWID;
CREATE INDEX publisher_user ON publisher (uid, messages, bytes);

CREATE TRIGGER message_in AFTER INSERT ON message BEGIN
    INSERT INTO publisher (channel, uid, messages, bytes) VALUES (NEW.channel, NEW.uid, 1, length(CAST(NEW.text AS BLOB)))
    ON CONFLICT (channel, uid) DO UPDATE SET messages = messages + 1, bytes = bytes + excluded.bytes;
    UPDATE channel SET last = NEW.at WHERE name = NEW.channel;
END;
-- Whoever takes a message out, the channel says so.
CREATE TRIGGER message_out AFTER DELETE ON message BEGIN
    UPDATE publisher SET messages = messages - 1, bytes = bytes - length(CAST(OLD.text AS BLOB))
        WHERE channel = OLD.channel AND uid = OLD.uid;
    UPDATE channel SET cut = max(cut, OLD.id) WHERE name = OLD.channel;
END;
-- What a forgotten channel had said is unknown from then on.
CREATE TRIGGER channel_out BEFORE DELETE ON channel BEGIN
    INSERT INTO meta (key, value) VALUES ('messages_forgotten',
        max(OLD.cut, ifnull((SELECT max(id) FROM message WHERE channel = OLD.name), 0)))
    ON CONFLICT (key) DO UPDATE SET value = max(CAST(value AS INTEGER), CAST(excluded.value AS INTEGER));
END;

CREATE INDEX lock_waiter_user ON lock_waiter (uid);

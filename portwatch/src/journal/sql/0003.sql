-- Where a process was put. An engine uses an id once.
CREATE TABLE container (
    id              INTEGER PRIMARY KEY,
    engine          TEXT,
    container_id    TEXT NOT NULL,
    pod             TEXT,
    name            TEXT,
    image           TEXT,
    compose_project TEXT,
    compose_service TEXT
) STRICT;
CREATE UNIQUE INDEX container_identity ON container (container_id, ifnull(engine, ''));

ALTER TABLE process ADD COLUMN unit TEXT;
ALTER TABLE process ADD COLUMN unit_slice TEXT;
-- Uid of the user whose manager runs the unit.
ALTER TABLE process ADD COLUMN unit_manager INTEGER;
ALTER TABLE process ADD COLUMN container INTEGER REFERENCES container (id);
CREATE INDEX process_container ON process (container) WHERE container IS NOT NULL;

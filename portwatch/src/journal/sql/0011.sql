-- Uid of the user whose own engine runs the container; null for the system's. What such an engine says is that user's word alone.
ALTER TABLE container ADD COLUMN owner INTEGER;
DROP INDEX container_identity;
CREATE UNIQUE INDEX container_identity ON container (container_id, ifnull(engine, ''), ifnull(owner, -1));

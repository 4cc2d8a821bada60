-- The signal that ended a process, or had asked for its end; a process that sent it is event.other.
ALTER TABLE event ADD COLUMN sent_signal INTEGER;
ALTER TABLE event ADD COLUMN sent_by INTEGER;

INSERT INTO word (topic, code, word) VALUES
    ('sent_by', 1, 'process'), ('sent_by', 2, 'kernel'), ('sent_by', 3, 'oom-killer');

-- Whether the process has sent sent_signal to itself again after it had got it from sent_by; NULL where no signal is known, and in
-- rows from before this was looked at.
ALTER TABLE event ADD COLUMN sent_again INTEGER;

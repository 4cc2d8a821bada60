-- A stranger took the port of a claim.
INSERT INTO word (topic, code, word) VALUES ('type', 29, 'conflict');

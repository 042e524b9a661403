-- What runs printed of the tests of their step: the past of a test.
CREATE TABLE tested (
  seq     INTEGER PRIMARY KEY,     -- position of the event
  repo    TEXT NOT NULL,
  builder TEXT NOT NULL,
  step    TEXT NOT NULL,
  number  INTEGER NOT NULL,        -- of the build
  body    TEXT NOT NULL            -- JSON
) STRICT;
CREATE INDEX tested_of_step ON tested (repo, builder, step, number, seq);

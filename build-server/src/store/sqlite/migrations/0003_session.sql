CREATE TABLE session (
  number INTEGER PRIMARY KEY, -- position of its first event
  id     TEXT NOT NULL UNIQUE,
  open   INTEGER NOT NULL,
  body   TEXT NOT NULL        -- JSON of the whole row
) STRICT;
CREATE INDEX session_open ON session (number) WHERE open;

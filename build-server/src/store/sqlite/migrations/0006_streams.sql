-- The format begins here: files of the versions 1 to 5 are refused.

-- Events are never changed; rows are folded from them in the same transaction.
CREATE TABLE event (
  seq     INTEGER PRIMARY KEY, -- order of commits
  stream  TEXT    NOT NULL,    -- KIND/NAME
  version INTEGER NOT NULL,    -- within the stream, from 1
  at      INTEGER NOT NULL,    -- microseconds since 1970-01-01 UTC
  by      TEXT    NOT NULL,    -- KIND:NAME
  kind    TEXT    NOT NULL,
  v       INTEGER NOT NULL,    -- version of the format of the body
  must    INTEGER NOT NULL,    -- whether it must be understood
  body    TEXT    NOT NULL     -- JSON, as it was written
) STRICT;
CREATE UNIQUE INDEX event_of_stream ON event (stream, version);

-- The streams in which something may still happen.
CREATE TABLE open_stream (
  stream TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Old events, compressed: each pack is all events of a range, ranges follow each other.
CREATE TABLE pack (
  last  INTEGER PRIMARY KEY,   -- position of its last event
  body  BLOB NOT NULL          -- zlib of events in JSON, in order
) STRICT;
CREATE TABLE packed (
  stream  TEXT    NOT NULL,
  version INTEGER NOT NULL,    -- of its last event in the pack
  pack    INTEGER NOT NULL,    -- pack.last
  PRIMARY KEY (stream, version)
) STRICT, WITHOUT ROWID;

-- What changes beside the facts: cursors, outboxes, proofs of leases.
CREATE TABLE memo (
  key   TEXT PRIMARY KEY,
  value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Who may write, and which fold the rows are of.
CREATE TABLE farm (
  one  INTEGER PRIMARY KEY CHECK (one = 1),
  term INTEGER NOT NULL,
  rows INTEGER NOT NULL
) STRICT;
INSERT INTO farm (one, term, rows) VALUES (1, 0, 0);

CREATE TABLE build (
  number      INTEGER PRIMARY KEY, -- position of its first event
  id          TEXT NOT NULL UNIQUE,
  open        INTEGER NOT NULL,
  state       TEXT NOT NULL,
  repo        TEXT NOT NULL,
  branch      TEXT,
  builder     TEXT NOT NULL,
  commit_hash TEXT NOT NULL,
  body        TEXT NOT NULL        -- JSON of the whole row
) STRICT;
CREATE INDEX build_open ON build (number) WHERE open;
CREATE INDEX build_open_state ON build (state) WHERE open;
CREATE INDEX build_of_repo ON build (repo, number);
CREATE INDEX build_of_commit ON build (commit_hash, number);

-- Builds that run others again.
CREATE TABLE rerun (
  first  TEXT    NOT NULL,
  number INTEGER NOT NULL,         -- of the one that runs it again
  again  TEXT    NOT NULL,
  PRIMARY KEY (first, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE timing (
  seq     INTEGER PRIMARY KEY,     -- position of the event that ended the run
  repo    TEXT NOT NULL,
  builder TEXT NOT NULL,
  step    TEXT NOT NULL,
  body    TEXT NOT NULL            -- JSON
) STRICT;
CREATE INDEX timing_of_step ON timing (repo, builder, step, seq);

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

CREATE TABLE session (
  number INTEGER PRIMARY KEY,      -- position of its first event
  id     TEXT NOT NULL UNIQUE,
  open   INTEGER NOT NULL,
  body   TEXT NOT NULL             -- JSON of the whole row
) STRICT;
CREATE INDEX session_open ON session (number) WHERE open;

-- The dashboard: a line for each commit of a branch, a cell for its latest build on each builder.
CREATE TABLE line (
  number      INTEGER PRIMARY KEY, -- of the first build of the commit
  repo        TEXT NOT NULL,
  branch      TEXT NOT NULL,       -- empty when it was found on none
  commit_hash TEXT NOT NULL,
  time        INTEGER NOT NULL,    -- of the commit, microseconds since 1970-01-01 UTC
  body        TEXT NOT NULL        -- JSON of the commit
) STRICT;
CREATE UNIQUE INDEX line_of_commit ON line (repo, commit_hash, branch);
CREATE INDEX line_of_repo ON line (repo, time DESC, number);
CREATE INDEX line_of_branch ON line (repo, branch, time DESC, number);

CREATE TABLE cell (
  line    INTEGER NOT NULL,
  builder TEXT NOT NULL,
  number  INTEGER NOT NULL,        -- of the build
  body    TEXT NOT NULL,           -- JSON
  PRIMARY KEY (line, builder)
) STRICT, WITHOUT ROWID;

CREATE TABLE branch (
  repo   TEXT NOT NULL,
  branch TEXT NOT NULL,
  newest INTEGER NOT NULL,         -- time of its newest commit
  PRIMARY KEY (repo, branch)
) STRICT, WITHOUT ROWID;

-- Events are never changed; rows are folded from them in the same transaction.
CREATE TABLE event (
  seq   INTEGER PRIMARY KEY,
  at    INTEGER NOT NULL, -- microseconds since 1970-01-01 UTC
  build TEXT    NOT NULL,
  body  TEXT    NOT NULL  -- JSON, as it was written, known kind or not
) STRICT;
CREATE INDEX event_of_build ON event (build, seq);

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
CREATE INDEX build_of_repo ON build (repo, number);
CREATE INDEX build_of_commit ON build (commit_hash, number);

CREATE TABLE timing (
  seq     INTEGER PRIMARY KEY,     -- position of the event that ended the run
  repo    TEXT NOT NULL,
  builder TEXT NOT NULL,
  step    TEXT NOT NULL,
  body    TEXT NOT NULL            -- JSON
) STRICT;
CREATE INDEX timing_of_step ON timing (repo, builder, step, seq);

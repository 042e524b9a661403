-- Events of builds and sessions that ended long ago: whole ones, many together, compressed.
CREATE TABLE pack (
  number INTEGER PRIMARY KEY,
  body   BLOB NOT NULL        -- zlib of JSON lines, in order of events
) STRICT;

CREATE TABLE packed (
  build TEXT PRIMARY KEY,
  pack  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How many wait and how many run, without reading their rows.
CREATE INDEX build_open_state ON build (state) WHERE open;

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

-- What an older version has recorded.
INSERT INTO line (number, repo, branch, commit_hash, time, body)
  SELECT min(number), repo, coalesce(branch, ''), commit_hash, body ->> '$.item.commit_time',
    json_object('hash', commit_hash, 'subject', coalesce(body ->> '$.item.subject', ''),
      'branch', branch, 'author', body ->> '$.item.author', 'time', body ->> '$.item.commit_time')
  FROM build WHERE NOT coalesce(body ->> '$.item.worktree', 0) GROUP BY repo, branch, commit_hash;
INSERT INTO cell (line, builder, number, body)
  SELECT line.number, builder, max(build.number),
    json_object('builder', builder, 'build', id, 'state', state,
      'started', build.body ->> '$.started', 'finished', build.body ->> '$.finished')
  FROM build JOIN line ON line.repo = build.repo AND line.commit_hash = build.commit_hash
    AND line.branch = coalesce(build.branch, '')
  WHERE NOT coalesce(build.body ->> '$.item.worktree', 0) GROUP BY line.number, builder;
INSERT INTO branch (repo, branch, newest)
  SELECT repo, branch, max(time) FROM line GROUP BY repo, branch;

-- The journal of one run directory, format 1. Amounts are decimal text, times are seconds since the epoch (UTC).

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- One row a migration, written in the transaction that made it.
CREATE TABLE migrations (
    format     INTEGER PRIMARY KEY,
    applied_at REAL NOT NULL
);

-- The past, in the order in which it happened. Never updated, never deleted.
CREATE TABLE events (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    subject TEXT NOT NULL,       -- a job's identity, or asset:<sha256>
    type    TEXT NOT NULL,
    body    TEXT NOT NULL        -- JSON of the event's fields
);
CREATE INDEX events_by_subject ON events (subject, seq);

-- What the newest manifest asks for, in manifest order. Replaced completely by a run of another plan.
CREATE TABLE plan (
    position INTEGER PRIMARY KEY,
    identity TEXT NOT NULL,
    body     TEXT NOT NULL       -- JSON of the planned job
);
CREATE UNIQUE INDEX plan_by_identity ON plan (identity);

-- Jobs with a past that the newest manifest no longer asks for: what they have in flight is still settled.
CREATE TABLE retired (
    identity TEXT PRIMARY KEY,
    body     TEXT NOT NULL
) WITHOUT ROWID;

-- One row a run: the same command again makes another.
CREATE TABLE runs (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    started_at  REAL NOT NULL,
    finished_at REAL,
    terms       TEXT NOT NULL,   -- JSON of what the run is held to
    ending      TEXT             -- JSON of how it ended; NULL while it runs, or where it was killed
);

"""The journal's longer SQL statements."""

APPEND = "INSERT INTO events (subject, type, body) VALUES (?, ?, ?)"
EVENTS_AFTER = "SELECT seq, subject, type, body FROM events WHERE seq > ? ORDER BY seq"
EVENT = "SELECT seq, subject, type, body FROM events WHERE seq = ?"
ASSET_EVENTS = """SELECT subject, type, body FROM events
                  WHERE subject >= 'asset:' AND subject < 'asset;' ORDER BY seq"""
EVENTS_OF = "SELECT type, body FROM events WHERE subject = ? ORDER BY seq"
RETIRE = (
    """INSERT OR REPLACE INTO retired SELECT identity, body FROM plan AS old
       WHERE EXISTS (SELECT 1 FROM events WHERE subject = old.identity)""",
    "DROP INDEX IF EXISTS plan_by_identity",
    "DELETE FROM plan",
)
RETIRE_AT = "INSERT OR REPLACE INTO retired SELECT identity, body FROM plan WHERE position = ?"
# A job at its place, unless the plan has it; one that has the place is retired.
PLAN_RESTORED = (
    """INSERT OR REPLACE INTO retired SELECT identity, body FROM plan
       WHERE position = json_extract(:body, '$.position')
       AND NOT EXISTS (SELECT 1 FROM plan WHERE identity = :identity)""",
    """INSERT OR REPLACE INTO plan (position, identity, body)
       SELECT json_extract(:body, '$.position'), :identity, :body
       WHERE NOT EXISTS (SELECT 1 FROM plan WHERE identity = :identity)""",
    "DELETE FROM retired WHERE identity = :identity",
)
# The jobs whose first events come after a number.
STARTED_AFTER = """
    SELECT new.subject, coalesce(plan.body, retired.body)
    FROM (SELECT DISTINCT subject FROM events WHERE seq > :number) AS new
    LEFT JOIN plan ON plan.identity = new.subject
    LEFT JOIN retired ON retired.identity = new.subject
    WHERE coalesce(plan.body, retired.body) IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM events WHERE subject = new.subject AND seq <= :number)
    ORDER BY new.subject
"""
# The retired generations of one content: identities are its digits, or its digits and `:gN`.
GENERATIONS = """
    SELECT body FROM retired
    WHERE identity = :identity OR (identity > :identity || ':g' AND identity < :identity || ':h')
"""
# The generation of one content that is in the plan.
PLANNED_CONTENT = """
    SELECT body FROM plan
    WHERE identity = :identity OR (identity > :identity || ':g' AND identity < :identity || ':h')
"""
HAS_GENERATIONS = """
    SELECT 1 FROM (SELECT identity FROM retired UNION ALL SELECT identity FROM plan)
    WHERE length(identity) > 64 LIMIT 1
"""
KNOWN = """
    SELECT body, 0 FROM plan WHERE identity = :identity
    UNION ALL SELECT body, 1 FROM retired WHERE identity = :identity
"""
# Created on first use; most runs don't need it.
INDEX_PLACES = """
    CREATE INDEX IF NOT EXISTS events_by_place ON events (json_extract(body, '$.path'), subject)
    WHERE type IN ('Saved', 'Relocated')
"""
SAVED_AT = """
    SELECT DISTINCT subject FROM events
    WHERE json_extract(body, '$.path') = ? AND type IN ('Saved', 'Relocated')
    ORDER BY subject
"""
INDEX_GATEWAY_JOBS = """
    CREATE INDEX IF NOT EXISTS events_by_gateway_job
    ON events (lower(json_extract(body, '$.job_id')), subject)
    WHERE type = 'Accepted'
"""
ACCEPTED_AS = """
    SELECT DISTINCT subject FROM events
    WHERE lower(json_extract(body, '$.job_id')) = ? AND type = 'Accepted'
    ORDER BY subject
"""
UNRETIRE = "DELETE FROM retired WHERE identity IN (SELECT identity FROM plan)"
JOBS = """
    SELECT plan.position, plan.body, events.type, events.body
    FROM plan LEFT JOIN events ON events.subject = plan.identity
    WHERE plan.position >= ? AND plan.position < ?
    ORDER BY plan.position, events.seq
"""
STARTED_JOBS = JOBS.replace("LEFT JOIN", "JOIN")
PLAN = "SELECT body FROM plan ORDER BY position"
# The first job of each workflow: with and without a prompt, and by the parameters of its images.
SAMPLES = """
    SELECT body FROM plan WHERE position IN (
        SELECT min(position) FROM plan
        GROUP BY json_extract(body, '$.workflow_id'), json_extract(body, '$.prompt') IS NULL,
                 coalesce(json_extract(body, '$.images'), '{}') = '{}'
    ) ORDER BY position
"""
UNSTARTED = """
    SELECT json_extract(body, '$.name'), coalesce(json_extract(body, '$.images'), '{}') <> '{}'
    FROM plan WHERE NOT EXISTS (SELECT 1 FROM events WHERE subject = plan.identity)
"""
PAGE = 64
"""The number of jobs read by one query. A run reads its queue until it ends, and an open read
prevents checkpoints of the write-ahead log: after a million jobs the log would be as large as
the journal, with its index in memory."""

# Created by the first command: older releases ignore a table that they don't know.
CREATE_CONTROLS = """CREATE TABLE IF NOT EXISTS controls (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    run  INTEGER NOT NULL,  -- the run that the command was given to
    body TEXT NOT NULL      -- JSON of the command, its time, and who gave it
)"""
ADD_CONTROL = "INSERT INTO controls (run, body) SELECT coalesce(?, max(id), 0), ? FROM runs"
HAS_CONTROLS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'controls'"
CONTROLS = "SELECT body FROM controls WHERE run = (SELECT max(id) FROM runs) ORDER BY id"

# Created by the first note about a job, likewise.
CREATE_JOB_NOTES = """CREATE TABLE IF NOT EXISTS job_notes (
    identity TEXT NOT NULL,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (identity, name)
) WITHOUT ROWID"""
NOTE_JOB = "INSERT OR REPLACE INTO job_notes (identity, name, value) VALUES (?, ?, ?)"
HAS_JOB_NOTES = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'job_notes'"
JOB_NOTES = "SELECT name, value FROM job_notes WHERE identity = ? ORDER BY name"
NOTES_OF_JOBS = """SELECT identity, name, value FROM job_notes
                   WHERE name >= ? AND name < ? AND (identity, name) > (?, ?)
                   ORDER BY identity, name LIMIT ?"""
INDEX_JOB_NOTES = "CREATE INDEX IF NOT EXISTS job_notes_by_name ON job_notes (name)"

# The event at which a run begins is stored in its terms: older releases ignore the additional
# field.
BEGIN_RUN = "INSERT INTO runs (started_at, terms) VALUES (?, ?)"
RUN_STARTS = "SELECT started_at FROM runs ORDER BY id"
RUNS = "SELECT started_at, finished_at, terms, ending FROM runs ORDER BY id"

# Created by the first reading.
CREATE_GATEWAY_LEDGER = (
    """CREATE TABLE IF NOT EXISTS gateway_entries (
           key     TEXT PRIMARY KEY,
           seen_at REAL NOT NULL,  -- when the first reading that had it was answered
           body    TEXT NOT NULL   -- JSON of the entry of the gateway's ledger
       ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS gateway_readings (
           since REAL PRIMARY KEY,
           until REAL NOT NULL,
           body  TEXT NOT NULL     -- JSON of the readings that overlap: from when to when, and
                                   -- the last one's entries
       ) WITHOUT ROWID""",
)
HAS_GATEWAY_LEDGER = (
    "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'gateway_readings'"
)
KEEP_ENTRY = """INSERT INTO gateway_entries (key, seen_at, body) VALUES (?, ?, ?)
                ON CONFLICT (key) DO UPDATE SET body = excluded.body"""
# Places in the order of another journal's readings can't be compared with those of this one.
MERGE_ENTRY = """INSERT INTO gateway_entries (key, seen_at, body)
                 VALUES (?, ?, json_remove(?, '$.place'))
                 ON CONFLICT (key) DO UPDATE
                 SET body = json_set(excluded.body, '$.place',
                                         json_extract(gateway_entries.body, '$.place'))"""
KEEP_READING = "INSERT OR REPLACE INTO gateway_readings (since, until, body) VALUES (?, ?, ?)"
GATEWAY_ENTRIES = "SELECT body FROM gateway_entries"
PLACES = """SELECT key, json_extract(body, '$.place') FROM gateway_entries
            WHERE key IN (SELECT value FROM json_each(?))"""
LAST_PLACE = "SELECT max(json_extract(body, '$.place')) FROM gateway_entries"
FIRST_SEEN = "SELECT key, seen_at FROM gateway_entries"
GATEWAY_READINGS = "SELECT body FROM gateway_readings ORDER BY until, since"

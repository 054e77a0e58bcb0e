"""The journal's longer SQL statements."""

APPEND = "INSERT INTO events (subject, type, body) VALUES (?, ?, ?)"
EVENTS_OF = "SELECT type, body FROM events WHERE subject = ? ORDER BY seq"
RETIRE = (
    """INSERT OR REPLACE INTO retired SELECT identity, body FROM plan AS old
       WHERE EXISTS (SELECT 1 FROM events WHERE subject = old.identity)""",
    "DELETE FROM plan",
)
KNOWN = """SELECT body, 0 FROM plan WHERE identity = ?1 UNION ALL SELECT body, 1 FROM retired WHERE identity = ?1"""
# Created when it is first needed, which in most runs is never.
INDEX_PLACES = """CREATE INDEX IF NOT EXISTS events_by_place ON events (json_extract(body, '$.path'), subject)
                   WHERE type IN ('Saved', 'Relocated')"""
SAVED_AT = """SELECT DISTINCT subject FROM events
               WHERE json_extract(body, '$.path') = ? AND type IN ('Saved', 'Relocated') ORDER BY subject"""
INDEX_GATEWAY_JOBS = """CREATE INDEX IF NOT EXISTS events_by_gateway_job
                         ON events (lower(json_extract(body, '$.job_id')), subject) WHERE type = 'Accepted'"""
ACCEPTED_AS = """SELECT DISTINCT subject FROM events
                  WHERE lower(json_extract(body, '$.job_id')) = ? AND type = 'Accepted' ORDER BY subject"""
UNRETIRE = "DELETE FROM retired WHERE identity IN (SELECT identity FROM plan)"
JOBS = """
    SELECT plan.position, plan.body, events.type, events.body
    FROM plan LEFT JOIN events ON events.subject = plan.identity
    WHERE plan.position >= ? AND plan.position < ?
    ORDER BY plan.position, events.seq
"""
STARTED_JOBS = JOBS.replace("LEFT JOIN", "JOIN")
UNSTARTED = """
    SELECT json_extract(body, '$.name'), coalesce(json_extract(body, '$.images'), '{}') <> '{}'
    FROM plan WHERE NOT EXISTS (SELECT 1 FROM events WHERE subject = plan.identity)
"""
PAGE = 64
"""Jobs read at once. A run reads its queue for as long as it takes, and a read that stays open keeps the write-ahead
log from being folded in: after a million jobs it would be the size of the journal, and its index in memory with it."""

# Where a run begins is kept within its terms: to older releases it is one field more, which they pass over.
BEGIN_RUN = "INSERT INTO runs (started_at, terms) VALUES (?, json_set(?, '$.begins_after', ?))"
RUNS = "SELECT started_at, finished_at, terms, ending, json_extract(terms, '$.begins_after') FROM runs ORDER BY id"

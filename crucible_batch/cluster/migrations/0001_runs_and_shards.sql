-- Runs, their shards, and workers. The rules are those of domain/shard_lease.py.
-- Every function is one call in autocommit. Functions are never changed: a new version has a new name.
-- The checks on texts are bounds: neither a prompt, a parameter nor a key belongs into this database.

CREATE TABLE runs (
    run        text PRIMARY KEY CHECK (run ~ '^[A-Za-z0-9._-]{1,100}$'),
    manifest   text NOT NULL CHECK (length(manifest) <= 300),
    run_id     text NOT NULL CHECK (length(run_id) <= 300),
    gateway    text NOT NULL CHECK (length(gateway) <= 2000),
    location   text NOT NULL CHECK (length(location) <= 4000),
    budget     numeric NOT NULL CHECK (budget >= 0),
    used       numeric NOT NULL DEFAULT 0 CHECK (used >= 0),
    epoch      integer NOT NULL DEFAULT 0,
    claim      text NOT NULL DEFAULT '' CHECK (length(claim) <= 100),
    renewed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at   timestamptz
);

CREATE TABLE shards (
    run           text NOT NULL REFERENCES runs ON DELETE CASCADE,
    plan_digest   text NOT NULL CHECK (plan_digest ~ '^[0-9a-f]{8,128}$'),
    number        integer NOT NULL CHECK (number > 0),
    jobs          integer NOT NULL CHECK (jobs >= 0),
    admitted      integer NOT NULL CHECK (admitted >= 0),
    allowance     numeric NOT NULL CHECK (allowance >= 0),
    state         text NOT NULL DEFAULT 'waiting'
                  CHECK (state IN ('waiting', 'running', 'ended', 'merged', 'withdrawn')),
    epoch         integer NOT NULL DEFAULT 0,
    claim         text NOT NULL DEFAULT '' CHECK (length(claim) <= 100),
    worker        text CHECK (length(worker) <= 100),
    renewed_at    timestamptz,
    waiting_since timestamptz NOT NULL DEFAULT clock_timestamp(),
    claimed_at    timestamptz,
    ended_at      timestamptz,
    ending        text CHECK (ending ~ '^[a-z_]{1,40}$'),
    spent         numeric NOT NULL DEFAULT 0 CHECK (spent >= 0),
    held          numeric NOT NULL DEFAULT 0 CHECK (held >= 0),
    succeeded     integer NOT NULL DEFAULT 0,
    failed        integer NOT NULL DEFAULT 0,
    blocked       integer NOT NULL DEFAULT 0,
    pending       integer NOT NULL DEFAULT 0,
    unknown       integer NOT NULL DEFAULT 0,
    PRIMARY KEY (run, plan_digest, number)
);
CREATE INDEX shards_open ON shards (state) WHERE state IN ('waiting', 'running');

CREATE TABLE workers (
    worker     text PRIMARY KEY CHECK (length(worker) <= 100),
    name       text NOT NULL CHECK (length(name) <= 300),
    release    text NOT NULL CHECK (length(release) <= 100),
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE turns (
    name text PRIMARY KEY,
    at   timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO turns (name) VALUES ('rescue');

CREATE FUNCTION charge_v1(p_shard shards) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN p_shard.state IN ('waiting', 'running') THEN greatest(p_shard.allowance, p_shard.spent + p_shard.held)
        WHEN p_shard.state = 'ended' THEN p_shard.spent + p_shard.held
        ELSE 0
    END
$$;

CREATE FUNCTION left_v1(p_run text) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT greatest(0, budget - used - coalesce((SELECT sum(charge_v1(s)) FROM shards s WHERE s.run = p_run), 0))
    FROM runs WHERE run = p_run
$$;

-- A coordinator takes a run: a new one, or one whose coordinator has not renewed it for p_lease_s.
CREATE FUNCTION open_run_v1(
    p_run text, p_manifest text, p_run_id text, p_gateway text, p_location text, p_budget numeric,
    p_used numeric, p_claim text, p_lease_s double precision
) RETURNS TABLE (answer text, epoch integer, remaining numeric) LANGUAGE plpgsql AS $$
DECLARE
    present runs;
BEGIN
    INSERT INTO runs (run, manifest, run_id, gateway, location, budget, used)
        VALUES (p_run, p_manifest, p_run_id, p_gateway, p_location, p_budget, p_used)
        ON CONFLICT (run) DO NOTHING;
    SELECT * INTO present FROM runs r WHERE r.run = p_run FOR UPDATE;
    IF (present.manifest, present.run_id, present.gateway) <> (p_manifest, p_run_id, p_gateway) THEN
        RETURN QUERY SELECT 'conflict', present.epoch, left_v1(p_run);
        RETURN;
    END IF;
    IF present.claim <> p_claim AND present.claim <> '' AND present.ended_at IS NULL
        AND present.renewed_at > clock_timestamp() - make_interval(secs => p_lease_s) THEN
        RETURN QUERY SELECT 'held', present.epoch, left_v1(p_run);
        RETURN;
    END IF;
    UPDATE runs r SET epoch = r.epoch + (r.claim <> p_claim)::integer, claim = p_claim, budget = p_budget,
        used = p_used, location = p_location, renewed_at = clock_timestamp(), ended_at = NULL
        WHERE r.run = p_run RETURNING r.epoch INTO present.epoch;
    RETURN QUERY SELECT 'claimed', present.epoch, left_v1(p_run);
END
$$;

CREATE FUNCTION renew_run_v1(p_run text, p_epoch integer) RETURNS TABLE (answer text) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE runs r SET renewed_at = clock_timestamp()
        WHERE r.run = p_run AND r.epoch = p_epoch AND r.ended_at IS NULL;
    RETURN QUERY SELECT CASE WHEN FOUND THEN 'accepted' ELSE 'superseded' END;
END
$$;

CREATE FUNCTION close_run_v1(p_run text, p_epoch integer) RETURNS TABLE (answer text) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE runs r SET ended_at = coalesce(r.ended_at, clock_timestamp()) WHERE r.run = p_run AND r.epoch = p_epoch;
    RETURN QUERY SELECT CASE WHEN FOUND THEN 'accepted' ELSE 'superseded' END;
END
$$;

-- The run's row is locked by everything that sets allowances aside or changes what the run has used.
CREATE FUNCTION lock_run_v1(p_run text, p_epoch integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    present runs;
BEGIN
    SELECT * INTO present FROM runs r WHERE r.run = p_run FOR UPDATE;
    RETURN CASE WHEN present.run IS NULL THEN 'unknown' WHEN present.epoch <> p_epoch THEN 'superseded' END;
END
$$;

CREATE FUNCTION add_shards_v1(
    p_run text, p_epoch integer, p_digest text, p_numbers integer[], p_jobs integer[], p_admitted integer[],
    p_allowances numeric[]
) RETURNS TABLE (answer text, remaining numeric) LANGUAGE plpgsql AS $$
DECLARE
    refused text := lock_run_v1(p_run, p_epoch);
    wanted numeric;
BEGIN
    IF refused IS NOT NULL THEN
        RETURN QUERY SELECT refused, left_v1(p_run);
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM unnest(p_numbers, p_allowances) AS g (number, allowance) JOIN shards s USING (number)
               WHERE s.run = p_run AND s.plan_digest = p_digest AND s.allowance <> g.allowance) THEN
        RETURN QUERY SELECT 'conflict', left_v1(p_run);
        RETURN;
    END IF;
    SELECT coalesce(sum(g.allowance), 0) INTO wanted FROM unnest(p_numbers, p_allowances) AS g (number, allowance)
        WHERE NOT EXISTS (SELECT FROM shards s
                          WHERE s.run = p_run AND s.plan_digest = p_digest AND s.number = g.number);
    IF wanted > left_v1(p_run) THEN
        RETURN QUERY SELECT 'over_budget', left_v1(p_run);
        RETURN;
    END IF;
    INSERT INTO shards (run, plan_digest, number, jobs, admitted, allowance)
        SELECT p_run, p_digest, g.* FROM unnest(p_numbers, p_jobs, p_admitted, p_allowances) AS g
        ON CONFLICT DO NOTHING;
    RETURN QUERY SELECT 'accepted', left_v1(p_run);
END
$$;

CREATE FUNCTION settle_run_v1(
    p_run text, p_epoch integer, p_used numeric, p_digests text[], p_numbers integer[]
) RETURNS TABLE (answer text, remaining numeric) LANGUAGE plpgsql AS $$
DECLARE
    refused text := lock_run_v1(p_run, p_epoch);
    merged integer;
BEGIN
    IF refused IS NOT NULL THEN
        RETURN QUERY SELECT refused, left_v1(p_run);
        RETURN;
    END IF;
    SELECT count(*) INTO merged FROM (
        SELECT s.state FROM shards s
            JOIN unnest(p_digests, p_numbers) AS g (plan_digest, number) USING (plan_digest, number)
            WHERE s.run = p_run AND s.state IN ('ended', 'merged') FOR UPDATE OF s) AS locked;
    IF merged <> cardinality(p_numbers) THEN
        RETURN QUERY SELECT 'conflict', left_v1(p_run);
        RETURN;
    END IF;
    UPDATE shards s SET state = 'merged' FROM unnest(p_digests, p_numbers) AS g (plan_digest, number)
        WHERE s.run = p_run AND s.plan_digest = g.plan_digest AND s.number = g.number;
    UPDATE runs r SET used = p_used WHERE r.run = p_run;
    RETURN QUERY SELECT 'accepted', left_v1(p_run);
END
$$;

CREATE FUNCTION withdraw_shards_v1(
    p_run text, p_epoch integer, p_digests text[], p_numbers integer[]
) RETURNS TABLE (answer text, remaining numeric) LANGUAGE plpgsql AS $$
DECLARE
    refused text := lock_run_v1(p_run, p_epoch);
    free integer;
BEGIN
    IF refused IS NOT NULL THEN
        RETURN QUERY SELECT refused, left_v1(p_run);
        RETURN;
    END IF;
    SELECT count(*) INTO free FROM (
        SELECT s.state FROM shards s
            JOIN unnest(p_digests, p_numbers) AS g (plan_digest, number) USING (plan_digest, number)
            WHERE s.run = p_run AND (s.state = 'withdrawn' OR (s.state = 'waiting' AND s.epoch = 0))
            FOR UPDATE OF s) AS locked;
    IF free <> cardinality(p_numbers) THEN
        RETURN QUERY SELECT 'conflict', left_v1(p_run);
        RETURN;
    END IF;
    UPDATE shards s SET state = 'withdrawn', ended_at = coalesce(s.ended_at, clock_timestamp())
        FROM unnest(p_digests, p_numbers) AS g (plan_digest, number)
        WHERE s.run = p_run AND s.plan_digest = g.plan_digest AND s.number = g.number;
    RETURN QUERY SELECT 'accepted', left_v1(p_run);
END
$$;

CREATE FUNCTION claim_shard_v1(
    p_run text, p_digest text, p_number integer, p_claim text, p_worker text, p_lease_s double precision
) RETURNS TABLE (answer text, epoch integer, allowance numeric, location text, gateway text) LANGUAGE plpgsql AS $$
DECLARE
    present shards;
    verdict text := 'claimed';
BEGIN
    SELECT * INTO present FROM shards s
        WHERE s.run = p_run AND s.plan_digest = p_digest AND s.number = p_number FOR UPDATE;
    IF present.run IS NULL THEN
        verdict := 'unknown';
    ELSIF present.state NOT IN ('waiting', 'running') THEN
        verdict := 'finished';
    ELSIF present.state = 'running' AND present.claim = p_claim THEN
        UPDATE shards s SET renewed_at = clock_timestamp()
            WHERE s.run = p_run AND s.plan_digest = p_digest AND s.number = p_number;
    ELSIF present.state = 'running' AND present.renewed_at > clock_timestamp() - make_interval(secs => p_lease_s) THEN
        verdict := 'held';
    ELSE
        present.epoch := present.epoch + 1;
        UPDATE shards s SET state = 'running', epoch = present.epoch, claim = p_claim, worker = p_worker,
            renewed_at = clock_timestamp(), claimed_at = clock_timestamp()
            WHERE s.run = p_run AND s.plan_digest = p_digest AND s.number = p_number;
    END IF;
    RETURN QUERY SELECT verdict, present.epoch, present.allowance, r.location, r.gateway
        FROM (SELECT 1) AS one LEFT JOIN runs r ON r.run = p_run;
END
$$;

CREATE FUNCTION renew_shard_v1(
    p_run text, p_digest text, p_number integer, p_epoch integer, p_spent numeric, p_held numeric, p_counts integer[]
) RETURNS TABLE (answer text) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE shards s SET renewed_at = clock_timestamp(), spent = p_spent, held = p_held, succeeded = p_counts[1],
        failed = p_counts[2], blocked = p_counts[3], pending = p_counts[4], unknown = p_counts[5]
        WHERE s.run = p_run AND s.plan_digest = p_digest AND s.number = p_number
            AND s.state = 'running' AND s.epoch = p_epoch;
    RETURN QUERY SELECT CASE WHEN FOUND THEN 'accepted' ELSE 'superseded' END;
END
$$;

CREATE FUNCTION report_shard_v1(
    p_run text, p_digest text, p_number integer, p_epoch integer, p_ending text, p_spent numeric, p_held numeric,
    p_counts integer[]
) RETURNS TABLE (answer text) LANGUAGE plpgsql AS $$
DECLARE
    present shards;
BEGIN
    UPDATE shards s SET state = 'ended', ended_at = clock_timestamp(), ending = p_ending, spent = p_spent,
        held = p_held, succeeded = p_counts[1], failed = p_counts[2], blocked = p_counts[3], pending = p_counts[4],
        unknown = p_counts[5]
        WHERE s.run = p_run AND s.plan_digest = p_digest AND s.number = p_number
            AND s.state = 'running' AND s.epoch = p_epoch;
    IF FOUND THEN
        RETURN QUERY SELECT 'accepted';
        RETURN;
    END IF;
    SELECT * INTO present FROM shards s WHERE s.run = p_run AND s.plan_digest = p_digest AND s.number = p_number;
    RETURN QUERY SELECT CASE
        WHEN present.run IS NULL THEN 'unknown'
        WHEN present.epoch = p_epoch AND present.state IN ('ended', 'merged') THEN 'repeated'
        ELSE 'superseded'
    END;
END
$$;

CREATE FUNCTION release_shard_v1(
    p_run text, p_digest text, p_number integer, p_epoch integer, p_spent numeric, p_held numeric, p_counts integer[]
) RETURNS TABLE (answer text) LANGUAGE plpgsql AS $$
DECLARE
    present shards;
BEGIN
    UPDATE shards s SET state = 'waiting', waiting_since = clock_timestamp(), spent = p_spent, held = p_held,
        succeeded = p_counts[1], failed = p_counts[2], blocked = p_counts[3], pending = p_counts[4],
        unknown = p_counts[5]
        WHERE s.run = p_run AND s.plan_digest = p_digest AND s.number = p_number
            AND s.state = 'running' AND s.epoch = p_epoch;
    IF FOUND THEN
        RETURN QUERY SELECT 'accepted';
        RETURN;
    END IF;
    SELECT * INTO present FROM shards s WHERE s.run = p_run AND s.plan_digest = p_digest AND s.number = p_number;
    RETURN QUERY SELECT CASE
        WHEN present.run IS NULL THEN 'unknown'
        WHEN present.epoch = p_epoch AND p_epoch > 0 AND present.state = 'waiting' THEN 'repeated'
        ELSE 'superseded'
    END;
END
$$;

CREATE FUNCTION see_worker_v1(p_worker text, p_name text, p_release text) RETURNS TABLE (answer text)
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO workers (worker, name, release) VALUES (p_worker, p_name, p_release)
        ON CONFLICT (worker) DO UPDATE SET seen_at = clock_timestamp(), name = p_name, release = p_release;
    RETURN QUERY SELECT 'accepted';
END
$$;

CREATE FUNCTION forget_worker_v1(p_worker text) RETURNS void LANGUAGE sql AS $$
    DELETE FROM workers WHERE worker = p_worker
$$;

-- The shards that a worker could claim now: waiting or stale. Nothing if another worker had the turn within
-- p_interval_s. Workers that were not seen for p_forget_s are deleted.
CREATE FUNCTION take_rescue_turn_v1(
    p_interval_s double precision, p_lease_s double precision, p_forget_s double precision
) RETURNS TABLE (run text, plan_digest text, number integer) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE turns t SET at = clock_timestamp()
        WHERE t.name = 'rescue' AND t.at <= clock_timestamp() - make_interval(secs => p_interval_s);
    IF NOT FOUND THEN
        RETURN;
    END IF;
    DELETE FROM workers w WHERE w.seen_at < clock_timestamp() - make_interval(secs => p_forget_s);
    RETURN QUERY SELECT s.run, s.plan_digest, s.number FROM shards s
        WHERE s.state = 'waiting'
            OR (s.state = 'running' AND s.renewed_at <= clock_timestamp() - make_interval(secs => p_lease_s))
        ORDER BY s.waiting_since, s.run, s.plan_digest, s.number;
END
$$;

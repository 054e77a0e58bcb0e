-- Commands to a run, and which of them its workers have in effect. The rules are those of domain/cluster_control.py.
-- A job is named by its identity, a digest: names of jobs don't belong into this database.

CREATE TABLE controls (
    run       text NOT NULL REFERENCES runs ON DELETE CASCADE,
    number    integer NOT NULL,
    request   text NOT NULL CHECK (length(request) <= 100),
    run_epoch integer NOT NULL,
    action    text NOT NULL CHECK (action ~ '^[a-z_]{1,40}$'),
    value     double precision,
    jobs      text[] NOT NULL DEFAULT '{}' CHECK (array_to_string(jobs, '') ~ '^[0-9a-f]*$'),
    given_by  text NOT NULL CHECK (length(given_by) <= 300),
    given_via text NOT NULL CHECK (given_via ~ '^[a-z_]{1,40}$'),
    given_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run, number),
    UNIQUE (run, request)
);

-- What asks for commands: the owner of a shard, or, with number 0, the coordinator for jobs that it runs itself.
-- Only a row with the newest epoch counts.
CREATE TABLE control_takers (
    run         text NOT NULL REFERENCES runs ON DELETE CASCADE,
    plan_digest text NOT NULL CHECK (plan_digest ~ '^[0-9a-f]{0,128}$'),
    number      integer NOT NULL,
    epoch       integer NOT NULL,
    taken       integer NOT NULL,
    in_flight   integer NOT NULL,
    seen_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run, plan_digest, number)
);

-- With 'stop', shards that no worker runs are ended as well. Returns no row if there is no such run.
CREATE FUNCTION give_control_v1(
    p_run text, p_request text, p_action text, p_value double precision, p_jobs text[], p_by text, p_via text
) RETURNS TABLE (number integer) LANGUAGE plpgsql AS $$
DECLARE
    present runs;
BEGIN
    SELECT * INTO present FROM runs r WHERE r.run = p_run FOR UPDATE;
    IF present.run IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO controls (run, number, request, run_epoch, action, value, jobs, given_by, given_via)
        SELECT p_run, coalesce(max(c.number), 0) + 1, p_request, present.epoch, p_action, p_value, p_jobs, p_by, p_via
            FROM controls c WHERE c.run = p_run
        ON CONFLICT (run, request) DO NOTHING;
    IF p_action = 'stop' THEN
        PERFORM drain_run_v1(p_run);
    END IF;
    RETURN QUERY SELECT c.number FROM controls c WHERE c.run = p_run AND c.request = p_request;
END
$$;

-- The commands after p_after, oldest first. is_current: given since the run's newest coordinator has begun.
CREATE FUNCTION controls_v1(p_run text, p_after integer) RETURNS TABLE (
    number integer, action text, value double precision, jobs text[], given_by text, given_via text,
    is_current boolean, age_s double precision
) LANGUAGE sql STABLE AS $$
    SELECT c.number, c.action, c.value, c.jobs, c.given_by, c.given_via, c.run_epoch = r.epoch,
        extract(epoch FROM clock_timestamp() - c.given_at)::float8
    FROM controls c JOIN runs r USING (run) WHERE c.run = p_run AND c.number > p_after ORDER BY c.number
$$;

-- Records that all commands up to p_taken are in effect, and returns those after it. Nothing is written as long as
-- nothing changes, but for a coordinator: its row shows every two seconds that it is alive.
CREATE FUNCTION take_controls_v1(
    p_run text, p_digest text, p_number integer, p_epoch integer, p_taken integer, p_in_flight integer
) RETURNS TABLE (
    number integer, action text, value double precision, jobs text[], given_by text, given_via text,
    is_current boolean, age_s double precision
) LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM control_takers t WHERE t.run = p_run AND t.plan_digest = p_digest
                   AND t.number = p_number AND (t.epoch > p_epoch OR (t.epoch = p_epoch AND t.taken >= p_taken
                   AND (p_number > 0 OR t.seen_at > clock_timestamp() - interval '2 s')))) THEN
        INSERT INTO control_takers AS t (run, plan_digest, number, epoch, taken, in_flight)
            SELECT r.run, p_digest, p_number, p_epoch, p_taken, p_in_flight FROM runs r WHERE r.run = p_run
            ON CONFLICT ON CONSTRAINT control_takers_pkey DO UPDATE SET epoch = excluded.epoch, taken = excluded.taken,
                in_flight = excluded.in_flight, seen_at = excluded.seen_at
                WHERE t.epoch < excluded.epoch OR (t.epoch = excluded.epoch AND t.taken <= excluded.taken);
    END IF;
    RETURN QUERY SELECT * FROM controls_v1(p_run, p_taken);
END
$$;

CREATE FUNCTION forget_taker_v1(p_run text, p_epoch integer) RETURNS void LANGUAGE sql AS $$
    DELETE FROM control_takers t WHERE t.run = p_run AND t.plan_digest = '' AND t.number = 0 AND t.epoch = p_epoch
$$;

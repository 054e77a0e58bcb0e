-- Workers that were asked to take no further shards.

ALTER TABLE workers ADD COLUMN draining_since timestamptz;

CREATE FUNCTION see_worker_v2(p_worker text, p_name text, p_release text) RETURNS TABLE (draining boolean)
LANGUAGE sql AS $$
    INSERT INTO workers (worker, name, release) VALUES (p_worker, p_name, p_release)
        ON CONFLICT (worker) DO UPDATE SET seen_at = clock_timestamp(), name = p_name, release = p_release
        RETURNING draining_since IS NOT NULL
$$;

CREATE FUNCTION claim_shard_v2(
    p_run text, p_digest text, p_number integer, p_claim text, p_worker text, p_lease_s double precision
) RETURNS TABLE (answer text, epoch integer, allowance numeric, location text, gateway text) LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM workers w WHERE w.worker = p_worker AND w.draining_since IS NOT NULL) THEN
        RETURN QUERY SELECT 'draining', 0, 0::numeric, NULL::text, NULL::text;
        RETURN;
    END IF;
    RETURN QUERY SELECT * FROM claim_shard_v1(p_run, p_digest, p_number, p_claim, p_worker, p_lease_s);
END
$$;

-- p_names NULL: all workers. Returns those that are draining, also if they were before.
CREATE FUNCTION drain_workers_v1(p_names text[]) RETURNS TABLE (worker text, name text) LANGUAGE sql AS $$
    UPDATE workers w SET draining_since = coalesce(w.draining_since, clock_timestamp())
        WHERE p_names IS NULL OR w.name = ANY (p_names) RETURNING w.worker, w.name
$$;

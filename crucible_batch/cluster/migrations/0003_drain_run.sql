-- An operator ends a run early: what waits is not run any more, and what runs is finished.

CREATE FUNCTION drain_run_v1(p_run text) RETURNS TABLE (withdrawn integer, ended integer, running integer)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM runs r WHERE r.run = p_run FOR UPDATE;
    WITH changed AS (
        UPDATE shards s SET state = CASE s.epoch WHEN 0 THEN 'withdrawn' ELSE 'ended' END,
            held = CASE s.epoch WHEN 0 THEN s.held ELSE greatest(s.held, s.allowance - s.spent) END,
            ending = CASE s.epoch WHEN 0 THEN s.ending ELSE 'drained' END, ended_at = clock_timestamp()
            WHERE s.run = p_run AND s.state = 'waiting' RETURNING s.state
    )
    SELECT count(*) FILTER (WHERE c.state = 'withdrawn'), count(*) FILTER (WHERE c.state = 'ended')
        INTO withdrawn, ended FROM changed c;
    SELECT count(*) INTO running FROM shards s WHERE s.run = p_run AND s.state = 'running';
    RETURN NEXT;
END
$$;

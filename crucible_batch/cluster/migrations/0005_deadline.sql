-- The deadline of a run, by the clock of this server: of all machines' clocks, only that one counts.

CREATE TABLE deadlines (
    run text PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
    at  timestamptz NOT NULL
);

-- p_left_s NULL: no deadline.
CREATE FUNCTION set_deadline_v1(p_run text, p_epoch integer, p_left_s double precision) RETURNS TABLE (answer text)
LANGUAGE plpgsql AS $$
DECLARE
    refused text := lock_run_v1(p_run, p_epoch);
BEGIN
    IF refused IS NOT NULL THEN
        RETURN QUERY SELECT refused;
        RETURN;
    END IF;
    DELETE FROM deadlines d WHERE d.run = p_run;
    IF p_left_s IS NOT NULL THEN
        INSERT INTO deadlines (run, at) VALUES (p_run, clock_timestamp() + make_interval(secs => p_left_s));
    END IF;
    RETURN QUERY SELECT 'accepted';
END
$$;

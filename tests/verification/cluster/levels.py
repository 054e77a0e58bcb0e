"""The statements of each level of code, as they were released: never changed. A new level adds its own."""

# ruff: noqa: E501 - each statement is a line

from __future__ import annotations

LEVEL_1 = {
    "open_run": "SELECT * FROM open_run_v1(%(run)s, %(manifest)s, %(run_id)s, %(gateway)s, %(location)s, %(budget)s, %(used)s, %(claim)s, %(lease_s)s)",
    "renew_run": "SELECT * FROM renew_run_v1(%(run)s, %(epoch)s)",
    "close_run": "SELECT * FROM close_run_v1(%(run)s, %(epoch)s)",
    "add_shards": "SELECT * FROM add_shards_v1(%(run)s, %(epoch)s, %(digest)s, %(numbers)s::integer[], %(jobs)s::integer[], %(admitted)s::integer[], %(allowances)s::numeric[])",
    "settle_run": "SELECT * FROM settle_run_v1(%(run)s, %(epoch)s, %(used)s, %(digests)s::text[], %(numbers)s::integer[])",
    "withdraw_shards": "SELECT * FROM withdraw_shards_v1(%(run)s, %(epoch)s, %(digests)s::text[], %(numbers)s::integer[])",
    "claim_shard": "SELECT * FROM claim_shard_v1(%(run)s, %(digest)s, %(number)s, %(claim)s, %(worker)s, %(lease_s)s)",
    "renew_shard": "SELECT * FROM renew_shard_v1(%(run)s, %(digest)s, %(number)s, %(epoch)s, %(spent)s, %(held)s, %(counts)s::integer[])",
    "report_shard": "SELECT * FROM report_shard_v1(%(run)s, %(digest)s, %(number)s, %(epoch)s, %(ending)s, %(spent)s, %(held)s, %(counts)s::integer[])",
    "release_shard": "SELECT * FROM release_shard_v1(%(run)s, %(digest)s, %(number)s, %(epoch)s, %(spent)s, %(held)s, %(counts)s::integer[])",
    "see_worker": "SELECT * FROM see_worker_v1(%(worker)s, %(name)s, %(release)s)",
    "forget_worker": "SELECT forget_worker_v1(%(worker)s)",
    "take_rescue_turn": "SELECT * FROM take_rescue_turn_v1(%(interval_s)s, %(lease_s)s, %(forget_s)s)",
    "runs": "SELECT run, manifest, run_id, gateway, location, budget, used, epoch, left_v1(run) AS remaining, coalesce((SELECT sum(charge_v1(s)) FROM shards s WHERE s.run = r.run), 0) AS set_aside, extract(epoch FROM clock_timestamp() - created_at)::float8 AS age_s, extract(epoch FROM clock_timestamp() - renewed_at)::float8 AS renewed_age_s, extract(epoch FROM clock_timestamp() - ended_at)::float8 AS ended_age_s FROM runs r WHERE %(run)s::text IS NULL OR r.run = %(run)s ORDER BY created_at DESC, run",
    "shards": "SELECT s.run, plan_digest, number, jobs, admitted, allowance, state, s.epoch, worker, ending, spent, held, succeeded, failed, blocked, pending, unknown, extract(epoch FROM clock_timestamp() - waiting_since)::float8 AS waiting_age_s, extract(epoch FROM clock_timestamp() - claimed_at)::float8 AS claimed_age_s, extract(epoch FROM clock_timestamp() - s.renewed_at)::float8 AS renewed_age_s, extract(epoch FROM clock_timestamp() - s.ended_at)::float8 AS ended_age_s FROM shards s JOIN runs r USING (run) WHERE CASE WHEN %(run)s::text IS NULL THEN r.ended_at IS NULL ELSE s.run = %(run)s END ORDER BY r.created_at DESC, s.run, s.waiting_since, s.plan_digest, s.number",
    "workers": "SELECT worker, name, release, extract(epoch FROM clock_timestamp() - started_at)::float8 AS age_s, extract(epoch FROM clock_timestamp() - seen_at)::float8 AS seen_age_s, (SELECT count(*) FROM shards s WHERE s.worker = w.worker AND s.state = 'running')::integer AS shards FROM workers w ORDER BY name, worker",
}
LEVEL_2 = {
    **LEVEL_1,
    "claim_shard": "SELECT * FROM claim_shard_v2(%(run)s, %(digest)s, %(number)s, %(claim)s, %(worker)s, %(lease_s)s)",
    "see_worker": "SELECT * FROM see_worker_v2(%(worker)s, %(name)s, %(release)s)",
    "drain_workers": "SELECT * FROM drain_workers_v1(%(names)s::text[])",
    "workers": "SELECT worker, name, release, extract(epoch FROM clock_timestamp() - started_at)::float8 AS age_s, extract(epoch FROM clock_timestamp() - seen_at)::float8 AS seen_age_s, extract(epoch FROM clock_timestamp() - draining_since)::float8 AS draining_age_s, (SELECT count(*) FROM shards s WHERE s.worker = w.worker AND s.state = 'running')::integer AS shards FROM workers w ORDER BY name, worker",
}
LEVEL_3 = {
    **LEVEL_2,
    "drain_run": "SELECT withdrawn, ended, running FROM drain_run_v1(%(run)s)",
    "shards": "SELECT s.run, plan_digest, number, jobs, admitted, allowance, state, s.epoch, worker, ending, spent, held, succeeded, failed, blocked, pending, unknown, extract(epoch FROM clock_timestamp() - waiting_since)::float8 AS waiting_age_s, extract(epoch FROM clock_timestamp() - claimed_at)::float8 AS claimed_age_s, extract(epoch FROM clock_timestamp() - s.renewed_at)::float8 AS renewed_age_s, extract(epoch FROM clock_timestamp() - s.ended_at)::float8 AS ended_age_s FROM shards s JOIN runs r USING (run) WHERE CASE WHEN %(run)s::text IS NULL THEN r.ended_at IS NULL OR EXISTS (SELECT FROM shards o WHERE o.run = s.run AND o.state IN ('waiting', 'running')) ELSE s.run = %(run)s END ORDER BY r.created_at DESC, s.run, s.waiting_since, s.plan_digest, s.number",
}
LEVEL_4 = {
    **LEVEL_3,
    "give_control": "SELECT number FROM give_control_v1(%(run)s, %(request)s, %(action)s, %(value)s::float8, %(jobs)s::text[], %(by)s, %(via)s)",
    "controls": "SELECT number, action, value, jobs, given_by, given_via, is_current, age_s FROM controls_v1(%(run)s, %(after)s)",
    "take_controls": "SELECT number, action, value, jobs, given_by, given_via, is_current, age_s FROM take_controls_v1(%(run)s, %(digest)s, %(number)s, %(epoch)s, %(taken)s, %(in_flight)s)",
    "forget_taker": "SELECT forget_taker_v1(%(run)s, %(epoch)s)",
    "takers": "SELECT s.plan_digest, s.number, w.name, w.release, t.taken, t.in_flight FROM shards s LEFT JOIN workers w ON w.worker = s.worker LEFT JOIN control_takers t ON t.run = s.run AND t.plan_digest = s.plan_digest AND t.number = s.number AND t.epoch = s.epoch WHERE s.run = %(run)s AND s.state = 'running' UNION ALL SELECT t.plan_digest, t.number, NULL, NULL, t.taken, t.in_flight FROM control_takers t JOIN runs r USING (run) WHERE t.run = %(run)s AND t.number = 0 AND t.epoch = r.epoch AND t.seen_at > clock_timestamp() - interval '6 s' ORDER BY plan_digest, number",
    "pauses": "SELECT DISTINCT ON (c.run) c.run, c.action, c.given_by, c.given_via, extract(epoch FROM clock_timestamp() - c.given_at)::float8 AS age_s FROM controls c WHERE c.action IN ('pause', 'resume') ORDER BY c.run, c.number DESC",
}
LEVEL_5 = {
    **LEVEL_4,
    "set_deadline": "SELECT * FROM set_deadline_v1(%(run)s, %(epoch)s, %(left_s)s)",
    "deadline": "SELECT extract(epoch FROM at - clock_timestamp())::float8 AS left_s FROM deadlines WHERE run = %(run)s",
}
STATEMENTS_OF_LEVEL = {1: LEVEL_1, 2: LEVEL_2, 3: LEVEL_3, 4: LEVEL_4, 5: LEVEL_5}

WORKER_CALLS: list[dict[str, dict[str, object]]] = [
    {"see_worker": {"worker": "w", "name": "alpha", "release": "1"}},
    {"workers": {}},
    {"runs": {"run": None}},
    {"shards": {"run": None}},
    {"take_rescue_turn": {"interval_s": 0.0, "lease_s": 15.0, "forget_s": 60.0}},
    {"forget_worker": {"worker": "w"}},
]
"""Calls that a history does not make, with their values."""

"""The statements of this level of code. Those of earlier levels are kept by the tests, and must work on this schema."""

# ruff: noqa: S608 - the parts are constants

from __future__ import annotations

from typing import Final

_SHARD = "%(run)s, %(digest)s, %(number)s"
_COUNTED = "%(spent)s, %(held)s, %(counts)s::integer[]"
_CONTROL = "number, action, value, jobs, given_by, given_via, is_current, age_s"
_KEYS = "%(digests)s::text[], %(numbers)s::integer[]"


def _age(column: str, name: str | None = None) -> str:
    """Select the age of a time in seconds."""
    return (
        f"extract(epoch FROM clock_timestamp() - {column})::float8 AS {name or column.removesuffix('_at') + '_age_s'}"
    )


# Columns are named: a statement that was prepared with ``*`` fails after a column was added.
STATEMENTS: Final[dict[str, str]] = {
    "open_run": "SELECT * FROM open_run_v1(%(run)s, %(manifest)s, %(run_id)s, %(gateway)s, %(location)s, %(budget)s,"
    " %(used)s, %(claim)s, %(lease_s)s)",
    "renew_run": "SELECT * FROM renew_run_v1(%(run)s, %(epoch)s)",
    "close_run": "SELECT * FROM close_run_v1(%(run)s, %(epoch)s)",
    "add_shards": "SELECT * FROM add_shards_v1(%(run)s, %(epoch)s, %(digest)s, %(numbers)s::integer[],"
    " %(jobs)s::integer[], %(admitted)s::integer[], %(allowances)s::numeric[])",
    "settle_run": f"SELECT * FROM settle_run_v1(%(run)s, %(epoch)s, %(used)s, {_KEYS})",
    "withdraw_shards": f"SELECT * FROM withdraw_shards_v1(%(run)s, %(epoch)s, {_KEYS})",
    "set_deadline": "SELECT * FROM set_deadline_v1(%(run)s, %(epoch)s, %(left_s)s)",
    "deadline": "SELECT extract(epoch FROM at - clock_timestamp())::float8 AS left_s FROM deadlines"
    " WHERE run = %(run)s",
    "claim_shard": f"SELECT * FROM claim_shard_v2({_SHARD}, %(claim)s, %(worker)s, %(lease_s)s)",
    "renew_shard": f"SELECT * FROM renew_shard_v1({_SHARD}, %(epoch)s, {_COUNTED})",
    "report_shard": f"SELECT * FROM report_shard_v1({_SHARD}, %(epoch)s, %(ending)s, {_COUNTED})",
    "release_shard": f"SELECT * FROM release_shard_v1({_SHARD}, %(epoch)s, {_COUNTED})",
    "see_worker": "SELECT * FROM see_worker_v2(%(worker)s, %(name)s, %(release)s)",
    "forget_worker": "SELECT forget_worker_v1(%(worker)s)",
    "drain_workers": "SELECT * FROM drain_workers_v1(%(names)s::text[])",
    "drain_run": "SELECT withdrawn, ended, running FROM drain_run_v1(%(run)s)",
    "give_control": "SELECT number FROM give_control_v1(%(run)s, %(request)s, %(action)s, %(value)s::float8,"
    " %(jobs)s::text[], %(by)s, %(via)s)",
    "controls": f"SELECT {_CONTROL} FROM controls_v1(%(run)s, %(after)s)",
    "take_controls": f"SELECT {_CONTROL} FROM take_controls_v1({_SHARD}, %(epoch)s, %(taken)s, %(in_flight)s)",
    "forget_taker": "SELECT forget_taker_v1(%(run)s, %(epoch)s)",
    "takers": "SELECT s.plan_digest, s.number, w.name, w.release, t.taken, t.in_flight FROM shards s"
    " LEFT JOIN workers w ON w.worker = s.worker LEFT JOIN control_takers t ON t.run = s.run"
    " AND t.plan_digest = s.plan_digest AND t.number = s.number AND t.epoch = s.epoch"
    " WHERE s.run = %(run)s AND s.state = 'running' UNION ALL"
    " SELECT t.plan_digest, t.number, NULL, NULL, t.taken, t.in_flight FROM control_takers t JOIN runs r USING (run)"
    " WHERE t.run = %(run)s AND t.number = 0 AND t.epoch = r.epoch"
    " AND t.seen_at > clock_timestamp() - interval '6 s' ORDER BY plan_digest, number",
    "pauses": "SELECT DISTINCT ON (c.run) c.run, c.action, c.given_by, c.given_via,"
    f" {_age('c.given_at', 'age_s')} FROM controls c WHERE c.action IN ('pause', 'resume')"
    " ORDER BY c.run, c.number DESC",
    "take_rescue_turn": "SELECT * FROM take_rescue_turn_v1(%(interval_s)s, %(lease_s)s, %(forget_s)s)",
    "runs": "SELECT run, manifest, run_id, gateway, location, budget, used, epoch, left_v1(run) AS remaining,"
    " coalesce((SELECT sum(charge_v1(s)) FROM shards s WHERE s.run = r.run), 0) AS set_aside,"
    f" {_age('created_at', 'age_s')}, {_age('renewed_at')}, {_age('ended_at')} FROM runs r"
    " WHERE %(run)s::text IS NULL OR r.run = %(run)s ORDER BY created_at DESC, run",
    "shards": "SELECT s.run, plan_digest, number, jobs, admitted, allowance, state, s.epoch, worker, ending, spent,"
    f" held, succeeded, failed, blocked, pending, unknown, {_age('waiting_since', 'waiting_age_s')},"
    f" {_age('claimed_at')}, {_age('s.renewed_at', 'renewed_age_s')}, {_age('s.ended_at', 'ended_age_s')} FROM shards s"
    " JOIN runs r USING (run) WHERE CASE WHEN %(run)s::text IS NULL"
    " THEN r.ended_at IS NULL OR EXISTS (SELECT FROM shards o WHERE o.run = s.run AND o.state IN"
    " ('waiting', 'running')) ELSE s.run = %(run)s END"
    " ORDER BY r.created_at DESC, s.run, s.waiting_since, s.plan_digest, s.number",
    "workers": f"SELECT worker, name, release, {_age('started_at', 'age_s')}, {_age('seen_at')},"
    f" {_age('draining_since', 'draining_age_s')}, (SELECT count(*) FROM shards s"
    " WHERE s.worker = w.worker AND s.state = 'running')::integer AS shards FROM workers w ORDER BY name, worker",
}

"""Shards: their numbers, the variables of the environment that name them, and what is set aside."""

from __future__ import annotations

from decimal import Decimal

import pytest

from crucible_batch.core.sharding import OutstandingShards, ShardId, shard_from
from tests.harness.case_table import each_case


@each_case(
    "text, shard", [("3/8", ShardId(3, 8)), ("1/1", ShardId(1, 1)), (" 8/8\n", ShardId(8, 8))]
)
def test_a_shard_is_read(text: str, shard: ShardId) -> None:
    assert ShardId.parse(text) == shard
    assert ShardId.parse(str(shard)) == shard


@each_case(
    "text", ["", "3", "0/8", "9/8", "-1/8", "1/0", "1/10001", "3/8/9", "a/b", "٣/8", "1.0/8"]
)
def test_other_text_is_not_a_shard(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ShardId.parse(text)


@each_case(
    "environ, number",
    [
        ({}, None),
        ({"CRUCIBLE_BATCH_SHARD": ""}, None),
        ({"CRUCIBLE_BATCH_SHARD": "3/8"}, 3),
        ({"SLURM_ARRAY_TASK_ID": "1"}, 1),
        ({"SLURM_ARRAY_TASK_ID": "8"}, 8),
        ({"JOB_COMPLETION_INDEX": "0"}, 1),
        ({"JOB_COMPLETION_INDEX": "7"}, 8),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "0"}, 1),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "7"}, 8),
        (
            {
                "CRUCIBLE_BATCH_SHARD": "2/8",
                "SLURM_ARRAY_TASK_ID": "5",
                "JOB_COMPLETION_INDEX": "5",
            },
            2,
        ),
        (
            {
                "SLURM_ARRAY_TASK_ID": "5",
                "JOB_COMPLETION_INDEX": "6",
                "AWS_BATCH_JOB_ARRAY_INDEX": "7",
            },
            5,
        ),
        ({"JOB_COMPLETION_INDEX": "6", "AWS_BATCH_JOB_ARRAY_INDEX": "5"}, 7),
    ],
)
def test_the_environment_names_a_shard(environ: dict[str, str], number: int | None) -> None:
    assert shard_from(environ, 8) == (None if number is None else ShardId(number, 8))


@each_case(
    "environ, words",
    [
        (
            {"CRUCIBLE_BATCH_SHARD": "three"},
            "CRUCIBLE_BATCH_SHARD: 'three' is not a shard such as 3/8",
        ),
        (
            {"SLURM_ARRAY_TASK_ID": "0"},
            "indexes of 8 shards are 1 to 8, so number the array from 1: --array=1-8",
        ),
        ({"SLURM_ARRAY_TASK_ID": "9"}, "SLURM_ARRAY_TASK_ID=9: the indexes of 8 shards are 1 to 8"),
        (
            {"JOB_COMPLETION_INDEX": "8"},
            "JOB_COMPLETION_INDEX=8: the indexes of 8 shards are 0 to 7",
        ),
        (
            {"AWS_BATCH_JOB_ARRAY_INDEX": "x"},
            "AWS_BATCH_JOB_ARRAY_INDEX=x: the indexes of 8 shards are 0 to 7",
        ),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "-1"}, "are 0 to 7"),
    ],
)
def test_a_variable_that_names_no_shard_of_the_plan_is_refused(
    environ: dict[str, str], words: str
) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        shard_from(environ, 8)
    assert words in str(raised.value)


def test_array_variables_do_not_concern_a_plan_without_shards() -> None:
    environ = {
        "SLURM_ARRAY_TASK_ID": "3",
        "JOB_COMPLETION_INDEX": "3",
        "AWS_BATCH_JOB_ARRAY_INDEX": "3",
    }
    assert shard_from(environ, 0) is None
    assert shard_from({**environ, "CRUCIBLE_BATCH_SHARD": "3/8"}, 0) == ShardId(3, 8)


def test_what_is_set_aside_is_the_allowance_of_each_shard_that_is_not_merged() -> None:
    allowances = {1: Decimal(3), 2: Decimal(4), 10: Decimal(5)}
    assert OutstandingShards("d", allowances).set_aside == 12
    some = OutstandingShards("d", allowances, frozenset({2}))
    assert (some.set_aside, some.missing) == (8, (1, 10))

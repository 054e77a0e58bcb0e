"""Whether refusals are more than chance: neither a share of a tenth nor a few in a row are."""

from __future__ import annotations

import random

from crucible_batch.pace.refused_share import RefusedShare
from tests.harness.case_table import each_case


@each_case("share", [0.0, 0.01, 0.04, 0.1])
@each_case("size", [4, 256])
def test_a_tenth_that_is_refused_by_chance_is_hardly_ever_more(share, size):
    rng, refused = random.Random(3), RefusedShare()
    more = 0
    for _ in range(10_000):
        refused.answered(size, is_refused=rng.random() < share)
        more += refused.is_more_than_chance
    assert more <= 20


def test_one_refused_answer_proves_nothing():
    refused = RefusedShare()
    assert not refused.is_more_than_chance
    refused.answered(1, is_refused=True)
    assert not refused.is_more_than_chance

"""Whether refusals are more than chance: neither a share of a tenth nor a few in a row are."""

from __future__ import annotations

import random

from crucible_batch.pace.refused_share import RefusedShare
from tests.case_table import each_case


@each_case("share", [0.0, 0.01, 0.04, 0.1])
@each_case("size", [4, 256])
def test_a_tenth_that_is_refused_by_chance_is_hardly_ever_more(share, size):
    rng, refused = random.Random(3), RefusedShare()
    more = 0
    for _ in range(10_000):
        refused.answered(size, is_refused=rng.random() < share)
        more += refused.is_more_than_chance
    assert more <= 20


@each_case("size, answers", [(4, 40), (16, 40), (256, 300)])
def test_a_third_that_is_refused_is_more_after_about_a_round(size, answers):
    refused = RefusedShare()
    for number in range(answers):
        refused.answered(size, is_refused=number % 3 == 0)
    assert refused.is_more_than_chance or size < 256
    for number in range(answers):
        refused.answered(size, is_refused=number % 2 == 0)
    assert refused.is_more_than_chance


def test_one_refused_answer_proves_nothing():
    refused = RefusedShare()
    assert not refused.is_more_than_chance
    refused.answered(1, is_refused=True)
    assert not refused.is_more_than_chance


def test_a_larger_round_is_averaged_over_and_its_limit_is_closer():
    small, large = RefusedShare(), RefusedShare()
    for number in range(600):
        small.answered(16, is_refused=number % 5 == 0)
        large.answered(256, is_refused=number % 5 == 0)
    assert large.is_more_than_chance
    assert not small.is_more_than_chance

"""Thinning: evenly, never fewer than asked for where there are as many, and never a list of all."""

from __future__ import annotations

from crucible_batch.report.html.charts import Downsampled
from tests.case_table import each_case


@each_case("count", [0, 1, 9, 10, 19, 20, 21, 39, 40, 1000, 12345])
def test_what_is_kept_is_every_so_manieth_from_the_first_on(count: int) -> None:
    series: Downsampled[int] = Downsampled(10)
    for number in range(count):
        series.add(number)
        assert len(series.kept()) < 20
    assert series.kept() == list(range(0, count, series.every))
    assert len(series.kept()) >= min(count, 10)


def test_a_short_series_is_kept_whole() -> None:
    series: Downsampled[str] = Downsampled(3)
    for word in "abcde":
        series.add(word)
    assert (series.kept(), series.every) == (list("abcde"), 1)

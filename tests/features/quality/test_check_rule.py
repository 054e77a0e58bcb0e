"""What is checked, and what follows from it: the table of ``rule.py``."""

from __future__ import annotations

from typing import Any

from crucible_batch.features.quality.manifest_keys import Checks
from crucible_batch.features.quality.rule import (
    CheckResult,
    Judgement,
    Mark,
    Totals,
    checks_in,
    marks_of,
    size_finding,
    to_make,
)
from tests.harness.case_table import each_case

ALL = {
    "blank": "reject",
    "duplicate": "flag",
    "size": {"min": [768, 512]},
    "command": ["./judge"],
}


def checks(**keys: Any) -> Any:
    return checks_in(Checks.model_validate(keys))


def known(*found: tuple[Any, bool | None]) -> Judgement:
    judgement = Judgement()
    for check, passes in found:
        judgement = judgement.having(CheckResult(check.name, check.definition, passes, "why"))
    return judgement


def names(found: Any) -> list[str]:
    return [each.name for each in found]


def test_the_cheapest_checks_come_first() -> None:
    assert names(checks(**ALL)) == ["size", "blank", "duplicate", "command"]
    assert checks() == ()


@each_case("then", ["flag", "reject", "fail"])
@each_case("passes", [True, False, None])
def test_what_follows_from_a_finding(then: str, passes: bool | None) -> None:
    (blank,) = checks(blank=then)
    marks = marks_of([blank], known((blank, passes)))
    verdict = then if passes is False else "unchecked"
    assert marks == (() if passes else (Mark("blank", verdict, "why"),))


def test_a_check_that_was_not_made_leaves_no_mark() -> None:
    assert marks_of(checks(**ALL), Judgement()) == ()


def test_a_check_is_made_once_unless_it_could_not_be_made() -> None:
    (blank,) = checks(blank="flag")
    assert names(to_make([blank], Judgement())) == ["blank"]
    for passes, left in ((True, []), (False, []), (None, ["blank"])):
        assert names(to_make([blank], known((blank, passes)))) == left


def test_another_definition_is_another_check() -> None:
    (small,), (large,) = checks(size={"min": [9, 9]}), checks(size={"min": [99, 99]})
    assert names(to_make([large], known((small, True)))) == ["size"]
    assert marks_of([large], known((small, False))) == ()
    (one,), (other,) = checks(command=["./judge"]), checks(command=["./judge", "--strict"])
    assert names(to_make([other], known((one, True)))) == ["command"]


def test_another_action_is_the_same_check() -> None:
    (flag,), (fail,) = checks(blank="flag"), checks(blank="fail")
    assert list(to_make([fail], known((flag, False)))) == []
    assert marks_of([fail], known((flag, False))) == (Mark("blank", "fail", "why"),)


@each_case("then, asked", [("flag", True), ("reject", False), ("fail", False)])
def test_the_program_is_not_asked_about_what_is_out_already(then: str, asked: bool) -> None:
    blank, command = checks(blank=then, command=["./judge"])
    left = names(to_make([blank, command], known((blank, False))))
    assert ("command" in left) is asked


@each_case("size, passes", [((768, 512), True), ((767, 512), False), ((768, 511), False)])
def test_a_size_is_too_small_if_either_edge_is(size: tuple[int, int], passes: bool) -> None:
    (check,) = checks(size={"min": [768, 512]})
    finding = size_finding(check, *size)
    assert finding.passes is passes
    assert bool(finding.reason) is not passes


def test_outputs_are_counted_once_for_each_verdict() -> None:
    totals = Totals()
    totals.add([])
    totals.add([Mark("blank", "flag", ""), Mark("size", "flag", ""), Mark("command", "fail", "")])
    totals.add([Mark("command", "unchecked", "")])
    assert totals == Totals(2, 1, 0, 1, 1, {"blank": 1, "size": 1, "command": 1})

"""What ``plan`` says: as a diff against the directory's last plan, with honest figures, in words
and in JSON.
"""

import io
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from crucible_batch.cli.plan import next_after_plan, once_there_is_a_key
from crucible_batch.cli.render.plan import cap_words, cost_words, show_plan
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.plan_diff import ChangeKind, contrast
from crucible_batch.core.prices import Certainty
from crucible_batch.core.retry_rule import Remedy
from crucible_batch.runs.plan_comparison import Comparison
from crucible_batch.runs.plan_rows import PriceLine
from crucible_batch.runs.plan_summary import PlanSummary
from tests.harness.case_table import each_case
from tests.harness.commands import Cli, Done, check_stream
from tests.harness.replacing import replace

FIRST = """
- {name: fox, prompt: a fox, repeat: 3}
- {name: bad, prompt: nsfw}
- {name: old, prompt: a barn}
- {name: edit, prompt: on marble, params: {sampler.seed: 1}}
""".strip()
SECOND = """
- {name: fox, prompt: a fox, repeat: 3}
- {name: bad, prompt: nsfw}
- {name: edit, prompt: on marble, params: {sampler.seed: 2}}
- {name: sheep, prompt: a sheep, repeat: 20}
""".strip()


def changed(cli: Cli, name: str) -> None:
    """Run one manifest, then write another of the same name, with an output missing."""
    cli.write(name, FIRST, budget="{credits: 100, max_credits_per_job: 4}")
    assert cli("run", f"{name}.yaml", "-q").code == 1
    (cli.cwd / f"outputs/{name}/default/fox-2/0.png").unlink()
    cli.write(name, SECOND, budget="{credits: 40, max_credits_per_job: 4}")


def rows(done: Done) -> list[str]:
    assert done.code == 0, done.err
    return [
        " ".join(line.split())
        for line in done.out.splitlines()
        if line[:2] == "  " and line[2] in "+~>!=-"
    ]


def test_a_plan_reads_like_a_diff(cli: Cli) -> None:
    changed(cli, "differs")
    done = cli("plan", "differs.yaml")
    assert rows(done) == [
        "+ 20 new zimage-base: sheep-1, sheep-2, sheep-3 and 17 more",
        "~ edit sampler.seed: 1 → 2 (the old one cost 2)",
        "> fox-2 output missing: fox-2/0.png is downloaded again at no cost",
        "! bad failed with MODERATION_REFUSED; only --retry-failed buys another attempt",
        "= 2 already done zimage-base: fox-1, fox-3 (4 paid)",
        "- old no longer in the manifest; it cost 2, and its files are kept",
    ]
    assert (
        "25 jobs: 20 new, 1 changed, 1 to collect, 1 failed, 2 already done; "
        "1 no longer in the manifest"
    ) in done.out
    assert re.search(r"zimage-base +21 +2 +42 to 84 +highest seen +4", done.out)
    assert "42 to 84" in done.out
    assert "falls short by 12 or more" in done.out


def test_verbose_says_of_each_job_why(cli: Cli) -> None:
    changed(cli, "why")
    done = cli("plan", "why.yaml", "--only", "fox-*", "--only", "bad", "--retry-failed", "-v")
    assert rows(done) == [
        "= fox-1 done for 2; there is nothing to do",
        "> fox-2 output missing: fox-2/0.png is downloaded again at no cost",
        "= fox-3 done for 2; there is nothing to do",
        "+ bad failed with MODERATION_REFUSED; another attempt is bought",
    ]


def test_json_has_the_counts_and_with_v_the_rows(cli: Cli) -> None:
    changed(cli, "counted")
    data = check_stream(cli("plan", "counted.yaml", "--json"), "plan")["data"]
    assert data["diff"] == {
        "new": 20,
        "changed": 1,
        "collected": 1,
        "failed": 1,
        "done": 2,
        "gone": 1,
    }
    assert (data["credits"]["at_least"], data["credits"]["at_most"]) == ("42", "84")
    assert "jobs" not in data
    found = check_stream(cli("plan", "counted.yaml", "--json", "-v"), "plan")["data"]["jobs"]
    assert len(found) == 26
    by_name = {row["name"]: row for row in found}
    assert by_name["edit"]["changes"] == [{"field": "sampler.seed", "before": 1, "after": 2}]
    assert (by_name["fox-2"]["why"], by_name["fox-2"]["missing"]) == (
        "missing_output",
        ["fox-2/0.png"],
    )
    assert (by_name["old"]["mark"], by_name["old"]["paid"]) == ("gone", "2")


def test_many_changed_jobs_are_one_line_with_what_changed(cli: Cli) -> None:
    cli.write("mass", "- {name: fox, prompt: a fox, repeat: 20}")
    assert cli("run", "mass.yaml", "-q").code == 0
    cli.write("mass", "- {name: fox, prompt: a vixen, repeat: 20}")
    assert rows(cli("plan", "mass.yaml")) == [
        "~ 20 changed zimage-base: fox-1, fox-2, fox-3 and 17 more prompt.text (40 paid)"
    ]


def test_an_output_of_another_size_is_listed_as_changed(cli: Cli) -> None:
    cli.write("resized", "- {name: fox, prompt: a fox, repeat: 2}")
    assert cli("run", "resized.yaml", "-q").code == 0
    with (cli.cwd / "outputs/resized/default/fox-2/0.png").open("ab") as file:
        file.write(b"x")
    line = "output changed: fox-2/0.png is downloaded again at no cost; the changed file is kept"
    assert f"> fox-2 {line}" in rows(cli("plan", "resized.yaml"))
    found = check_stream(cli("plan", "resized.yaml", "--json", "-v"), "plan")["data"]["jobs"][1]
    assert (found["why"], found["missing"], found["resized"]) == (
        "changed_output",
        [],
        ["fox-2/0.png"],
    )
    done = cli("run", "resized.yaml")
    assert done.code == 0
    assert "fox-2/0.png was changed after it was saved" in done.err


def test_a_plan_fits_forty_columns(cli: Cli) -> None:
    cli.write("narrow", FIRST, budget="{credits: 100, max_credits_per_job: 4}")
    table = [
        line
        for line in cli("plan", "narrow.yaml", COLUMNS="40").out.splitlines()
        if "at most" in line
    ]
    assert len(table) == 1
    assert "at most 24" in table[0]
    assert len(table[0]) <= 40


def line(
    certainty: Certainty, each: str | None, count: int = 1, ceiling: str | None = None
) -> PriceLine:
    return PriceLine(
        "w",
        count,
        certainty,
        each and Decimal(each),  # type: ignore[arg-type]
        ceiling and Decimal(ceiling),  # type: ignore[arg-type]
    )


@each_case(
    "lines, words",
    [
        ([], "0"),
        ([line(Certainty.LEARNED, "2", 3)], "at least 6"),
        ([line(Certainty.LEARNED, "2", 3, "4")], "6 to 12"),
        ([line(Certainty.LEARNED, "5", 3, "4")], "15"),
        ([line(Certainty.BOUNDED, "4", 3, "4")], "at most 12"),
        ([line(Certainty.UNKNOWN, None, 3)], "not known yet"),
        ([line(Certainty.LEARNED, "2"), line(Certainty.BOUNDED, "4", 1, "4")], "at least 2"),
        ([line(Certainty.LEARNED, "2", 1, "4"), line(Certainty.BOUNDED, "4", 1, "4")], "2 to 8"),
        ([line(Certainty.LEARNED, "2"), line(Certainty.UNKNOWN, None)], "at least 2 + w"),
    ],
)
def test_a_sum_of_bounds_says_which_bounds_it_has(lines: list[PriceLine], words: str) -> None:
    assert cost_words(lines) == words


@given(before=st.text(max_size=200), after=st.text(max_size=200))
def test_two_long_texts_are_shown_from_where_they_differ(before: str, after: str) -> None:
    shown = contrast(before, after)
    assert (shown[0] == shown[1]) is (before == after)
    for text, whole in zip(shown, (before, after), strict=True):
        assert text == whole or (text.startswith("…") and whole.endswith(text[1:]))


def summary(budget: int | None, *lines: PriceLine) -> PlanSummary:
    return PlanSummary(
        manifest_name="m",
        run_id="default",
        run_dir=Path("out"),
        total=3,
        states={"new": 3},
        lines=lines,
        to_upload=0,
        reused_images=0,
        budget=None if budget is None else Decimal(budget),
        spent=Decimal(2),
        held=Decimal(0),
        balance=None,
        comparison=Comparison({ChangeKind.NEW: 3}),
    )


@each_case("budget, beyond", [(97, 30), (98, 0), (1, 30), (None, 0)])
def test_a_budget_with_room_for_all_at_their_bounds_is_not_said_to_be_exceeded(
    budget: int | None, beyond: int
) -> None:
    """Three at 2, held at 32 each until they are answered, and 2 are spent: with 98 none has to go
    alone.
    """
    price = PriceLine("w", 3, Certainty.LEARNED, Decimal(2), None, Decimal(32))
    assert summary(budget, price).may_exceed == beyond
    words = (
        f"may be exceeded by up to {beyond}"
        if beyond
        else "can't be exceeded at prices up to 16 times the highest"
    )
    assert budget is None or words in str(cap_words(summary(budget, price)))


def test_a_plan_says_whether_a_job_or_an_upload_may_exceed_the_budget() -> None:
    job = PriceLine("w", 1, Certainty.BOUNDED, Decimal(4), Decimal(4), Decimal(4))
    upload, unknown = (
        PriceLine("uploads", 1, Certainty.UNKNOWN, None),
        PriceLine("w", 1, Certainty.UNKNOWN, None),
    )
    assert "by an upload whose price is unknown" in str(cap_words(summary(50, job, upload)))
    assert "by a job whose price is unknown" in str(cap_words(summary(50, unknown, upload)))


def test_a_plan_of_which_nothing_can_be_bought_reports_it_and_not_what_it_might_exceed(
    cli: Cli,
) -> None:
    cli.write("narrowed", "- {name: fox, prompt: a fox}\n- {name: owl, prompt: an owl}")
    assert cli("run", "narrowed.yaml", "-q", "--budget", "4").code == 0
    cli.write("narrowed", "- {name: fox, prompt: a fox}\n- {name: elk, prompt: an elk}")
    done = cli("plan", "narrowed.yaml", "--budget", "3", COLUMNS="200")
    assert "no job can start: 4 of 3 credits used; the next job needs 2" in done.out
    assert "hint      raise the budget and run the same command again" in done.out
    assert "exceeded" not in done.out
    assert "afterwards" not in done.out
    assert "falls short" not in done.out
    credits = check_stream(cli("plan", "narrowed.yaml", "--budget", "3", "--json"), "plan")["data"][
        "credits"
    ]
    assert credits["may_exceed_budget_by"] == "0"


def printed(plan: PlanSummary) -> str:
    stream = io.StringIO()
    show_plan(Console(file=stream, width=300), plan)
    return stream.getvalue()


BOUNDED = PriceLine("w", 120, Certainty.BOUNDED, Decimal(4), Decimal(4), Decimal(4))
UNPRICED = PriceLine("uploads", 9, Certainty.UNKNOWN, None)


def test_known_prices_above_the_budget_are_reported_although_another_is_unknown() -> None:
    fresh = replace(summary(100, BOUNDED, UNPRICED), spent=Decimal(0))
    assert (
        "; the known prices alone are at most 480, 380 more than the budget: the run stops there"
        in printed(fresh)
    )
    begun = printed(summary(100, BOUNDED, UNPRICED))
    assert "; the known prices alone are at most 480, 382 more than is left" in begun
    assert "known prices alone" not in printed(summary(482, BOUNDED, UNPRICED))
    assert "known prices alone" not in printed(summary(100, UNPRICED))
    assert "may fall short by up to 382" in printed(summary(100, BOUNDED))


@each_case(
    "budget, balance, words",
    [
        (None, 50, "50 credits; it may be too little by up to 430"),
        (102, 50, "50 credits; it may be too little by up to 50"),  # 2 of the budget are spent
        (52, 50, "50 credits → at most 50 afterwards"),
        (1000, 50, "50 credits; it may be too little by up to 430"),
    ],
)
def test_the_account_is_compared_with_what_the_budget_lets_the_run_spend(
    budget: int | None, balance: int, words: str
) -> None:
    plan = replace(summary(budget, BOUNDED), balance=Decimal(balance))
    assert words in printed(plan)


@each_case(
    "budget, words",
    [
        (None, "50 credits; it is too little by 430 or more"),
        (102, "50 credits; it may be too little by up to 50"),
        (42, "50 credits"),
        (1000, "50 credits; it is too little by 430 or more"),
    ],
)
def test_an_account_that_has_all_that_the_budget_allows_is_not_warned_of(
    budget: int | None, words: str
) -> None:
    seen = PriceLine("w", 120, Certainty.LEARNED, Decimal(4))
    plan = replace(summary(budget, seen), balance=Decimal(50))
    line = next(line for line in printed(plan).splitlines() if "account" in line)
    assert line.split(maxsplit=1)[1].strip() == words


def test_a_budget_below_what_was_spent_is_not_too_small_for_nothing() -> None:
    done = replace(summary(100), lines=(), spent=Decimal(604))
    line = next(line for line in printed(done).splitlines() if "budget" in line)
    assert line.split(maxsplit=1)[1].strip() == "100 credits; 604 spent or held by earlier runs"


RUN, PLAN = "crucible-batch run m.yaml", "crucible-batch plan m.yaml"
ACCESS = "ask the gateway's operator for access"
TOO_SMALL = ErrorInfo("BUDGET_EXHAUSTED", "too small")
THREE_AT_2 = PriceLine("w", 3, Certainty.LEARNED, Decimal(2))


@each_case(
    "changes, step",
    [
        ({"enough": Decimal(12)}, f"{RUN} --budget 12"),
        ({}, "set a budget: --budget N, or budget.credits in the manifest"),
        ({"budget": Decimal(5)}, RUN),
        ({"budget": Decimal(7), "enough": Decimal(8), "lines": (THREE_AT_2,)}, f"{RUN} --budget 8"),
        ({"budget": Decimal(8), "enough": Decimal(9), "lines": (THREE_AT_2,)}, RUN),
        ({"budget": Decimal(7), "lines": (THREE_AT_2,)}, RUN),
        ({"blocked": TOO_SMALL, "budget": Decimal(5)}, None),
        ({"blocked": TOO_SMALL, "budget": Decimal(5), "enough": Decimal(9)}, f"{RUN} --budget 9"),
        (
            {"blocked": TOO_SMALL, "budget": Decimal(5), "enough": Decimal(9), "digest": "0"},
            f"{PLAN} --budget 9",
        ),
        ({"blocked": TOO_SMALL, "budget": Decimal(9), "enough": Decimal(9)}, None),
    ],
)
def test_the_command_after_a_plan_works_as_it_is(changes: dict[str, Any], step: str | None) -> None:
    assert next_after_plan(replace(summary(None), **changes), None, RUN, plan_again=PLAN) == step


DONE = Comparison({ChangeKind.DONE: 3, ChangeKind.COLLECTED: 0})
FAILED = Comparison({ChangeKind.DONE: 1, ChangeKind.FAILED: 2})
REMAKE = "crucible-batch plan m.yaml --budget 4 -o plan.json"
RESUBMIT = (
    "--resubmit-unknown   # buys again what a lost run directory bought; "
    "with a copy of it, that is free"
)


@each_case(
    "changes, save_to, step",
    [
        ({"comparison": DONE}, None, "nothing to run: every job is done"),
        ({"comparison": DONE}, "plan.json", "nothing to run: every job is done"),
        ({"comparison": DONE, "held": Decimal(2)}, None, RUN),  # an answer is outstanding
        (
            {"comparison": Comparison({ChangeKind.DONE: 2, ChangeKind.GONE: 1})},
            None,
            RUN,
        ),  # the report changes
        ({"comparison": Comparison({ChangeKind.FAILED: 2, ChangeKind.COLLECTED: 1})}, None, RUN),
        ({"comparison": FAILED, "remedy": Remedy.RETRY}, None, f"{RUN} --retry-failed"),
        ({"comparison": FAILED, "remedy": Remedy.RETRY}, "plan.json", f"{PLAN} --retry-failed"),
        (
            {"comparison": FAILED, "remedy": Remedy.RETRY, "budget": None},
            None,
            f"{PLAN} --retry-failed",
        ),
        (
            {"comparison": FAILED, "remedy": Remedy.RETRY, "digest": "0", "remake": REMAKE},
            None,
            f"{REMAKE} --retry-failed",
        ),
        (
            {"comparison": FAILED, "remedy": Remedy.CHANGE},
            None,
            f"change the failed jobs, then: {RUN}",
        ),
        (
            {"comparison": FAILED, "remedy": Remedy.GET_ACCESS},
            None,
            f"{ACCESS}, then: {RUN} --retry-failed",
        ),
        ({"comparison": FAILED}, None, None),  # unreadable jobs
        (
            {"comparison": FAILED, "remedy": Remedy.BUY_AGAIN},
            None,
            f"{RUN} --retry-failed {RESUBMIT}",
        ),
        (
            {"comparison": FAILED, "remedy": Remedy.BUY_AGAIN, "budget": None},
            None,
            f"{RUN} --retry-failed {RESUBMIT}",
        ),
        ({"comparison": FAILED, "remedy": Remedy.BUY_AGAIN}, "plan.json", f"{PLAN} --retry-failed"),
    ],
)
def test_a_plan_that_would_change_nothing_does_not_propose_a_plain_run(
    changes: dict[str, Any], save_to: str | None, step: str | None
) -> None:
    plan = replace(summary(4), **changes)
    saved_to = save_to and Path(save_to)
    assert next_after_plan(plan, saved_to, RUN, plan_again=PLAN) == step  # type: ignore[arg-type]


def test_without_a_key_a_finished_job_is_done_and_no_other_one_to_buy(cli: Cli) -> None:
    """Its workflow lists ``prompt.value``, which is not known without a key; the run directory has
    it."""
    Image.new("RGB", (8, 8)).save(cli.cwd / "keyless.png")
    job = "- {name: edit-{}, workflow: qwen-edit, prompt: number {}, image: keyless.png}"
    name = cli.write("keyless", job.replace("{}", "1"))
    assert cli("run", name, "-q").code == 0
    done = cli("plan", name, "--json", MOLTAZINE_API_KEY="").envelope["data"]
    assert (done["states"]["done"], done["prices"], done["credits"]["estimate"]) == (1, [], "0")
    cli.write("keyless", "\n".join(job.replace("{}", str(number)) for number in (1, 2)))
    more = cli("plan", name, "--json", MOLTAZINE_API_KEY="").envelope["data"]
    assert (more["states"]["done"], more["states"]["new"]) == (1, 1)
    assert "no API key" in " ".join(more["notes"])


@pytest.mark.parametrize(
    ("step", "env_file", "shown"),
    [
        (RUN, None, f"set MOLTAZINE_API_KEY in the environment or in .env, then: {RUN}"),
        (RUN, Path("a b.env"), f"set MOLTAZINE_API_KEY in 'a b.env', then: {RUN}"),
        (
            f"change the failed jobs, then: {RUN}",
            Path("k"),
            f"change the failed jobs and set MOLTAZINE_API_KEY in k, then: {RUN}",
        ),
        (PLAN, None, PLAN),
        ("nothing to run: every job is done", None, "nothing to run: every job is done"),
    ],
)
def test_without_a_key_it_is_set_before_the_command_that_needs_it(
    step: str, env_file: Path | None, shown: str
) -> None:
    assert once_there_is_a_key(step, env_file) == shown


@pytest.mark.parametrize("command", [("plan",), ("run", "--dry-run")])
def test_a_plan_without_a_key_names_it_before_run(
    lonely_cli: Cli, command: tuple[str, ...]
) -> None:
    name = lonely_cli.write("keyless")
    done = lonely_cli(*command, name)
    (line,) = [line for line in done.out.splitlines() if line.startswith("  next ")]
    assert line.endswith(
        "set MOLTAZINE_API_KEY in the environment or in .env, then: crucible-batch run keyless.yaml"
    )
    assert lonely_cli("run", name).code == 3


def test_a_plan_of_failed_jobs_that_only_an_option_of_run_buys_again_names_it() -> None:
    plan = replace(summary(4), comparison=FAILED, remedy=Remedy.BUY_AGAIN)
    run, made = f"{RUN} --retry-failed", f"{PLAN} --retry-failed"
    assert next_after_plan(plan, None, run, plan_again=made) == f"{run} {RESUBMIT}"
    assert (
        next_after_plan(plan, Path("p.json"), run, plan_again=made)
        == f"crucible-batch run p.json {RESUBMIT}"
    )


def test_the_command_after_a_plan_that_can_start_nothing_finishes_the_run(cli: Cli) -> None:
    cli.write("stuck", budget="{credits: 2, max_credits_per_job: 2}")
    assert cli("run", "stuck.yaml", "-q").code == 0
    cli.write(
        "stuck", "- {name: more, prompt: two foxes}", budget="{credits: 2, max_credits_per_job: 2}"
    )
    done = cli("plan", "stuck.yaml")
    assert "no job can start" in done.out
    command = done.out.split("next")[-1].split()
    assert command == ["crucible-batch", "run", "stuck.yaml", "--budget", "4"]
    assert cli(*command[1:], "-q").code == 0

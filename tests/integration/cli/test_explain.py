"""What an error code means, by the command."""

from .conftest import Cli
from .test_json import check_stream


def test_a_code_is_explained_with_its_exit_code_and_what_to_do(lonely_cli: Cli) -> None:
    done = lonely_cli("explain", "no-answer")
    assert done.code == 0
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert lines[0].startswith("NO_ANSWER")
    assert lines[1].startswith("means The gateway could not be reached")
    assert lines[2].startswith("exit 5: the gateway was unusable")
    assert lines[3].startswith("to do Check the network")


def test_all_codes_are_listed_and_are_data(lonely_cli: Cli) -> None:
    assert "BUDGET_EXHAUSTED " in lonely_cli("explain").out
    codes = check_stream(lonely_cli("explain", "--json"), "explain")["data"]["codes"]
    (busy,) = [code for code in codes if code["code"] == "RUN_BUSY"]
    assert busy["exit_codes"] == [6]
    assert busy.keys() == {"code", "topic", "exit_codes", "meaning", "what_to_do"}


def test_a_slip_is_told_the_nearest_code_and_another_that_it_is_not_ours(lonely_cli: Cli) -> None:
    done = lonely_cli("explain", "NO_ANSWR", "--json")
    assert done.code == 2
    assert check_stream(done, "explain")["error"]["hint"] == "did you mean NO_ANSWER?"
    assert "one that the gateway sent is its own" in lonely_cli("explain", "XYZZY").err


def test_an_error_says_how_to_hear_more_of_its_code(lonely_cli: Cli) -> None:
    done = lonely_cli("status", "nowhere")
    assert done.err.splitlines()[-1] == "more  crucible-batch explain RUN_DIRECTORY"
    assert lonely_cli("explain", "RUN_DIRECTORY").code == 0

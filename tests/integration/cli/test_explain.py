"""What an error code means, by the command."""

from tests.harness.commands import Cli, check_stream


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


def test_a_code_of_the_gateway_that_a_run_printed_is_explained(cli: Cli) -> None:
    cli.write("refused", "- {name: fox, prompt: a fox, params: {size.width: -1}}")
    done = cli("run", "refused.yaml")
    assert "INVALID_PARAMS" in done.out
    explained = cli("explain", "INVALID_PARAMS")
    assert explained.code == 0
    assert "crucible-batch workflows ID" in " ".join(explained.out.split())


def test_a_misspelt_code_gets_the_nearest_and_an_unknown_one_where_to_look(lonely_cli: Cli) -> None:
    done = lonely_cli("explain", "NO_ANSWR", "--json")
    assert done.code == 2
    assert check_stream(done, "explain")["error"]["hint"] == "did you mean NO_ANSWER?"
    unknown = lonely_cli("explain", "XYZZY")
    assert unknown.code == 2
    assert "'XYZZY' is not in the table of error codes" in unknown.err
    assert "the gateway may send codes that are not in it" in " ".join(unknown.err.split())
    assert "report.json (jobs[].error)" in unknown.err


def test_an_error_says_how_to_hear_more_of_its_code(lonely_cli: Cli) -> None:
    done = lonely_cli("status", "nowhere")
    assert done.err.splitlines()[-1] == "more  crucible-batch explain RUN_DIRECTORY"
    assert lonely_cli("explain", "RUN_DIRECTORY").code == 0

"""Tests of grove_dp/cli/main.py: how a command is found and how it ends."""

import subprocess
import sys
import types

import pytest

from grove_dp.cli import main as cli
from grove_dp.errors import ConfigurationError, GroveError, NoReadyWorker


def command(monkeypatch: pytest.MonkeyPatch, run) -> None:
    """Make `grove-dp version` do *run*."""

    def add_parser(subparsers):
        subparsers.add_parser("version").add_argument("--json", action="store_true")

    module = types.SimpleNamespace(add_parser=add_parser, run=run)
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: module)


def raises(error: BaseException):
    def run(args):
        raise error

    return run


def grove_dp(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "grove_dp", *words], capture_output=True, text=True, check=False
    )


def test_the_exit_code_is_what_run_returns(monkeypatch):
    command(monkeypatch, lambda args: 7)
    assert cli.main(["version"]) == 7


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (NoReadyWorker("no worker answers; start one"), 1, "no worker answers; start one [NoReadyWorker]"),
        (GroveError("broken"), 1, "broken [InternalError]"),
        (ConfigurationError("http.port: wrong"), 2, "http.port: wrong [InvalidConfiguration]"),
    ],
)
def test_expected_trouble_is_one_line_and_a_code(monkeypatch, capsys, error, code, told):
    command(monkeypatch, raises(error))
    assert cli.main(["version"]) == code
    assert capsys.readouterr().err == f"grove-dp: error: {told}\n"


def test_each_of_several_messages_is_a_line(monkeypatch, capsys):
    command(monkeypatch, raises(ConfigurationError(["a: wrong", "b: wrong"])))
    assert cli.main(["version"]) == 2
    assert capsys.readouterr().err == (
        "grove-dp: error: a: wrong\ngrove-dp: error: b: wrong [InvalidConfiguration]\n"
    )


def test_interrupt_is_130_without_a_word(monkeypatch, capsys):
    command(monkeypatch, raises(KeyboardInterrupt()))
    assert cli.main(["version"]) == 130
    assert capsys.readouterr().err == ""


def test_a_bug_keeps_its_traceback(monkeypatch):
    command(monkeypatch, raises(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["version"])


def test_a_reader_that_goes_away_is_no_noise():
    code = "head -c 1 >/dev/null < /dev/null"
    pipe = f"{sys.executable} -m grove_dp config schema | {{ {code}; }}; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout in ("1\n", "0\n")


def test_without_a_command_help_is_shown_and_the_code_is_2():
    done = grove_dp()
    assert done.returncode == 2
    for name in cli.COMMANDS:
        assert name in done.stdout


def test_help_names_every_command():
    done = grove_dp("--help")
    assert done.returncode == 0
    for name, summary in cli.COMMANDS.items():
        assert name in done.stdout
        assert summary in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["bogus"], "invalid choice: 'bogus'"),
        (["config", "show", "--prot", "1"], "unknown argument --prot; did you mean --port?"),
        (["config", "show", "--http.prot=1"], "did you mean --http.port?"),
        (["config"], "the following arguments are required: ACTION"),
        (["version", "more"], "unknown argument more"),
        (["config", "show", "--port", "x"], "--port: http.port: must be an integer, got 'x'"),
    ],
)
def test_wrong_usage_is_2_with_the_nearest_word(words, told):
    done = grove_dp(*words)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr

"""Exit codes, and what a user sees of a mistake."""

import pytest
import typer

from configs.command_line import run_app

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def every_command(debug: bool = False) -> None:
    """Every command."""


@app.command()
def end(how: str) -> None:
    """End as told."""
    if how == "code":
        raise typer.Exit(3)
    if how != "well":
        raise {"value": ValueError, "file": FileNotFoundError, "ours": AssertionError}[how](f"the {how}")


def test_exit_codes(capsys):
    assert [run_app(app, ["end", how]) for how in ("well", "code", "value", "file")] == [0, 3, 2, 2]
    assert capsys.readouterr().err == "error: the value\nerror: the file\n"
    assert run_app(app, ["end"]) == 2 and run_app(app, ["--help"]) == 0


def test_our_mistakes_and_debugging_keep_their_traceback():
    with pytest.raises(AssertionError):
        run_app(app, ["end", "ours"])
    with pytest.raises(ValueError, match="the value"):
        run_app(app, ["--debug", "end", "value"])


def test_arguments_are_the_process_ones_where_none_are_given(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["program", "end", "value"])
    assert run_app(app) == 2 and "the value" in capsys.readouterr().err

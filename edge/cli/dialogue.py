"""Questions on a terminal: every answer is printable text of a bounded length."""

from __future__ import annotations

import sys

import typer

from edge.printable import escape_controls

MAX_LETTERS = 2048
NOT_UTF8 = "it is not UTF-8: give it in UTF-8"


def find_fault(text: str) -> str:
    """What makes a text unfit for a configuration, with the remedy; empty if nothing does."""
    if len(text) > MAX_LETTERS:
        return f"it has {len(text)} letters: give at most {MAX_LETTERS}"
    if any("\ud800" <= letter <= "\udfff" for letter in text):  # of bytes that are not UTF-8
        return NOT_UTF8
    return "" if text.isprintable() else "it contains control characters: leave them out"


def say(text: str) -> None:
    """Print a line; what others wrote in it is shown, not obeyed by the terminal."""
    typer.echo(escape_controls(text, keep="\n"))


def is_terminal() -> bool:
    """Whether questions can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


def ask(question: str, default: str = "") -> str:
    """An answer, or the default for an empty one.

    Raises:
        typer.Abort: Ctrl-C, or the end of the input.
    """
    return _ask(question, default, hidden=False).strip()


def ask_secret(question: str) -> str:
    """An answer that is not shown; it may be empty.

    Raises:
        typer.Abort: Ctrl-C, or the end of the input.
    """
    return _ask(question, "", hidden=True)


def ask_choice(question: str, choices: tuple[str, ...]) -> str:
    """One of several words, which may be abbreviated; the first one for an empty answer.

    Raises:
        typer.Abort: Ctrl-C, or the end of the input.
    """
    while True:
        answer = ask(f"{question} ({'/'.join(choices)})", choices[0]).lower()
        fitting = [choice for choice in choices if choice.startswith(answer)]
        if len(fitting) == 1:
            return fitting[0]
        say(f"answer with {', '.join(choices[:-1])} or {choices[-1]}")


def _ask(question: str, default: str, *, hidden: bool) -> str:
    while True:
        try:
            answer = typer.prompt(
                question, default=default, show_default=bool(default), hide_input=hidden
            )
        except UnicodeDecodeError:
            fault = NOT_UTF8
        else:
            if not (fault := find_fault(answer)):
                return str(answer)
        say(f"this cannot be used: {fault}")

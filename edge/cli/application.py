"""Applications: an expected error becomes one message and its exit code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from edge.errors import EdgeError
from edge.printable import escape_controls


class Group(TyperGroup):
    """Commands whose `EdgeError` is printed without a traceback."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # noqa: ANN401
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except EdgeError as error:
            message = escape_controls(str(error), keep="\n")
            typer.echo(f"{ctx.info_name}: {message}", err=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt:
            raise typer.Exit(0) from None


def application(description: str) -> typer.Typer:
    """Create an application of subcommands."""
    return typer.Typer(
        cls=Group,
        help=description,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )


def deprecated_options(names: Mapping[str, str]) -> type[TyperCommand]:
    """A command class that still accepts old names of options, with a warning for each.

    Args:
        names: old name to new name, as in ``{"--hold": "--val-fraction"}``.
    """

    def rename(argument: str) -> str:
        old, equals, value = argument.partition("=")
        if old not in names:
            return argument
        typer.echo(f"warning: {old} is deprecated, use {names[old]}", err=True)
        return f"{names[old]}{equals}{value}"

    class Command(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - of Click
            return super().parse_args(ctx, [rename(argument) for argument in args])

    return Command

"""The group of commands: an expected error becomes one message and its exit code."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from edge.errors import EdgeError


class Group(TyperGroup):
    """Commands whose `EdgeError` is printed without a traceback."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # noqa: ANN401
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except EdgeError as error:
            typer.echo(f"{ctx.info_name}: {error}", err=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt:
            raise typer.Exit(0) from None


def application(description: str) -> typer.Typer:
    """An application of subcommands in our manner."""
    return typer.Typer(
        cls=Group,
        help=description,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

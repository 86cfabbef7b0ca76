"""Applications: an expected error becomes one message and its exit code."""

from __future__ import annotations

import copy
import errno
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_args

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from edge.cli.later import Later, LazyCommands
from edge.errors import EdgeError
from edge.interrupt import INTERRUPTED
from edge.printable import escape_controls

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
VALUES = {bool: "", int: "NUMBER", float: "NUMBER", str: "TEXT", Path: "PATH"}
Handler = TypeVar("Handler", bound=Callable[..., Any])


def _name_values(parameters: list[Any]) -> list[Any]:
    """Call the values of parameters in the help what a person would: `PATH`, not `list[Path]`."""
    for parameter in parameters:
        described = getattr(parameter, "type_descriptor", None)  # since Typer 0.29
        annotation = getattr(described, "annotation", None)
        inner = next(iter(get_args(annotation)), annotation)
        if inner in VALUES and not getattr(described, "is_choice", False):
            vars(parameter)["display_type"] = lambda _, name=VALUES[inner]: name
    return parameters


class Command(TyperCommand):
    """A command whose help reads as a person would write it."""

    def __init__(self, *arguments: Any, help: str | None = None, **options: Any) -> None:  # noqa: A002, ANN401
        paragraphs = inspect.cleandoc(help or "").split("\n\n")
        text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        super().__init__(*arguments, help=text, **options)

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - of Click
        """Arguments and options."""
        return _name_values(super().get_params(ctx))


class Group(TyperGroup):
    """Commands whose `EdgeError` and Ctrl-C end without a traceback.

    Attributes:
        later: Those that are imported when they are called; first in the list.
    """

    later: Mapping[str, Later] = MappingProxyType({})

    def __init__(self, *, commands: Mapping[str, Any], **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self._lazy = LazyCommands({**self.later, **commands}, _build_command)
        self.commands = self._lazy

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - of Click
        """Names of the commands."""
        return list(self.commands)

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - of Click
        """Write the help, for which nothing is imported."""
        listed = copy.copy(self)
        listed.commands = {
            name: Command(name, help=command.summary) if isinstance(command, Later) else command
            for name, command in self._lazy.data.items()
        }
        TyperGroup.format_help(listed, ctx, formatter)

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - of Click
        """Options."""
        return _name_values(super().get_params(ctx))

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # noqa: ANN401
        """Run the chosen command."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # what cannot be written is told below
        except EdgeError as error:
            message = escape_controls(str(error), keep="\n")
            typer.echo(f"{ctx.command_path}: {message}", err=True)
            raise typer.Exit(error.exit_code) from error
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")  # as Pydantic begins it
            raise
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except OSError as error:
            if error.errno not in DISK_ERRORS or error.filename:
                raise
            typer.echo(
                f"{ctx.command_path}: the output cannot be written: {error.strerror}", err=True
            )
            raise typer.Exit(EdgeError.exit_code) from error
        return result


class Application(typer.Typer):
    """Subcommands, each a `Command`."""

    def command(
        self,
        name: str | None = None,
        *,
        cls: type[TyperCommand] | None = None,
        **options: Any,  # noqa: ANN401 - of Typer
    ) -> Callable[[Handler], Handler]:
        """Add a command; a decorator."""
        return super().command(name, cls=cls or Command, **options)


def application(description: str, later: Mapping[str, Later] | None = None) -> Application:
    """Create an application of subcommands.

    Args:
        description: What they are for.
        later: Those that are imported when they are called, by name.
    """

    class Listed(Group):
        pass

    Listed.later = later or Group.later
    return Application(
        cls=Listed,
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

    class Renamed(Command):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - of Click
            return super().parse_args(ctx, [rename(argument) for argument in args])

    return Renamed


def _build_command(name: str, later: Later) -> Any:  # noqa: ANN401 - of Click
    alone = application("")
    target = later.load()
    if isinstance(target, typer.Typer):
        alone.add_typer(target, name=name)
    else:
        alone.command(name, cls=deprecated_options(later.renamed))(target)
    return get_group(alone).commands[name]

"""`edge users`: who may use the page, and which programs may ask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edge.cli.application import application
from edge.cli.table import make_table, to_cell
from edge.errors import ConfigError
from edge.input_file import read_input
from edge.web.schema import Role
from edge.web.users import MAX_PASSWORD, Users, read_users, write_users

app = application("Say who may use the page, and which programs may ask.")

FILE = Path("/etc/edge/users.toml")
MAX_PASSWORD_BYTES = 4 * MAX_PASSWORD + 2

UsersPath = Annotated[
    Path,
    typer.Option("--file", envvar="EDGE_USERS", help="Users file: http.users_file of the node."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits or any of . _ @ -")]
RoleOption = Annotated[
    Role,
    typer.Option(
        "--role",
        help="viewer sees pictures and events without names, enroller sees names and enrolls "
        "people, admin changes the configuration as well.",
    ),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file", help="File whose first line is the password; asked for if left out."
    ),
]


@app.command()
def add(
    name: Name,
    role: RoleOption = Role.VIEWER,
    password_file: PasswordFile = None,
    file: UsersPath = FILE,
) -> None:
    """Add somebody who may log in; the file is made where it is missing."""
    users = read_users(file) if file.exists() else Users()
    if name in users.users:
        raise ConfigError(f"there is a user {name!r} already: edge users password, or remove first")
    write_users(file, users.put_user(name, role, _get_password(password_file)))
    typer.echo(f"{name} may log in as {role}: set http.users_file to {file} if it is not")


@app.command("list")
def list_users(file: UsersPath = FILE) -> None:
    """List who may log in, and which programs may ask."""
    users = read_users(file)
    table = make_table("name", "kind", "role")
    rows = [(name, "user", user.role) for name, user in sorted(users.users.items())]
    rows += [(name, "token", token.role) for name, token in sorted(users.tokens.items())]
    for row in rows:
        table.add_row(*map(to_cell, row))
    Console().print(table)


@app.command()
def remove(name: Name, file: UsersPath = FILE) -> None:
    """Remove a user or a token; what they have open ends within seconds."""
    write_users(file, read_users(file).remove(name))
    typer.echo(f"removed {name}")


@app.command()
def password(name: Name, password_file: PasswordFile = None, file: UsersPath = FILE) -> None:
    """Give somebody another password, which ends their sessions."""
    users = read_users(file)
    if name not in users.users:
        raise ConfigError(f"there is no user {name!r}: edge users add", file=file)
    role = users.users[name].role
    write_users(file, users.put_user(name, role, _get_password(password_file)))
    typer.echo(f"{name} has a new password")


@app.command()
def token(name: Name, role: RoleOption = Role.VIEWER, file: UsersPath = FILE) -> None:
    """Print a bearer token for a program; it is shown once, and replaces an earlier one."""
    users, secret = (read_users(file) if file.exists() else Users()).put_token(name, role)
    write_users(file, users)
    typer.echo(secret)


def _get_password(file: Path | None) -> str:
    """The password in a file, or one that is asked for twice.

    Raises:
        ConfigError: The file cannot be read.
    """
    if file is None:
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    try:
        text = read_input(file, MAX_PASSWORD_BYTES).decode()
    except OSError as error:
        raise ConfigError(f"{error.strerror}: check the path", file=file) from error
    except UnicodeDecodeError as error:
        problem = "is not UTF-8 text: write the password into its first line"
        raise ConfigError(problem, file=file) from error
    return text.partition("\n")[0].rstrip("\r")

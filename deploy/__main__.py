"""The `edge-deploy` command, also as `python -m deploy`."""

import sys


def main() -> None:
    """Run the command line, or say what to install: a daemon has less than a developer."""
    try:
        from deploy.commands.app import app
    except ImportError as error:
        sys.exit(f"edge-deploy: {error.name} is not installed: pip install 'edgewatch[deploy]'")
    app()


if __name__ == "__main__":
    main()

"""The `edge-deploy` command, also as `python -m deploy`."""

import sys

from edge.extra import advise_extra
from edge.interrupt import exit_if_interrupted, quiet_interrupt


def main() -> None:
    """Run the command line, or say what to install: a daemon has less than a developer."""
    with exit_if_interrupted():
        from edge.opencv import require_opencv

        require_opencv("edge-deploy")
        try:
            from deploy.commands.app import app
        except ImportError as error:
            sys.exit(f"edge-deploy: {error.name} is not installed: {advise_extra('deploy')}")
    with quiet_interrupt():
        app()


if __name__ == "__main__":
    main()

"""The `edge` command, also as `python -m edge`."""

from edge.interrupt import exit_if_interrupted, quiet_interrupt


def main() -> None:
    """Run the command line."""
    with exit_if_interrupted():
        from edge.cli import main as run
    with quiet_interrupt():
        run()


if __name__ == "__main__":
    main()

"""`python -m deploy` is the `edge-deploy` command."""

from deploy.cli import main

if __name__ == "__main__":
    main()

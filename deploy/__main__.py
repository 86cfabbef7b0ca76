"""`python -m deploy` is the `edge-deploy` command."""

import sys

if __name__ == "__main__":
    try:
        from deploy.cli import main
    except ImportError as error:  # a daemon's installation has less than a developer's
        sys.exit(f"edge-deploy: {error.name} is not installed: pip install 'edgewatch[tensorrt]'")
    main()

"""`python -m deploy` is `edge-deploy`."""

import sys

try:
    from deploy.cli import main
except ImportError as error:  # a daemon's installation has less than developers have
    sys.exit(f"edge-deploy: {error.name} is not installed: pip install 'edgewatch[tensorrt]'")

main()

"""Commands of `edge-deploy`: one noun a file, registered in `deploy/cli.py`."""

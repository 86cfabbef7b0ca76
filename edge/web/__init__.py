"""The page and its API: what a browser, or another program, sees of a node."""

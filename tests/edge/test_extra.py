"""What is printed where an extra is missing."""

import sys

from edge.extra import advise_extra


def test_the_command_is_typed_in_a_clone_with_the_python_in_use(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/home/Ann Lee/.venv/bin/python")
    assert advise_extra("deploy") == (
        "in a clone of Edgewatch, '/home/Ann Lee/.venv/bin/python' -m pip install '.[deploy]'"
    )

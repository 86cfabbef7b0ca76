"""Processes that enroll and forget people until they are killed or the disk is full.

``python -m tests.support.enroller churn GALLERY`` forks a child for each line it reads and reaps
it; a child says what it is about to do, does it, and says so, for ever.
``python -m tests.support.enroller fill GALLERY BYTES`` enrolls until no file may grow any more.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from edge.errors import GalleryError
from tests.support.gallery import faces, open_new

TEMPLATES = 3
MOST = 6


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def churn_for_ever(path: Path) -> None:
    with open_new(path) as gallery:
        while True:
            generation = gallery.generation
            names = [person.name for person in gallery.people()]
            if len(names) < MOST:
                say(f"enroll p{generation}")
                templates = faces(TEMPLATES, generation)
                gallery.enroll(f"p{generation}", templates, consent=True)
            else:
                say(f"forget {names[generation % MOST]}")
                gallery.forget(names[generation % MOST])
            say("done")


def churn(path: Path) -> None:
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            try:
                churn_for_ever(path)
            finally:
                os._exit(1)
        say(f"pid {child}")
        os.waitpid(child, 0)
        say("dead")


def fill(path: Path, most_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    with open_new(path) as gallery:
        for number in range(10_000):
            try:
                gallery.enroll(f"p{number}", faces(TEMPLATES, number), consent=True)
            except GalleryError as error:
                say(f"full {error}")
                return
            say(f"enroll p{number}")


if __name__ == "__main__":
    command, where, *more = sys.argv[1:]
    if command == "churn":
        churn(Path(where))
    else:
        fill(Path(where), int(more[0]))

"""Who is named by several looks: rules of voting, and ways of enrolling, compared.

Run: ``python -m tests.benchmarks.tracks FACES EMBEDDER [SPLITS]``, FACES portraits with
videos as for `edge-train verification`, EMBEDDER a contract model. A track is the frames of a video
with three or more; half of the people are enrolled with their first video or two, in each split
others. Thresholds are those that 1 % of the strangers of the split exceed: single frames for the
rule of pictures, fused tracks for that of tracks.

Goal: the rule of tracks misses at most 0.7 times as many as that of pictures, and names at most 1 %
of the tracks whose second half is a stranger's.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge.people.fusion import fuse
from edge.people.gallery.index import Index, IndexedPerson
from edge.people.recognition.voting import LOOK_RATIO, VoteWindow, VotingRules, match_votes
from trainers.commands.options import load_contract_embedder
from trainers.data.portraits import Portraits, read_portraits
from trainers.metrics.verification import (
    Searches,
    fnir_at,
    threshold_at,
)

FPIR = 0.01
RULES = VotingRules(threshold=0, min_margin=0.05, min_votes=3, min_ratio=0.6, look_threshold=0)


class Tracks:
    """The tracks of people, who are enrolled with the first of theirs in half of the splits."""

    def __init__(self, faces: Portraits, embeddings: np.ndarray) -> None:
        rows = [np.flatnonzero(faces.video == video) for video in np.unique(faces.video)]
        self.rows = [own for own in rows if len(own) >= RULES.min_votes]
        self.looks = [embeddings[own] for own in self.rows]
        self.quality = [faces.quality[own] for own in self.rows]
        self.person = np.array([faces.person[own[0]] for own in self.rows])
        self.people = np.unique(self.person)

    def split(self, seed: int, videos: int) -> tuple[dict[int, np.ndarray], np.ndarray, np.ndarray]:
        """Pictures of the people to enroll, the other tracks of these, and those of strangers."""
        half = np.random.default_rng(seed).permutation(self.people)[: len(self.people) // 2]
        first = {one: np.flatnonzero(self.person == one)[:videos] for one in half.tolist()}
        enrolled = {one: np.concatenate([self.rows[n] for n in first[one]]) for one in first}
        is_known = np.isin(self.person, half)
        mated = np.setdiff1d(np.flatnonzero(is_known), np.concatenate(list(first.values())))
        return enrolled, mated, np.flatnonzero(~is_known)


def name(index: Index, looks: np.ndarray, quality: np.ndarray, rules: VotingRules) -> str:
    """The id of the person whom a track is named after; empty for none."""
    window = VoteWindow()
    for look, vote, value in zip(looks, match_votes(index, looks, rules), quality, strict=True):
        window.add(look, vote, float(value), 0.0, live=True)
    window.match(index, rules)
    person = window.decide(rules).person
    return person.id if person else ""


def compare_rules(tracks: Tracks, embeddings: np.ndarray, splits: int) -> None:
    """Print misses and false names of each rule, and mixed tracks that are named."""
    figures: dict[str, list[tuple[float, float, float]]] = {}
    for seed in range(splits):
        rng = np.random.default_rng(seed)
        enrolled, mated, strangers = tracks.split(seed, 1)
        index = Index.build(
            [IndexedPerson(str(one), "") for one in enrolled],
            [embeddings[rows] for rows in enrolled.values()],
        )
        pictures = np.concatenate([tracks.looks[n] for n in strangers]) @ index.fused.T
        fused = np.stack([fuse(tracks.looks[n], tracks.quality[n]) for n in strangers])
        of_pictures = threshold_at(pictures.max(1), FPIR)
        of_tracks = threshold_at((fused @ index.fused.T).max(1), FPIR)
        rules = {
            "pictures": replace(RULES, threshold=of_pictures, look_threshold=of_pictures),
            "tracks": replace(RULES, threshold=of_tracks, look_threshold=LOOK_RATIO * of_tracks),
            "fused looks alone": replace(RULES, threshold=of_tracks, min_votes=1, min_ratio=0),
        }
        for rule, with_threshold in rules.items():
            named = {
                n: name(index, tracks.looks[n], tracks.quality[n], with_threshold)
                for n in (*mated, *strangers)
            }
            miss = np.mean([named[n] != str(tracks.person[n]) for n in mated])
            false = np.mean([named[n] != "" for n in strangers])
            mixed = []
            for n in mated:
                other = rng.choice(strangers)
                half = min(len(tracks.looks[n]), len(tracks.looks[other]))
                looks = np.concatenate([tracks.looks[n][:half], tracks.looks[other][:half]])
                mixed.append(name(index, looks, np.ones(len(looks)), with_threshold) != "")
            figures.setdefault(rule, []).append((miss, false, float(np.mean(mixed))))
    for rule, rows in figures.items():
        miss, false, half = np.mean(rows, axis=0)
        print(
            f"rule of {rule}: {miss:.3f} of enrolled people's tracks missed, {false:.4f} of "
            f"strangers' named, {half:.3f} of those that are half a stranger's named",
            flush=True,
        )


def compare_enrollment(
    tracks: Tracks, embeddings: np.ndarray, mirrored: np.ndarray, quality: np.ndarray, splits: int
) -> None:
    """Print misses of fused tracks at FPIR 1 % for templates of several kinds."""
    probes = np.stack([fuse(*track) for track in zip(tracks.looks, tracks.quality, strict=True)])
    kinds: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "each photograph": lambda rows: embeddings[rows],
        "all fused": lambda rows: fuse(embeddings[rows])[None],
        "all fused by quality": lambda rows: fuse(embeddings[rows], quality[rows])[None],
        "each, and all fused": lambda rows: np.vstack([embeddings[rows], fuse(embeddings[rows])]),
        "all fused with their mirror images": lambda rows: fuse(mirrored[rows])[None],
        "the best photograph": lambda rows: embeddings[rows[[quality[rows].argmax()]]],
    }
    for videos, (kind, make) in itertools.product((1, 2), kinds.items()):
        rates = []
        for seed in range(splits):
            enrolled, mated, strangers = tracks.split(seed, videos)
            templates = [make(rows) for rows in enrolled.values()]
            owner = np.repeat(list(enrolled), [len(own) for own in templates])
            similarity = probes @ np.concatenate(templates).T
            best, who = similarity.max(1), owner[similarity.argmax(1)]
            right = np.where(who == tracks.person, best, -1).astype(np.float32)
            rates.append(fnir_at(Searches(right[mated], best[strangers]), FPIR))
        print(f"{videos} video(s), enrolled as {kind}: {np.mean(rates):.3f} of the tracks missed")


def main(faces: Portraits, embeddings: np.ndarray, mirrored: np.ndarray, splits: int) -> None:
    """Print everything; ``(N, D)`` embeddings of the crops and of the mirrored crops."""
    tracks = Tracks(faces, embeddings)
    print(f"{len(tracks.people)} people, {len(tracks.looks)} tracks")
    both = embeddings + mirrored
    both = both / np.linalg.norm(both, axis=1, keepdims=True)
    compare_enrollment(tracks, embeddings, both, faces.quality, 4 * splits)
    compare_rules(tracks, embeddings, splits)


if __name__ == "__main__":
    model = load_contract_embedder(sys.argv[2])
    portraits = read_portraits(Path(sys.argv[1]), None, model.resampling)
    main(
        portraits,
        model.embed(portraits.crops),
        model.embed(np.ascontiguousarray(portraits.crops[:, :, ::-1])),
        int((*sys.argv, "10")[3]),
    )

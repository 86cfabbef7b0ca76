"""Verification and identification metrics; genuine pairs are across videos.

All similarities are cosines of unit vectors. Intervals are bootstrapped over people, because pairs
of the same person are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge.people.fusion import fuse
from edge.types import F32, I64, Bool
from trainers.metrics.interval import Interval

FARS = (1e-1, 1e-2, 1e-3)
FPIRS = (0.01, 0.1)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Similarities of pairs.

    Attributes:
        genuine: ``(G,)`` of one person in two videos.
        impostor: ``(I,)`` of two people.
        genuine_person: ``(G,)`` index of the person.
        impostor_people: ``(I, 2)`` indices of the people.
    """

    genuine: F32
    impostor: F32
    genuine_person: I64
    impostor_people: I64


def across_videos(embeddings: F32, person: I64, video: I64) -> Pairs:
    """All pairs of embeddings ``(N, D)`` of unit length, except pairs within a video."""
    first, second = np.triu_indices(len(person), 1)
    similarity = (embeddings @ embeddings.T)[first, second]
    same = person[first] == person[second]
    genuine = same & (video[first] != video[second])
    people = np.stack([person[first], person[second]], axis=1)
    return Pairs(similarity[genuine], similarity[~same], people[genuine, 0], people[~same])


def auc(genuine: F32, impostor: F32) -> float:
    """Probability that a genuine pair is more similar than an impostor pair; ties count half."""
    if not len(genuine) or not len(impostor):
        return float("nan")
    ordered = np.sort(impostor)
    below = np.searchsorted(ordered, genuine, "left") + np.searchsorted(ordered, genuine, "right")
    return float(below.mean() / 2 / len(ordered))


def roc(genuine: F32, impostor: F32) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False accept rate, true accept rate and threshold, from strict to lax."""
    thresholds = np.unique(np.concatenate([genuine, impostor]))[::-1]
    far = 1 - np.searchsorted(np.sort(impostor), thresholds, "left") / len(impostor)
    tar = 1 - np.searchsorted(np.sort(genuine), thresholds, "left") / len(genuine)
    return far, tar, thresholds


def eer(genuine: F32, impostor: F32) -> float:
    """Equal error rate: false reject rate where it equals the false accept rate."""
    far, tar, _ = roc(genuine, impostor)
    at = int(np.argmin(np.abs(far - (1 - tar))))
    return float((far[at] + 1 - tar[at]) / 2)


def threshold_at(impostor: F32, far: float) -> float:
    """The lowest threshold with a false accept rate of at most ``far``."""
    ordered = np.sort(impostor)[::-1]
    allowed = int(far * len(ordered) + 1e-9)
    if allowed >= len(ordered):
        return float(ordered[-1])
    return float(np.nextafter(ordered[allowed], np.float32(np.inf)))


def tar_at(genuine: F32, impostor: F32, far: float) -> float:
    """True accept rate at a false accept rate."""
    return float(np.mean(genuine >= threshold_at(impostor, far)))


# --- open set ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Searches:
    """Searches in a gallery of half of the people.

    Attributes:
        mated: ``(M,)`` similarity to the right person; -1 where another one is more similar.
        unmated: ``(U,)`` highest similarity in searches of people who are not enrolled.
    """

    mated: F32
    unmated: F32


@dataclass(frozen=True, slots=True)
class SearchKind:
    """How people are enrolled and searched for.

    Attributes:
        tracks: Search with each video's pictures fused, instead of each picture.
        videos: The first videos of a person that are enrolled, one at least stays to search with.
        fused: Enroll a person's pictures fused, instead of each as a template.
    """

    tracks: bool = False
    videos: int = 1
    fused: bool = True


def fuse_videos(
    embeddings: F32, person: I64, video: I64, quality: F32 | None = None
) -> tuple[F32, I64, I64]:
    """The pictures of each of V videos as one: ``(V, D)``, ``(V,)`` person and video."""
    clips, first = np.unique(video, return_index=True)
    fused = np.stack([_fuse(embeddings, quality, video == clip) for clip in clips])
    return fused, person[first], clips


def open_set(
    embeddings: F32,
    person: I64,
    video: I64,
    enrolled: Sequence[int],
    kind: SearchKind | None = None,
    quality: F32 | None = None,
) -> Searches:
    """Search the ``enrolled`` people, who are in the gallery with the pictures of first videos."""
    kind = kind or SearchKind()
    gallery, gallery_people, is_probe = [], [], np.ones(len(person), bool)
    for one in enrolled:
        videos = np.unique(video[person == one])
        rows = np.isin(video, videos[: max(1, min(kind.videos, len(videos) - 1))])
        is_probe &= ~rows
        own = _fuse(embeddings, quality, rows)[None] if kind.fused else embeddings[rows]
        gallery.append(own)
        gallery_people += [one] * len(own)
    probes, probe_people = embeddings[is_probe], person[is_probe]
    if kind.tracks:
        rest = None if quality is None else quality[is_probe]
        probes, probe_people, _ = fuse_videos(probes, probe_people, video[is_probe], rest)
    similarity = probes @ np.concatenate(gallery).T  # (P, templates)
    best, matched = similarity.max(1), np.array(gallery_people)[similarity.argmax(1)]
    is_mated = np.isin(probe_people, gallery_people)
    mated = np.where(matched == probe_people, best, -1)[is_mated]
    return Searches(mated.astype(np.float32), best[~is_mated])


def _fuse(embeddings: F32, quality: F32 | None, rows: Bool) -> F32:
    return fuse(embeddings[rows], None if quality is None else quality[rows])


def fnir_at(searches: Searches, fpir: float) -> float:
    """False negative identification rate at a false positive identification rate."""
    return float(np.mean(searches.mated < threshold_at(searches.unmated, fpir)))


def open_set_fnir(
    embeddings: F32,
    person: I64,
    video: I64,
    fpir: float,
    kind: SearchKind | None = None,
    quality: F32 | None = None,
    draws: int = 20,
) -> list[float]:
    """FNIR of random halves of the people in the gallery."""
    people, rates = np.unique(person), []
    for seed in range(draws):
        half = np.random.default_rng(seed).permutation(people)[: len(people) // 2]
        searches = open_set(embeddings, person, video, half.tolist(), kind, quality)
        rates.append(fnir_at(searches, fpir))
    return rates


# --- quality ----------------------------------------------------------------------------------


def error_versus_discard(
    embeddings: F32, person: I64, video: I64, quality: F32, far: float = 1e-2,
    shares: Sequence[float] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
) -> list[tuple[float, float]]:  # fmt: skip
    """Fraction of pictures discarded, worst quality first, and the resulting false reject rate.

    The threshold is that of all pictures: a good quality score makes the error fall.
    """
    whole = across_videos(embeddings, person, video)
    threshold = threshold_at(whole.impostor, far)
    order, curve = np.argsort(quality, kind="stable"), []
    for share in shares:
        keep = np.sort(order[int(share * len(order)) :])
        pairs = across_videos(embeddings[keep], person[keep], video[keep])
        curve.append((share, float(np.mean(pairs.genuine < threshold))))
    return curve


# --- intervals --------------------------------------------------------------------------------


Measure = Callable[[F32, F32], float]


def bootstrap(
    pairs: Pairs, measures: dict[str, Measure], draws: int = 200, seed: int = 0
) -> dict[str, Interval]:
    """Metrics of pairs, with people drawn with replacement.

    A person drawn twice counts twice in pairs of its own and with others, but is never its own
    impostor. Counts are integers, so pairs are repeated.
    """
    people = int(max(pairs.impostor_people.max(initial=0), pairs.genuine_person.max(initial=0))) + 1
    present = np.unique(np.concatenate([pairs.genuine_person, pairs.impostor_people.ravel()]))
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(draws):
        times = np.bincount(rng.choice(present, len(present)), minlength=people)
        genuine = np.repeat(pairs.genuine, times[pairs.genuine_person])
        weight = times[pairs.impostor_people[:, 0]] * times[pairs.impostor_people[:, 1]]
        impostor = np.repeat(pairs.impostor, weight)
        if not len(genuine) or not len(impostor):
            continue
        for name, measure in measures.items():
            drawn[name].append(measure(genuine, impostor))
    figures = {}
    for name, measure in measures.items():
        low, high = np.quantile(drawn[name], [0.025, 0.975])
        value = measure(pairs.genuine, pairs.impostor)
        figures[name] = Interval(value, float(low), float(high), len(pairs.genuine))
    return figures


def tar_measure(far: float) -> Measure:
    """`tar_at` of one false accept rate."""
    return lambda genuine, impostor: tar_at(genuine, impostor, far)


MEASURES: dict[str, Measure] = {
    "AUC": auc,
    "EER": eer,
    **{f"TAR at FAR {far:g}": tar_measure(far) for far in FARS},
}

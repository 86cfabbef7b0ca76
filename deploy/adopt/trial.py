"""The trial: an adopted model is run on pictures, and so are the conventions that it might want.

Pictures are drawn faces, the photograph of a person that matplotlib ships, if it is installed, and
what the user gives. Drawn faces differ for an embedder that sees them as it was trained to (a
mean similarity of 0.65 for MobileFaceNet) and are all alike for one that sees white or black
(0.91 to 1.00).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from deploy.adopt.adopt import Adoption, adopt, choose_convention, convert_foreign, parse_foreign
from deploy.adopt.claims import read_claims
from deploy.adopt.families import FAMILIES
from deploy.graph.manifest import read_manifest
from deploy.graph.session import open_infer
from edge.engines.synthetic_images import draw_portraits, draw_synthetic_images
from edge.errors import ModelError, SourceError
from edge.manifest import Manifest
from edge.models.detector import drop_unused_rows
from edge.models.output_check import Refusals, RowCheck
from edge.sources.synthetic import find_shipped_photo
from edge.types import F32, U8, Picture, RgbPicture
from edge.vision.image_file import read_picture
from edge.vision.preprocess import letterbox
from trainers.data.dataset import Problem
from trainers.data.picture_folder import find_pictures

FOUND = 0.3  # a score from which something counts as found
CLEARLY = 0.3  # by which another convention must find more, or hold faces further apart
ALIKE = 0.8  # mean similarity of different drawn faces from which an embedder tells nobody apart
PORTRAITS = 12
MAX_PICTURES = 50  # of the user's


@dataclass(frozen=True, slots=True)
class TrialPictures:
    """The pictures of a trial: ``given`` by the user, which must show something, or shipped.

    Attributes:
        notes: What of the user's was passed over.
    """

    given: tuple[Picture, ...] = ()
    notes: tuple[Problem, ...] = ()

    @classmethod
    def read(cls, paths: Sequence[Path]) -> TrialPictures:
        """Read the user's pictures, at most `MAX_PICTURES`.

        Raises:
            ModelError: None can be read.
        """
        files, notes, pictures = list[Path](), list[Problem](), list[Picture]()
        for path in paths:
            inside, passed_over = find_pictures(path) if path.is_dir() else ([path], [])
            files += inside
            notes += passed_over
        for number, file in enumerate(files):
            if len(pictures) == MAX_PICTURES:
                what = (
                    f"the last {len(files) - number} pictures are not tried: {MAX_PICTURES} suffice"
                )
                notes.append(Problem(file.parent, 0, what, harmless=True))
                break
            try:
                pictures.append(read_picture(file))
            except SourceError as error:
                notes.append(Problem(file, 0, f"passed over: {error.problem}"))
        if paths and not pictures:
            why = "".join(f"; {note.what}" for note in notes[:3])
            raise ModelError(f"no picture can be read from {', '.join(map(str, paths))}{why}")
        return cls(tuple(pictures), tuple(notes))

    def shown(self, manifest: Manifest) -> U8:
        """All pictures as a model's input, ``(P, h, w, 3)`` RGB."""
        pictures: list[Picture] = list(self.given)
        if not pictures:
            try:
                pictures.append(read_picture(find_shipped_photo()))
            except SourceError:
                pass  # an extra that is not installed
        drawn = draw_synthetic_images(manifest.input_shape, 2)
        if not self.given:
            pictures += [RgbPicture(image) for image in drawn]
        shown = np.empty((len(pictures), *manifest.input_shape), np.uint8)
        for picture, image in zip(pictures, shown, strict=True):
            letterbox(picture, image, manifest.placement)
        return shown


def adopt_tried(
    model: bytes, options: Adoption, pictures: TrialPictures, *, force: bool = False
) -> bytes:
    """Adopt a foreign network, try it, and write into its manifest what was found.

    Raises:
        ModelError: It cannot be adopted; or, without ``force``, it finds nothing in the user's
            pictures, takes all faces for the same person, or does clearly better with another
            convention.
    """
    adopted = adopt(model, options)
    claims = read_claims(parse_foreign(convert_foreign(model, options.family)))
    convention = choose_convention(options, claims)
    is_embedder = FAMILIES[options.family].task == "embed"
    if is_embedder and convention.is_certain:
        return _write_proofs(adopted, (convention.source,))
    measure = _measure_apart if is_embedder else _measure_found
    value = measure(adopted, pictures)
    others = {} if convention.is_certain else {
        _name(normalize, color): measure(other, pictures)
        for normalize, color, other in _candidates(model, options, convention.normalize,
                                                   convention.color, is_embedder)
    }  # fmt: skip
    best = max(others, key=lambda name: others[name], default="")
    lead = others.get(best, -1.0) - value
    judge = _judge_embedder if is_embedder else _judge_detector
    problem, proof = judge(value, best, lead, bool(pictures.given))
    if problem and not force:
        raise ModelError(problem)
    proofs: tuple[str, ...] = (
        convention.source,
        f"not proven, adopted by force: {problem}" if problem else proof,
    )
    if (unread := claims.describe_names()) and not is_embedder:
        known = "the names given (--classes)" if options.classes else "its family's names"
        proofs = (*proofs, f"{unread}: {known} are taken")
    return _write_proofs(adopted, proofs)


def _candidates(
    model: bytes, options: Adoption, normalize: str, color: str, is_embedder: bool
) -> Iterator[tuple[str, str, bytes]]:
    """The same network with other values, or its colors in the other order, as far as it runs."""
    pairs = [(other, color) for other in ("none", "unit", "signed") if other != normalize]
    if not is_embedder:  # whose colors no drawn face tells
        pairs.append((normalize, "rgb" if color == "bgr" else "bgr"))
    for other, order in pairs:
        with suppress(ModelError):  # not finite, or no boxes
            yield other, order, adopt(model, replace(options, normalize=other, color=order))


def _name(normalize: str, color: str) -> str:
    return f"--normalize {normalize} --color {color}"


def _judge_detector(value: float, best: str, lead: float, is_given: bool) -> tuple[str, str]:
    """A problem or a proof."""
    if value >= FOUND and lead < CLEARLY:
        return "", f"tested on pictures: it detects something, mean best score {value:.2f}"
    if lead >= CLEARLY:
        return (
            f"the network finds more (mean best score {value + lead:.2f} against {value:.2f}) with "
            f"{best}: use these if its maker says so, or --force to adopt it as it is"
        ), ""
    if is_given:
        return (
            f"the network finds nothing in the pictures given (mean best score {value:.2f}): check "
            "--family, --normalize and --color, or use --force"
        ), ""
    return "", (
        "not proven: it detects nothing in the pictures that come with Edgewatch; test it on your "
        "own with --pictures"
    )


def _judge_embedder(value: float, best: str, lead: float, is_given: bool) -> tuple[str, str]:  # noqa: ARG001 - both judges are called alike
    alike = 1 - value
    if alike >= ALIKE or lead >= CLEARLY:
        better = f"; they are further apart with {best}" if lead > 0 else ""
        return (
            "the network takes drawn faces of different people for the same person (mean "
            f"similarity {alike:.2f}){better}: set --normalize and --color as its maker says, "
            "or use --force"
        ), ""
    return "", (
        f"tested on drawn faces: those of different people have a mean similarity of {alike:.2f}; "
        "the color order is not proven"
    )


def _measure_found(model: bytes, pictures: TrialPictures) -> float:
    """Mean over the pictures of the best score of a row that may be true."""
    manifest = read_manifest(model, "the adopted model")
    infer, check = open_infer(model), RowCheck(manifest)
    best, refused, kept = [], Refusals(), 0
    found = set()
    for image in pictures.shown(manifest):
        rows = drop_unused_rows(infer(image[None])["detections"][0])
        good: F32 = rows[check.select(rows, refused)]
        kept += len(good)
        best.append(float(good[:, 4].max(initial=0)))
        found.add(good.tobytes())
    if kept and len(best) > 1 and len(found) == 1:
        raise ModelError(
            "the network finds exactly the same in different pictures: it does not look at them"
        )
    if refused.total() > kept:
        reasons = ", ".join(f"{reason} {count}" for reason, count in refused.items())
        raise ModelError(
            f"most rows of the network are implausible ({reasons}): choose another --family, "
            "--layout or --classes"
        )
    return float(np.mean(best))


def _measure_apart(model: bytes, pictures: TrialPictures) -> float:  # noqa: ARG001 - see above
    """One minus the mean similarity of different drawn faces."""
    vectors = open_infer(model)(draw_portraits(PORTRAITS))["embeddings"]
    similarity = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    return 1 - float(np.mean(similarity))


def _write_proofs(model: bytes, proofs: tuple[str, ...]) -> bytes:
    manifest = read_manifest(model, "the adopted model").model_copy(update={"proofs": proofs})
    proto = onnx.load_model_from_string(model)
    onnx.helper.set_model_props(proto, manifest.to_metadata())
    tried: bytes = proto.SerializeToString()
    return tried

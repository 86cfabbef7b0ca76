"""What the steps of a GPU day share: folders, sizes, runtimes, models, pictures."""

import json
import os
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edge.errors import ConfigError, EdgeError, SourceError
from tests.gpu_day.results import Results, is_fake

ZOO = Path(__file__).parents[2] / "edge" / "zoo"
MODELS = {  # name -> precisions, those first that matter most
    "detect-nano": ("fp32", "fp16", "int8"),
    "faces-nano": ("fp32", "fp16"),
    "embed-nano": ("fp32",),
    "liveness-nano": ("fp32",),
}
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@dataclass(frozen=True)
class Day:
    """A run of the script.

    Attributes:
        work: Folder of what steps leave for later ones: models, engines, clips.
        is_quick: Whether this run is to find errors, not figures.
    """

    results: Results
    work: Path
    is_quick: bool

    @property
    def batches(self):
        return (1, 4) if self.is_quick else (1, 8, 16, 32)

    @property
    def seconds(self):
        """Of one measurement."""
        return 0.2 if self.is_quick else 1.0

    def precisions(self):
        """Name and precision of each model of this day."""
        names = list(MODELS)[:1] if self.is_quick else MODELS
        return [(name, precision) for name in names for precision in MODELS[name]]

    def path(self, name, precision):
        """The file of a model; those in FP32 are the zoo's."""
        if precision == "fp32":
            return ZOO / f"{name}.onnx"
        return self.work / f"{name}.{precision}.onnx"

    def models(self):
        """Label and path of the models that are there."""
        for name, precision in self.precisions():
            path = self.path(name, precision)
            if path.exists():  # else the step precisions says why
                yield f"{name} {precision}", path

    @property
    def providers(self):
        """Of ONNX Runtime: CUDA's; on a fake card the processor's, which runs the same code."""
        return (CPU,) if is_fake() else (CUDA,)

    def runtimes(self):
        """Runtimes on the card by name, the preferred first: tables for `edge.plugins.create`."""
        return {
            "tensorrt": {"kind": "tensorrt", "fallback": "none", "cache": str(self.engines)},
            "onnx cuda": {"kind": "onnx", "providers": self.providers},
        }

    def open_runtime(self, name):
        """A runtime on the card.

        Raises:
            ConfigError: It is not to be had here.
            EdgeError: It failed.
        """
        from edge import plugins

        runtime = plugins.create("runtimes", self.runtimes()[name])
        if name == "tensorrt" and not self.engines.is_dir():
            raise ConfigError("the step engines built none")
        return runtime

    def sessions(self):
        """Label, path and session of each model in each runtime on the card."""
        for name in self.runtimes():
            runtime = None
            with self.attempt(name):
                runtime = self.open_runtime(name)
            for label, path in self.models() if runtime else ():
                what, model = f"{label}, {name}", path.read_bytes()
                with self.attempt(what), closing(runtime.load(model, path.name)) as session:
                    yield what, path, session

    @contextmanager
    def attempt(self, what):
        """Make a row of an error: `not measured` for what is missing here, else `failed`."""
        try:
            yield
        except (ConfigError, ImportError) as error:
            self.results.absent(what, error)
        except EdgeError as error:
            self.results.failed(what, error)

    @property
    def engines(self):
        """Folder of the engine cache."""
        return self.work / "engines"

    def camera(self, size_wh, **options):
        """The table of a synthetic camera."""
        table = {"kind": "synthetic", "photo": str(self._photo()), "size_wh": size_wh}
        return {**table, **options}

    def pictures(self, size_wh, count):
        """Pictures of a synthetic camera, ``(H, W, 3)`` RGB each."""
        from edge import plugins
        from edge.vision.resize import resize_to_rgb

        source = plugins.create("sources", self.camera(size_wh, fps=1000, noise=0))
        with source.connect(threading.Event()) as captures:
            for _, capture in zip(range(count), captures, strict=False):
                yield resize_to_rgb(capture.picture, size_wh)

    def inputs(self, manifest, count):
        """``(count, ...)`` inputs of a model: drawn ones, half of them a camera's where it fits."""
        import numpy as np

        from edge.engines.synthetic_images import draw_synthetic_images

        batch = draw_synthetic_images(manifest.input_shape, count)
        if len(manifest.input_shape) == 3:
            half = list(self.pictures(manifest.input_wh, count // 2))
            batch[: count // 2] = np.stack(half)
        return batch

    def _photo(self):
        """The photograph that matplotlib ships; without matplotlib a drawing."""
        from edge.sources.synthetic import find_shipped_photo

        with suppress(SourceError):
            return find_shipped_photo()
        path = self.work / "photo.png"
        if not path.exists():
            import cv2

            from edge.engines.synthetic_images import draw_synthetic_images

            cv2.imwrite(str(path), draw_synthetic_images((1080, 1920, 3), 1)[0][..., ::-1])
        return path


def read_manifest(path):
    """The manifest of a contract model."""
    from edge.manifest import KEY, Manifest
    from edge.onnxfile import read_metadata

    return Manifest.model_validate(json.loads(read_metadata(path.read_bytes(), path.name)[KEY]))


def open_day(step, out, work):
    return Day(Results(out, step), Path(work), is_quick=os.environ.get("GPU_DAY_SIZE") == "quick")

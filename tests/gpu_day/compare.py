"""Whether the card finds what ONNX Runtime finds on the processor, by the daemon's own check."""

from contextlib import closing

from edge import plugins
from edge.engines.parity import ParityCheck
from tests.gpu_day.day import CPU, read_manifest

PICTURES = 32


def measure(day):
    table = {"kind": "onnx", "providers": (CPU,), "threads": 0}
    processor = plugins.create("runtimes", table)
    for label, path, session in day.sessions():
        with day.attempt(label), closing(processor.load(path.read_bytes(), path.name)) as reference:
            inputs = day.inputs(read_manifest(path), 4 if day.is_quick else PICTURES)
            check = ParityCheck(read_manifest(path))
            check.add(reference.infer(inputs), session.infer(inputs))
            if check.problem:
                day.results.failed(label, check.problem)
            else:
                day.results.measured(label, check.rows, "results compared, they agree")

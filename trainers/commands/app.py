"""The command line of the trainers: `edge-train`."""

from __future__ import annotations

from edge.cli.application import application
from trainers.commands import benchmark, data, evaluate, explain, restyle, train

app = application("Train, label and evaluate models on your own images.")
app.command(cls=train.RENAMED)(train.detector)
app.command()(train.classifier)
app.command(cls=train.RENAMED)(train.faces)
app.command()(train.landmarks)
app.command(cls=train.RENAMED)(train.liveness)
app.command(cls=train.RENAMED_OF_EMBEDDER)(train.embedder)
app.command()(data.label)
app.command()(data.crops)
app.command()(data.check)
app.command()(data.augment)
app.command()(restyle.restyle)
app.command(cls=evaluate.RENAMED)(evaluate.evaluate)
app.command(cls=evaluate.RENAMED_OF_ATTACKS)(evaluate.attacks)
app.command(cls=evaluate.RENAMED_OF_VERIFICATION)(evaluate.verification)
app.command()(explain.explain)
app.command()(explain.summary)
app.command(cls=benchmark.RENAMED)(benchmark.bench)


def main() -> None:
    """Entry point of the `edge-train` command."""
    app()

"""`edge-train`: what a wrong command says."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from tests.support.drawn_data import face, write_example
from trainers.commands.app import app


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["detector", "{here}/none", "--out", "{here}/r"], "is not a data set"),
        (["detector", "{here}/none", "--out", "{here}/r", "--head", "x"], "free or anchor"),
        (["detector", "{here}/none", "--out", "{here}/r", "--start", "zoo:nothing"], "zoo"),
        (["faces", "{here}/none", "--out", "{here}/r", "--backbone", "vgg16"], "yunet or slim"),
        (["check", "{here}/none"], "is not a data set"),
        (["detector", "{here}/empty", "--out", "{here}/r"], "holds no picture"),
        (["detector", "{here}/strange", "--out", "{here}/r"], "class 3 does not exist"),
        (["detector", "{here}/none", "--out", "{here}/r", "--unlabelled", "x"], "--teacher"),
        (["label", "{here}/none", "--teacher", "zoo:detect-nano", "--out", "{here}/r"], "no video"),
        (["label", "{here}", "--teacher", "{here}/x", "--out", "{here}/r"], "check the path"),
        (["label", "{here}", "--teacher", "{here}/empty/classes.txt", "--out", "{here}/r"],
         "is not a contract model"),
        (["faces", "{here}/none", "--out", "{here}/r", "--teacher", "zoo:faces-nano"], "data set"),
        (["faces", "{here}/none", "--out", "{here}/r", "--teacher", "zoo:no"], "has no model"),
        (["liveness", "{here}/none", "--out", "{here}/r", "--teacher", "zoo:no"], "has no model"),
        (["liveness", "{here}/none", "--out", "{here}/r", "--keep", "0.5"], "leave --keep out"),
        (["embedder", "{here}/none", "--out", "{here}/r", "--teacher", "zoo:no"], "has no model"),
        (["evaluate", "zoo:x", "--data", "{here}", "--shrink-to", "16"], "add --faces"),
        (["evaluate", "zoo:detect-nano", "--data", "{here}", "--ten-crop"], "take --crops"),
        (["evaluate", "zoo:detect-nano", "--data", "{here}", "--part", "x"], "val or test"),
        (["crops", "{here}", "--of", "person", "--out", "{here}/r"], "There is no recording"),
        (["crops", "{here}", "--of", "cow", "--out", "{here}/r"], "--of cow: the detector knows"),
        (["crops", "{here}", "--of", "person", "--out", "{here}"], "is the input itself"),
    ],
)  # fmt: skip
def test_a_wrong_command_ends_with_a_message_and_code_78(tmp_path, words, says):
    (tmp_path / "none").mkdir()
    for name in ("empty", "strange"):
        for folder in ("images", "labels"):
            (tmp_path / name / folder).mkdir(parents=True)
        (tmp_path / name / "classes.txt").write_text("cat\n")
    write_example(tmp_path / "strange" / "images", "a", face(0))
    (tmp_path / "strange" / "labels" / "a.txt").write_text("3 0.5 0.5 0.2 0.2\n")
    done = CliRunner().invoke(app, [w.format(here=tmp_path) for w in words])
    assert done.exit_code == 78
    assert says in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (("open/", "shut/1", "shut/2"), "This class has no picture: add some or remove it"),
        (("open/1", "shut/1"), "fewer than 2 samples of a class"),
        (("open/1", "open/2", "Open/1", "Open/2"), "differ only by case (Open, open): rename one"),
        (("open/1", "shut/1", "1"), "lie beside the folders of classes (1.png): move them"),
        (("open/1", "shut/1", "images/1", "labels/1.txt", "classes.txt"), "move them elsewhere"),
        (("open/1", "open/2"), "There is 1 class: a classifier needs two or more"),
        ((*(f"{n}/" for n in range(1001)),), "There are 1001 classes, 1000 may be: is each folder"),
    ],
)
def test_samples_from_which_no_classifier_can_be_learned_end_with_a_message(tmp_path, files, says):
    for n, name in enumerate(files):
        path = tmp_path / "data" / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if name.endswith(".txt"):
            path.write_text("gate\n" if name == "classes.txt" else "0 0.5 0.5 0.2 0.2\n")
        elif not name.endswith("/"):
            write_example(path.parent, path.name, face(n))
    words = ["classifier", str(tmp_path / "data"), "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 78, done.output
    assert says in " ".join(done.output.split())
    assert "Traceback" not in done.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([f"a.png,{n}" for n in range(10_000)], "There are 10000 classes, 1000 may be"),
        (["a.png,open;shut"], "A sample is of several classes (open, shut): if several may hold"),
        (["b.png,open"], "There is no picture 'b.png' beside it"),
    ],
)
def test_a_table_from_which_no_classifier_can_be_learned_ends_with_a_message(tmp_path, rows, says):
    write_example(tmp_path, "a", face(0))
    (tmp_path / "x.csv").write_text("\n".join(["file,class", *rows]))
    done = CliRunner().invoke(
        app, ["classifier", str(tmp_path / "x.csv"), "--out", str(tmp_path / "run")]
    )
    assert done.exit_code == 78, done.output
    assert says in " ".join(done.stderr.split())
    assert len(done.stderr) < 1000


def test_help_names_the_commands():
    output = CliRunner().invoke(app, ["--help"]).output
    assert all(command in output for command in ("detector", "faces", "check"))

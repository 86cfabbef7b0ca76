"""edge enroll, edge people, edge keys: from photographs to a gallery and back."""

import errno
import json
import re
import stat
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from deploy.adopt.adopt import Adoption
from edge.cli import app
from edge.cli.calibrate import Looks, _fuse_tracks, _group_by_folder
from edge.fleet.people_hub import HubPeople
from edge.fleet.people_keys import BoxKey
from edge.people.enrollment.face_photo import FacePhoto
from edge.people.gallery.encryption import load_key
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.membership import Membership
from edge.people.recognition.threshold import Calibration
from tests.support.gallery import Clock, faces, fetch, tamper
from tests.support.models import color_embedder, constant_liveness, constant_model
from tests.support.videos import write_noise

POINTS = np.array([[[34, 38], [62, 38], [48, 54], [37, 70], [59, 70]]], np.float32)
FACE = np.array([[20, 16, 76, 84, 0.9, 0]], np.float32)
NONE, NO_POINTS = np.zeros((1, 6), np.float32), np.zeros((1, 5, 2), np.float32)
TWO = np.concatenate([FACE, FACE + np.float32([8, 4, 4, 0, 0, 0])])
RED, GREEN, BLUE, PINK = (200, 60, 60), (60, 200, 60), (60, 60, 200), (205, 70, 80)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Files of face finders that see none, one or two faces in everything, and an embedder."""
    folder = tmp_path_factory.mktemp("models")
    rows = {"none": (NONE, NO_POINTS), "one": (FACE, POINTS), "two": (TWO, np.repeat(POINTS, 2, 0))}
    for name, (found, points) in rows.items():
        outputs = {"detections": found, "landmarks": points}
        model = constant_model("faces", outputs, ("face",), input_wh=(96, 96))
        (folder / f"{name}.onnx").write_bytes(model)
    (folder / "embedder.onnx").write_bytes(color_embedder())
    (folder / "live.onnx").write_bytes(constant_liveness(0.99))
    other = onnx.load_model_from_string(color_embedder())
    other.doc_string = "the same, with another hash"
    (folder / "other.onnx").write_bytes(other.SerializeToString())
    return folder


@pytest.fixture
def edge(tmp_path, monkeypatch, models):
    """Run edge with a fresh key and gallery."""
    monkeypatch.setenv("EDGE_GALLERY", str(tmp_path / "gallery.db"))
    monkeypatch.setenv("EDGE_GALLERY_KEY", str(tmp_path / "key"))
    monkeypatch.setenv("EDGE_EMBEDDER", str(models / "embedder.onnx"))
    monkeypatch.setenv("EDGE_FACES", str(models / "one.onnx"))
    monkeypatch.setenv("EDGE_LIVENESS", str(models / "live.onnx"))

    def run(*arguments, exit_code=0):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == exit_code, result.output
        return result

    run("keys", "new", tmp_path / "key")
    return run


@pytest.fixture
def photo(tmp_path):
    """Draw a photograph: noise around a colour."""

    def draw(name, colour, noise=30):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        grain = np.random.default_rng(0).normal(0, noise, (96, 96, 1))
        rgb = np.clip(np.array(colour) + grain, 0, 255).astype(np.uint8)
        assert cv2.imwrite(str(path), rgb[..., ::-1])
        return path

    return draw


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


# --- enrolling ----------------------------------------------------------------------------------


def test_the_last_day_of_all_is_no_end_in_practice(edge, photo):
    edge("enroll", "Ann", photo("a.png", RED), "--consent", "--until", "9999-12-31")
    (listed,) = lines(edge("people", "list", "--json"))
    assert (listed["until"], listed["state"]) == ("9999-12-31", "active")


def test_enrolling_needs_consent_and_stores_nothing_without(edge, photo, tmp_path):
    result = edge("enroll", "Ann", photo("a.png", RED), exit_code=78)
    assert "--consent" in result.output
    assert not (tmp_path / "gallery.db").exists()


def test_an_enrolled_person_is_listed_and_shown(edge, photo):
    edge("enroll", "Ann", photo("a.png", RED), photo("b.png", PINK), "--consent",
         "--until", "2099-12-31")  # fmt: skip
    (listed,) = lines(edge("people", "list", "--json"))
    assert (listed["name"], listed["templates"], listed["until"]) == ("Ann", 2, "2099-12-31")
    assert lines(edge("people", "show", "ann", "--json")) == [listed]
    assert "Ann" in edge("people", "list").stdout
    assert "until: 2099-12-31" in edge("people", "show", "Ann").stdout


@pytest.mark.parametrize(
    ("finder", "colour", "noise", "reason"),
    [
        ("none", RED, 30, "no face"),
        ("two", RED, 30, "two faces, must be one"),
        ("one", RED, 0, "blurred, too little contrast"),
        ("one", (20, 5, 5), 60, "too dark"),
    ],
)
def test_a_refused_photograph_is_reported_with_the_reason(
    edge, photo, models, finder, colour, noise, reason
):
    path = photo("a.png", colour, noise)
    seen = ("--faces", models / f"{finder}.onnx")
    result = edge("enroll", "Ann", path, "--consent", "--json", *seen, exit_code=1)
    assert lines(result) == [
        {"name": "Ann", "used": 0, "refused": [{"photo": str(path), "reason": reason}]}
    ]
    assert edge("people", "list", "--json").stdout == ""


def test_what_is_no_picture_is_refused_and_the_rest_enrolled(edge, photo, tmp_path):
    (tmp_path / "b.jpg").write_text("no picture")
    result = edge("enroll", "Ann", photo("a.png", RED), tmp_path / "b.jpg", tmp_path / "c.jpg",
                  "--consent")  # fmt: skip
    assert "enrolled 1 person with 1 picture, refused 2" in result.output


def test_a_folder_enrolls_everybody_and_finds_who_is_there_twice(edge, photo, tmp_path):
    for name, colour in (("Ann", RED), ("Bob", GREEN), ("Zed", PINK)):
        photo(f"people/{name}/1.png", colour)
        photo(f"people/{name}/2.png", colour)
    result = edge("enroll", "--folder", tmp_path / "people", "--consent", "--json", exit_code=1)
    assert [(line["name"], line["used"]) for line in lines(result)] == [
        ("Ann", 2), ("Bob", 2), ("Zed", 0),
    ]  # fmt: skip
    assert "near-duplicate of Ann" in lines(result)[2]["refused"][0]["reason"]
    folder = edge("enroll", "--folder", tmp_path / "people", "--consent", "--allow-duplicates",
                  "--replace")  # fmt: skip
    assert "enrolled 3 people with 6 pictures, refused 0" in folder.output
    assert {person["templates"] for person in lines(edge("people", "list", "--json"))} == {2}


def test_photographs_that_do_not_resemble_the_rest_are_named_and_refused(edge, photo):
    mine = [photo(f"{n}.png", RED) for n in "ab"]
    stranger = photo("c.png", GREEN)
    result = edge("enroll", "Ann", *mine, stranger, "--consent", "--json")
    (line,) = lines(result)
    assert (line["used"], [r["photo"] for r in line["refused"]]) == (2, [str(stranger)])
    assert "is it the same person?" in line["refused"][0]["reason"]
    (again,) = lines(edge("enroll", "Ann", stranger, "--consent", "--json", exit_code=1))
    assert again["used"] == 0
    allowed = edge("enroll", "Ann", stranger, "--consent", "--json", "--allow-dissimilar")
    assert lines(allowed)[0]["used"] == 1


def test_three_people_are_never_enrolled_as_one(edge, photo):
    three = [photo(f"{n}.png", colour) for n, colour in enumerate((RED, GREEN, BLUE))]
    (line,) = lines(edge("enroll", "Ann", *three, "--consent", "--json", exit_code=1))
    assert (line["used"], len(line["refused"])) == (0, 3)
    assert edge("people", "list", "--json").stdout == ""


def test_folders_of_other_programs_are_nobody_and_told(edge, photo, tmp_path):
    for name in ("Ann", "train", ".git", "@eaDir", ".Trash", "lost+found"):
        photo(f"people/{name}/1.png", RED)
    photo("people/loose.png", RED)
    result = edge("enroll", "--folder", tmp_path / "people", "--consent")
    assert "enrolled 1 person with 1 picture, refused 0" in result.output
    told = ".Trash/, .git/, @eaDir/, loose.png, lost+found/, train/"
    assert f"passed over, nobody's photos: {told}" in result.output


def test_a_folder_whose_name_is_none_is_told_and_the_others_are_enrolled(edge, photo, tmp_path):
    photo("people/Ann/1.png", RED)
    long = "x" * 101
    photo(f"people/{long}/1.png", GREEN)
    result = edge("enroll", "--folder", tmp_path / "people", "--consent", "--json", exit_code=1)
    first, second = lines(result)
    assert (first["name"], first["used"]) == ("Ann", 1)
    assert second["refused"][0]["photo"].endswith(long)
    assert "1 to 100 printable characters" in second["refused"][0]["reason"]


def test_every_file_of_a_person_is_read_or_told(edge, photo, tmp_path):
    photo("people/Ann/2023/summer/1.png", RED)
    for suffix in (".jfif", ".avif", ".gif", ".tif"):
        photo("people/Ann/q.png", RED).rename(tmp_path / f"people/Ann/q{suffix}")
    for name in ("IMG_1.HEIC", "note.txt", "Thumbs.db", ".DS_Store"):
        (tmp_path / "people/Ann" / name).write_bytes(b"x")
    result = edge("enroll", "--folder", tmp_path / "people", "--consent", "--json")
    (line,) = lines(result)
    assert line["used"] == 5
    reasons = {r["photo"].rsplit("/", 1)[-1]: r["reason"] for r in line["refused"]}
    assert reasons.keys() == {"IMG_1.HEIC", "note.txt"}
    assert reasons["IMG_1.HEIC"] == "HEIC cannot be read here: convert it to JPEG"


def test_strangers_that_are_not_compared_are_counted_with_the_reason(edge, photo, tmp_path):
    edge("enroll", "Zoe", photo("z.png", BLUE), "--consent")
    photo("strangers/Ann/1.png", RED)
    photo("strangers/Ann/more/2.png", PINK)
    photo("strangers/Bob/1.png", GREEN, noise=0)
    for name in ("a.HEIC", "b.heic", "note.txt"):
        (tmp_path / "strangers/Ann" / name).write_bytes(b"x")
    photo("strangers/train/1.png", RED)
    photo("strangers/loose.png", RED)
    result = edge("people", "calibrate", "--strangers", tmp_path / "strangers", exit_code=1)
    said = result.stderr
    assert "passed over, nobody's photos: loose.png, train/" in said
    assert "not compared: 2, HEIC cannot be read here: convert it to JPEG (such as " in said
    assert "not compared: 1, the file is not a picture that OpenCV can decode" in said
    assert "not compared: 1, blurred, too little contrast" in said
    assert said.count("not compared") == 3
    assert "passed over: 1 person with fewer than 3 usable photos" in said  # Ann's two
    assert "different people, got 0: give photos of more people" in said


def test_tracks_of_strangers_calibrate_the_gallery(edge, photo, tmp_path):
    edge("enroll", "Zoe", photo("z.png", BLUE), "--consent")
    rng = np.random.default_rng(0)
    for person in range(23):
        for track in "abc":
            for number in range(3):
                photo(f"strangers/P{person}/{track}/{number}.png", rng.integers(60, 200, 3))
    said = edge("people", "calibrate", "--strangers", tmp_path / "strangers", "--json").stdout
    answer = json.loads(said)
    pairs = 23 * 22 // 2 * 9 + 23 * 3  # tracks of different people, and each with Zoe
    assert (answer["tracks"], answer["photos"], answer["comparisons"]) == (69, 207, pairs)
    key = load_key(str(tmp_path / "key"))
    with Gallery(tmp_path / "gallery.db", key) as gallery:
        assert Calibration.from_values(gallery.calibration()).of_tracks


def test_many_photos_in_a_folder_are_several_tracks_and_small_folders_one():
    faces = [FacePhoto(Path(f"P/{n}.jpg"), np.zeros(0), 0.5) for n in range(9)]
    faces += [FacePhoto(Path(f"P/more{n}/1.jpg"), np.zeros(0), 0.5) for n in range(3)]
    assert [len(part) for part in _group_by_folder(faces)] == [9, 3]
    rows = np.eye(9, dtype=np.float32)
    fused = _fuse_tracks([Looks(rows, np.full(9, 0.5, np.float32)), Looks(rows[:2], np.ones(2))])
    assert ((fused > 0).sum(axis=1) == [5, 4]).all()


def test_a_name_typed_with_other_blanks_is_the_same_person(edge, photo):
    edge("enroll", "Ann Lee", photo("1.png", RED), "--consent")
    again = edge("enroll", " Ann  Lee ", photo("2.png", RED), "--consent")
    assert "refused 0" in again.output
    assert [person["name"] for person in lines(edge("people", "list", "--json"))] == ["Ann Lee"]


def test_a_folder_with_one_person_twice_is_refused(edge, photo, tmp_path):
    photo("people/Ann Lee/1.png", RED)
    photo("people/ann  lee/1.png", RED)
    refused = edge("enroll", "--folder", tmp_path / "people", "--consent", exit_code=78)
    assert "two folders for" in refused.output


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["Ann"],
        ["Ann", "a.png", "--folder", "."],
        ["--folder", "{empty}"],
        ["Ann", "a.png", "--camera", "door"],
        ["--camera", "door"],
    ],
)
def test_whom_to_enroll_must_be_said_once(edge, tmp_path, arguments):
    empty = tmp_path / "empty"
    empty.mkdir()
    asked = [argument.replace("{empty}", str(empty)) for argument in arguments]
    assert "--folder" in edge("enroll", *asked, "--consent", exit_code=78).output


# --- before a camera: with real faces in test_live ----------------------------------------------


@pytest.fixture
def clip(tmp_path):
    """A second of a face of noise that stands straight and obeys nobody."""
    return write_noise(tmp_path / "clip.mp4", frames=10, size_wh=(96, 96))


def test_before_a_camera_the_person_is_told_what_to_do(edge, clip):
    result = edge("enroll", "Ann", "--camera", clip, "--consent", exit_code=1)
    assert "Look straight at the camera" in result.output
    assert "the camera ended before the challenge did; try again" in result.output
    assert edge("people", "list", "--json").stdout == ""


def test_attempts_are_counted_over_restarts_and_lock_after_the_third(edge, clip):
    before = ("enroll", "Ann", "--camera", clip, "--consent")
    for _ in range(2):
        assert "try again\n" in edge(*before, exit_code=1).output
    assert re.search(r"did; try again in \d\d s", edge(*before, exit_code=1).output)
    locked = edge(*before, exit_code=1).output
    assert "too many challenges failed: try again in" in locked
    assert "Look straight" not in locked
    tried = [e for e in lines(edge("people", "audit", "--json")) if e["action"] == "challenge"]
    assert len(tried) == 3


def test_a_camera_needs_consent_too(edge, clip, tmp_path):
    edge("enroll", "Ann", "--camera", clip, exit_code=78)
    assert not (tmp_path / "gallery.db").exists()


def test_a_camera_without_a_liveness_model_enrolls_nobody(edge, clip, tmp_path):
    missing = ("--liveness", tmp_path / "missing.onnx")
    result = edge("enroll", "Ann", "--camera", clip, "--consent", *missing, exit_code=78)
    assert "missing.onnx" in result.output
    assert not (tmp_path / "gallery.db").exists()


def test_a_camera_may_be_one_of_the_configuration_and_so_are_gallery_and_models(
    clip, models, tmp_path, monkeypatch
):
    for name in ("GALLERY", "GALLERY_KEY", "EMBEDDER", "FACES", "LIVENESS"):
        monkeypatch.delenv(f"EDGE_{name}", raising=False)
    CliRunner().invoke(app, ["keys", "new", str(tmp_path / "key")])
    configuration = tmp_path / "edge.toml"
    configuration.write_text(f"""
        models = {{ detector = "zoo:detect-nano", faces = "{models / "one.onnx"}" }}
        [recognition]
        gallery = "people.db"
        key_file = "key"
        embedder = "{models / "embedder.onnx"}"
        liveness = "{models / "live.onnx"}"
        [[cameras]]
        name = "door"
        source = {{ kind = "video_file", path = "{clip}" }}
        """)
    asked = ["enroll", "Ann", "--consent", "--config", str(configuration), "--camera"]
    result = CliRunner().invoke(app, [*asked, "door"])
    assert (result.exit_code, "the camera ended before" in result.output) == (1, True)
    assert (tmp_path / "people.db").exists()
    result = CliRunner().invoke(app, [*asked, "yard"])
    assert result.exit_code == 78
    assert "the configuration has door" in result.output


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("line\x1b[2J", (), "printable"),
        ("Ann", ("--until", "2020-01-01"), "has passed"),
        ("Ann", ("--until", "0001-01-01"), "has passed"),
    ],
)
def test_what_could_not_be_stored_is_refused_before_anybody_is_troubled(
    edge, clip, tmp_path, name, more, says
):
    result = edge("enroll", name, "--camera", clip, "--consent", *more, exit_code=78)
    assert says in result.output
    assert "Look straight" not in result.output
    assert not (tmp_path / "gallery.db").exists()


def test_a_camera_that_is_none_is_explained(edge):
    result = edge("enroll", "Ann", "--camera", "door", "--consent", exit_code=78)
    assert "no camera of that name (give --config)" in result.output
    result = edge("enroll", "Ann", "--camera", "/dev/null", "--consent", exit_code=1)
    assert "no one was enrolled: /dev/null" in result.output


def test_another_embedder_is_refused_until_everybody_is_enrolled_again(edge, photo, models):
    ann = photo("a.png", RED)
    edge("enroll", "Ann", ann, "--consent")
    other = ("--embedder", models / "other.onnx")
    result = edge("enroll", "Ann", ann, "--consent", *other, exit_code=78)
    assert "--change-embedder" in result.output
    edge("people", "verify", "Ann", ann, *other, exit_code=78)
    edge("enroll", "Ann", ann, "--consent", "--change-embedder", *other)
    edge("people", "verify", "Ann", ann, *other)


# --- people -------------------------------------------------------------------------------------


def test_verify_tells_the_same_person_from_another(edge, photo):
    edge("enroll", "Ann", photo("a.png", RED), "--consent")
    same = edge("people", "verify", "ann", photo("b.png", PINK))
    assert "the same person: similarity 0." in same.stdout
    (answer,) = lines(edge("people", "verify", "Ann", photo("c.png", BLUE), "--json", exit_code=1))
    assert answer["same"] is False
    assert answer["name"] == "Ann"
    assert answer["similarity"] < answer["threshold"] == 0.5
    assert (
        "not enrolled" in edge("people", "verify", "Bob", photo("c.png", BLUE), exit_code=78).output
    )


def test_verify_cannot_judge_a_photograph_without_a_face(edge, photo, models):
    edge("enroll", "Ann", photo("a.png", RED), "--consent")
    result = edge("people", "verify", "Ann", photo("a.png", RED), "--faces", models / "none.onnx",
                  exit_code=65)  # fmt: skip
    assert "no face" in result.output


def test_a_known_look_alike_is_not_the_person(edge, photo):
    edge("enroll", "Ann", photo("a.png", RED), "--consent")
    look_alike = photo("b.png", PINK)
    edge("people", "verify", "Ann", look_alike)
    result = edge("people", "not", "Ann", look_alike)
    assert "1 template of look-alikes" in result.stdout
    assert "if it shows Ann" in result.stderr  # the colors are nearly equal
    edge("people", "verify", "Ann", look_alike, exit_code=1)
    edge("people", "verify", "Ann", photo("a.png", RED))


def test_a_folder_in_place_of_photos_is_told_the_two_ways(edge, photo):
    folder = photo("mine/a.png", RED).parent
    result = edge("enroll", "Ann", folder, "--consent", exit_code=78)
    assert f"{folder} is a folder: give its photos, as in `edge enroll Ann {folder}/*.jpg`" in (
        result.stderr
    )
    assert "--folder enrolls many people" in result.stderr


def test_templates_of_look_alikes_have_one_name_everywhere(edge, photo):
    edge("enroll", "Ann", photo("a.png", RED), "--consent")
    said = edge("people", "not", "Ann", photo("b.png", GREEN)).output
    assert "Ann: 1 template of look-alikes" in said
    assert "look-alikes: 1" in edge("people", "show", "Ann").stdout
    assert "look-alikes" in edge("people", "list").stdout
    assert "genuine: 3 entries, 1 person" in edge("people", "audit").stdout


def test_rename_forget_and_the_audit_log(edge, photo):
    edge("enroll", "Ann", photo("a.png", RED), "--consent")
    edge("people", "rename", "Ann", "Anna")
    assert CliRunner().invoke(app, ["people", "forget", "Anna"], input="n\n").exit_code == 1
    assert len(lines(edge("people", "list", "--json"))) == 1
    assert "forgotten" in edge("people", "forget", "Anna", "--yes").stdout
    assert edge("people", "list", "--json").stdout == ""
    assert "genuine: 4 entries, 0 people" in edge("people", "audit").stdout
    actions = [entry["action"] for entry in lines(edge("people", "audit", "--json"))]
    assert actions == ["create", "enroll", "rename", "forget"]


def test_a_tampered_audit_log_exits_78(edge, photo, tmp_path):
    edge("enroll", "Ann", photo("a.png", RED), "--consent")
    tamper(tmp_path / "gallery.db", "UPDATE audit SET actor = 'uid:1'")
    assert "tampered" in edge("people", "audit", exit_code=78).output


def test_purge_forgets_whose_time_is_over(edge, photo, tmp_path):
    edge("enroll", "Ann", photo("a.png", RED), "--consent", "--until", "2090-01-01")
    assert "forgotten: no one" in edge("people", "purge").stdout
    path, key = tmp_path / "gallery.db", load_key(str(tmp_path / "key"))
    with Gallery(path, key) as gallery:
        embedder = gallery.embedder
    with Gallery(path, key, embedder, clock=Clock(1_600_000_000.0)) as past:
        past.enroll("Bob", faces(1, dimension=3), consent=True, until=date(2021, 1, 1))
    assert [p["state"] for p in lines(edge("people", "list", "--json"))] == ["active", "expired"]
    edge("people", "verify", "Bob", photo("a.png", RED), exit_code=78)
    assert "forgotten: Bob" in edge("people", "purge").stdout
    assert [p["name"] for p in lines(edge("people", "list", "--json"))] == ["Ann"]


def test_export_is_private_and_never_overwrites(edge, photo, tmp_path):
    edge("enroll", "Ann", photo("a.png", RED), "--consent")
    out = tmp_path / "ann.json"
    edge("people", "export", "Ann", out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert json.loads(out.read_text())["name"] == "Ann"
    edge("people", "export", "Ann", out, exit_code=1)
    edge("people", "export", "Bob", tmp_path / "bob.json", exit_code=78)
    assert not (tmp_path / "bob.json").exists()


def test_nothing_is_left_of_an_export_on_a_full_disk(edge, photo, tmp_path, monkeypatch):
    edge("enroll", "Ann", photo("a.png", RED), "--consent")
    before = sorted(path.name for path in tmp_path.iterdir())
    write = Path.write_text

    def fill(path, text, **options):
        write(path, text[:100], **options)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fill)
    result = edge("people", "export", "Ann", tmp_path / "ann.json", exit_code=1)
    assert "ann.json: No space left on device: choose another path" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_no_half_key_is_left_on_a_full_disk(edge, tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("os.fsync", fail)
        result = edge("keys", "new", tmp_path / "new.key", exit_code=78)
    assert "the key cannot be written (No space left on device)" in result.stderr
    assert not (tmp_path / "new.key").exists()
    edge("keys", "new", tmp_path / "new.key")


def test_a_damaged_person_is_listed_and_can_be_forgotten_by_id(edge, photo, tmp_path):
    edge("enroll", "Ann", photo("a.png", RED), "--consent")
    tamper(tmp_path / "gallery.db", "UPDATE template SET sealed = zeroblob(40)")
    ((person,),) = fetch(tmp_path / "gallery.db", "SELECT id FROM person")
    assert "damaged" in edge("people", "list").stdout
    edge("people", "forget", person, "--yes")
    assert edge("people", "list", "--json").stdout == ""


# --- keys ---------------------------------------------------------------------------------------


def test_a_key_is_not_overwritten_and_never_printed(edge, tmp_path):
    before = (tmp_path / "key").read_text()
    result = edge("keys", "new", tmp_path / "key", exit_code=78)
    assert (tmp_path / "key").read_text() == before
    assert before.strip() not in result.output


def test_another_key_exits_78_and_says_what_to_do(edge, photo, tmp_path):
    edge("enroll", "Ann", photo("a.png", RED), "--consent")
    edge("keys", "new", tmp_path / "other")
    result = edge("people", "list", "--key", tmp_path / "other", exit_code=78)
    assert "the key it was made with" in result.output


def test_a_key_open_to_others_exits_78(edge, tmp_path):
    (tmp_path / "key").chmod(0o644)
    assert "chmod 600" in edge("people", "list", exit_code=78).output


# --- real pictures ------------------------------------------------------------------------------


def test_real_photographs_end_to_end(edge, adopt_file, adopted_yunet, shared_data):
    options = Adoption("arcface", "mobilefacenet", (), threshold=0.32)
    embedder = adopt_file("mobilefacenet_128d_112x112.onnx", options)
    real = ("--embedder", embedder, "--faces", adopted_yunet)
    stills = shared_data / "gallery_video"
    edge("enroll", "Obama", stills / "obama.jpg", "--consent", *real)
    edge("enroll", "Miranda", stills / "lin-manuel-miranda.png", "--consent", *real)
    edge("people", "verify", "Obama", stills / "obama2.jpg", *real)
    edge("people", "verify", "Obama", stills / "biden.jpg", *real, exit_code=1)
    result = edge("enroll", "Biden", stills / "obama2.jpg", stills / "two_people.jpg", "--consent",
                  "--json", *real, exit_code=1)  # fmt: skip
    reasons = [refusal["reason"] for refusal in lines(result)[0]["refused"]]
    assert reasons[0].startswith("near-duplicate of Obama")
    assert reasons[1] == "two faces, must be one"


def test_a_photograph_in_place_of_a_name_is_told(edge, photo):
    one, other = photo("a.png", RED), photo("b.png", RED)
    result = edge("enroll", one, other, "--consent", exit_code=78)
    assert "is a file: the name comes first" in result.output


# --- in a fleet ---------------------------------------------------------------------------------


def test_the_boxes_at_which_consent_holds_are_said_when_enrolling_or_later(edge, photo):
    edge("enroll", "Ann", photo("a.png", RED), "--consent", "--boxes", "gate, door")
    assert "boxes: gate, door" in edge("people", "show", "Ann").stdout
    edge("enroll", "Ann", photo("b.png", PINK), "--consent")
    (listed,) = lines(edge("people", "list", "--json"))
    assert listed["boxes"] == ["gate", "door"]
    assert edge("people", "scope", "ann", "--boxes", "*").stdout == "Ann: *\n"
    assert edge("people", "scope", "ann", "--boxes", "").stdout == "Ann: no box\n"
    (listed,) = lines(edge("people", "list", "--json"))
    assert "boxes" not in listed
    assert [e["detail"] for e in lines(edge("people", "audit", "--json"))][-1] == '{"boxes": 0}'
    wrong = edge("enroll", "Bob", photo("c.png", BLUE), "--consent", "--boxes", "a b", exit_code=78)
    assert "is no name of a box" in wrong.output


def test_a_box_that_nobody_knows_is_told_where_consent_is_said_to_hold_there(edge, photo, tmp_path):
    enrolled = edge("enroll", "Ann", photo("a.png", RED), "--consent", "--boxes", "gaet")
    assert "not trusted with people: gaet (none is so far)" in enrolled.stderr
    people = HubPeople(tmp_path / "gallery.db")
    people.trust("gate", BoxKey.ensure(tmp_path / "box-key").public)
    said = edge("people", "scope", "Ann", "--boxes", "gate,gaet").stderr
    assert "not trusted with people: gaet (those that are: gate)" in said
    assert "edge people scope" in said
    for boxes in ("gate", "*", ""):
        assert edge("people", "scope", "Ann", "--boxes", boxes).stderr == ""
    again = edge("enroll", "Ann", photo("b.png", PINK), "--consent", "--boxes", "gate,dock")
    assert "dock" in again.stderr
    assert "boxes" in edge("people", "list").stdout
    assert "gate, dock" in edge("people", "list").stdout


def test_a_gallery_that_follows_a_hub_says_so_where_somebody_changes_or_lists_it(
    edge, photo, tmp_path
):
    edge("enroll", "Ann", photo("a.png", RED), "--consent")
    edge("people", "forget", "Ann", "--yes")
    with Gallery(tmp_path / "gallery.db", load_key(str(tmp_path / "key"))) as gallery:
        gallery.hub.put(Membership("hub", "g", "gate", 1, ""), [], ())
    told = edge("enroll", "Ann", photo("a.png", RED), "--consent", exit_code=78)
    assert "its people come from the hub of the fleet" in told.output
    assert "no one is named: the hub has not allowed naming yet" in edge("people", "list").output

"""Device files in fake trees: whose they are, and what opens them."""

import grp
import os

import pytest

from edge.diagnostics import devices as module
from edge.diagnostics.devices import User, advise_access, check_accelerators, check_cameras


def user(*groups, opens=False):
    return User("ann", frozenset(groups), lambda _: opens)


@pytest.fixture
def owners(monkeypatch):
    """The group and mode of each device by its name; a test may not give files away."""
    table = {}
    real = module.Path.stat

    def answer(path, **options):
        if path.name in table:
            group, mode = table[path.name]
            return os.stat_result((0o020000 | mode, 0, 0, 1, 0, group, 0, 0, 0, 0))
        return real(path, **options)

    monkeypatch.setattr(module.Path, "stat", answer)
    names = {44: "video", 105: "render"}

    def name(number):
        if number in names:
            return grp.struct_group((names[number], "x", number, []))
        raise KeyError(number)

    monkeypatch.setattr(module.grp, "getgrgid", name)
    return table


def plug_in(root, *names):
    for name in names:
        (root / "dev" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "dev" / name).touch()


def test_a_machine_without_devices_has_no_line(tmp_path):
    assert not list(check_accelerators(tmp_path, user()))
    (camera,) = check_cameras(tmp_path, user())
    assert camera.ok


def test_devices_that_may_be_opened_are_listed_shortly(tmp_path):
    plug_in(tmp_path, "dri/renderD128", "nvidia0", "nvidiactl", "nvhost-gpu", "nvmap")
    (tmp_path / "dev/nvidia-caps").mkdir()
    (finding,) = check_accelerators(tmp_path, user(opens=True))
    assert finding.ok
    assert finding.detail == "/dev/dri/renderD128, /dev/nvidia0, /dev/nvidiactl and 2 more"


def test_missing_groups_are_named_with_the_command(tmp_path, owners):
    plug_in(tmp_path, "dri/renderD128", "nvhost-gpu")
    owners.update({"renderD128": (105, 0o660), "nvhost-gpu": (44, 0o660)})
    (finding,) = check_accelerators(tmp_path, user())
    assert not finding.ok
    assert finding.detail == "/dev/dri/renderD128, /dev/nvhost-gpu: no permission for ann"
    assert finding.hint == "sudo usermod -aG render,video ann, then log in again"


def test_a_camera_is_told_with_the_group_that_opens_it(tmp_path, owners):
    plug_in(tmp_path, "video0")
    owners["video0"] = (44, 0o660)
    (camera,) = check_cameras(tmp_path, user())
    assert camera.detail == "/dev/video0: no permission"
    assert camera.hint == "sudo usermod -aG video ann, then log in again"


def test_a_group_that_was_given_since_the_login_needs_a_new_one(tmp_path, owners):
    owners["video0"] = (44, 0o660)
    advice = advise_access([tmp_path / "video0"], user("video"))
    assert advice == "log in again: ann was added to video"


def test_a_group_without_a_name_is_that_of_a_container(tmp_path, owners):
    owners["renderD128"] = (993, 0o660)
    advice = advise_access([tmp_path / "renderD128"], user())
    assert advice == "start the container with --group-add 993"


@pytest.mark.parametrize("owner", [(0, 0o660), (44, 0o600), (44, 0o640)])
def test_no_one_is_added_to_root_or_to_a_group_that_cannot_use_it(tmp_path, owners, owner):
    owners["renderD128"] = owner
    assert "udev rule" in advise_access([tmp_path / "renderD128"], user())


def test_a_device_that_is_gone_is_no_traceback(tmp_path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/video0").symlink_to("nowhere")
    (tmp_path / "dev/nvidia0").symlink_to("nowhere")
    assert advise_access([tmp_path / "dev/video0"], user())
    assert all(finding.hint for finding in check_cameras(tmp_path, user()))
    assert all(finding.hint for finding in check_accelerators(tmp_path, user()))


def test_the_current_user_has_a_name():
    assert User.current().name

"""deploy/compose.yaml and the Containerfiles: what they name exists, and ports and paths agree."""

import re
import shutil
import subprocess
from pathlib import Path, PurePosixPath

import pytest
import yaml

from edge import config_file
from edge.config import Http, is_loopback
from edge.sinks import zeromq

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
MONITORING = DEPLOY / "monitoring"
CONTAINERFILES = sorted(DEPLOY.glob("Containerfile*"))
PORTS = {"prometheus": "9090", "grafana": "3000"}  # that these programs listen on
MESSAGES_PORT = re.search(r":(\d+)$", zeromq.Options().bind)[1]
HTTP_PORT = str(Http().port)


def read_yaml(name):
    return yaml.safe_load((MONITORING / name).read_text(encoding="utf-8"))


def mounts(service):
    """Folder or file of this repository -> where the container sees it; volumes are left out."""
    parts = [entry.split(":") for entry in SERVICES[service]["volumes"]]
    return {(DEPLOY / source).resolve(): target for source, target, *_ in parts if "/" in source}


def volumes(service):
    parts = [entry.split(":") for entry in SERVICES[service].get("volumes", ())]
    return {source: target for source, target, *_ in parts if "/" not in source}


def instructions(path, name):
    """The arguments of each instruction of that name, lines continued."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(rf"^{name} (.*)$", text, re.MULTILINE)


def where(service, file):
    """The path inside the container of a file of the repository."""
    for source, target in mounts(service).items():
        if file == source:
            return target
        if source in file.parents:
            return str(PurePosixPath(target) / file.relative_to(source))
    raise AssertionError(f"{service} does not see {file}")


# --- compose.yaml -----------------------------------------------------------------------------


def test_only_the_daemon_runs_without_a_profile():
    assert [name for name, service in SERVICES.items() if "profiles" not in service] == ["edge"]


def test_the_profiles_are_those_of_the_how_to():
    profiles = {profile for service in SERVICES.values() for profile in service.get("profiles", ())}
    text = (ROOT / "docs" / "how-to" / "containers.md").read_text(encoding="utf-8")
    assert profiles == set(re.findall(r"--profile (\w+)", text))


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_mounted_exists_and_is_mounted_read_only(service):
    for entry in SERVICES[service]["volumes"]:
        source, *_, mode = entry.split(":")
        if "/" in source:
            assert (DEPLOY / source).exists()
            assert mode == "ro"


def test_volumes_are_declared_and_used():
    used = {name for service in SERVICES for name in volumes(service)}
    assert used == set(COMPOSE["volumes"])


@pytest.mark.parametrize("service", SERVICES)
def test_ports_are_published_to_this_machine_alone(service):
    for entry in SERVICES[service]["ports"]:
        host, _, _ = entry.split(":")
        assert is_loopback(host)


def test_ports_are_those_of_the_configuration():
    published = [entry.split(":")[1:] for entry in SERVICES["edge"]["ports"]]
    assert published == [[MESSAGES_PORT] * 2, [HTTP_PORT] * 2]
    for name, port in PORTS.items():
        assert f"127.0.0.1:{port}:{port}" in SERVICES[name]["ports"]


def test_the_configuration_listens_where_the_ports_lead():
    path = DEPLOY / "container" / "edge.toml"
    settings = config_file.load(path)
    assert (settings.http.host, str(settings.http.port)) == ("0.0.0.0", HTTP_PORT)
    assert [sink["bind"] for sink in settings.sinks] == [f"tcp://0.0.0.0:{MESSAGES_PORT}"]
    (command,) = instructions(DEPLOY / "Containerfile", "CMD")
    assert where("edge", path) in command


def test_the_state_is_a_volume_where_the_image_has_it():
    (folder,) = instructions(DEPLOY / "Containerfile", "VOLUME")
    assert volumes("edge") == {"edge": folder}


def test_the_image_is_built_from_the_containerfile():
    build = SERVICES["edge"]["build"]
    context = (DEPLOY / build["context"]).resolve()
    assert context == ROOT
    assert context / build["dockerfile"] == DEPLOY / "Containerfile"


# --- what is provisioned ----------------------------------------------------------------------


def test_prometheus_scrapes_the_daemon_and_reads_the_alerts():
    prometheus = read_yaml("prometheus.yml")
    (job,) = prometheus["scrape_configs"]
    targets = [target for entry in job["static_configs"] for target in entry["targets"]]
    assert targets == [f"edge:{HTTP_PORT}"]
    assert re.match("edge.*", job["job_name"]), "the alerts ask for such a job"
    inside = PurePosixPath(where("prometheus", MONITORING / "prometheus.yml"))
    assert inside == PurePosixPath("/etc/prometheus/prometheus.yml"), "where its image looks"
    (rules,) = prometheus["rule_files"]
    assert where("prometheus", MONITORING / "alerts.yml") == str(inside.parent / rules)


def test_prometheus_accepts_its_configuration():
    if shutil.which("promtool") is None:
        pytest.skip("not installed: promtool, of the package prometheus")
    command = ["promtool", "check", "config", str(MONITORING / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_grafana_finds_its_data_source():
    (source,) = read_yaml("grafana-source.yml")["datasources"]
    assert source["type"] == "prometheus"
    assert source["url"] == f"http://prometheus:{PORTS['prometheus']}"
    inside = PurePosixPath(where("grafana", MONITORING / "grafana-source.yml"))
    assert inside.parent == PurePosixPath("/etc/grafana/provisioning/datasources")


def test_grafana_finds_the_board():
    board = where("grafana", MONITORING / "grafana.json")
    (provider,) = read_yaml("grafana-boards.yml")["providers"]
    assert str(PurePosixPath(board).parent) == provider["options"]["path"]
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == board
    inside = PurePosixPath(where("grafana", MONITORING / "grafana-boards.yml"))
    assert inside.parent == PurePosixPath("/etc/grafana/provisioning/dashboards")


# --- Containerfiles ---------------------------------------------------------------------------


def allowed():
    """What .dockerignore leaves in the context: patterns after an exclamation mark."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines, "nothing else is sent"
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


@pytest.mark.parametrize("path", CONTAINERFILES, ids=lambda path: path.name)
def test_what_is_copied_exists_and_is_in_the_context(path):
    copied = [line for line in instructions(path, "COPY") if not line.startswith("--from")]
    assert copied
    for line in copied:
        for source in line.split()[:-1]:
            assert (ROOT / source).exists()
            assert any(PurePosixPath(source).match(pattern) for pattern in allowed()), source


def test_what_the_project_needs_to_be_installed_is_copied():
    needed = {"edge", "trainers", "deploy", "pyproject.toml", "LICENSE", "NOTICE", "README.md"}
    copied = " ".join(instructions(DEPLOY / "Containerfile", "COPY")).split()
    assert needed <= set(copied)


def runtime(path):
    """How a container of the image runs: everything from its user on."""
    text = path.read_text(encoding="utf-8")
    return text[text.index("RUN useradd") :]


def test_the_images_of_cpu_and_jetson_run_alike():
    assert runtime(DEPLOY / "Containerfile") == runtime(DEPLOY / "Containerfile.jetson")


@pytest.mark.parametrize(
    ("name", "lock", "expected"),
    [
        ("Containerfile.gpu", "dev", ["tensorrt-rtx-cu12", "cuda-bindings", "onnx"]),
        ("Containerfile.jetson", "test", ["cuda-bindings", "onnx"]),
    ],
)
def test_what_a_gpu_needs_is_taken_from_the_lock_with_its_hashes(name, lock, expected):
    (program,) = re.findall(r"awk '([^']*)'", (DEPLOY / name).read_text(encoding="utf-8"))
    command = ["awk", program, str(ROOT / ".ci" / f"{lock}.lock")]
    taken = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r"^([a-z0-9-]+)==", taken, re.MULTILINE))
    assert set(expected) <= names
    requirements = re.split(r"\n(?=[a-z])", taken.strip())
    assert all("--hash=sha256:" in requirement for requirement in requirements)

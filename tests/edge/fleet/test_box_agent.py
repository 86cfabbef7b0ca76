"""A box takes what the hub wants, refuses what cannot work, and goes back to what worked."""

import asyncio
import contextlib
import errno
import re
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ConfigError, EdgeError
from edge.fleet.box_agent import BoxAgent
from edge.fleet.box_store import BoxStore
from edge.fleet.models import bind
from edge.fleet.node_control import NodeControl
from edge.fleet.records import Desired, Outcome, Report
from edge.fleet.rollout import roll_out, split_waves
from edge.fleet.store import FleetStore, Revision
from edge.wire.nats_connection import NatsServers
from tests.support.nats_server import nats_server

PATIENCE_S = 20
NOWHERE = NatsServers(("nats://127.0.0.1:1",))


class ToldControl(NodeControl):
    """A node whose answers the text of its configuration says."""

    def __init__(self, configuration):
        super().__init__(configuration, ("true",), ("true",), 1)
        self.loaded = []
        self.is_killed = True

    def check(self, candidate):
        return "it has mistakes" if "wrong" in candidate.read_text() else ""

    def load(self):
        text = self.configuration.read_text()
        self.loaded.append(text)
        if "killed" in text and self.is_killed:
            raise KeyboardInterrupt
        return "the node was not ready" if "broken" in text else ""

    def is_ready(self):
        return "broken" not in self.configuration.read_text()


@pytest.fixture
def file(tmp_path):
    """The configuration of a node."""
    path = tmp_path / "gate.toml"
    path.write_text("good")
    path.chmod(0o640)
    return path


@pytest.fixture
def server(tmp_path):
    with nats_server(tmp_path / "nats") as running:
        yield running


def agent_of(file, servers=NOWHERE, box="gate", is_over=lambda: False):
    return BoxAgent(box, servers, ToldControl(file), is_over)


def revision(number, text):
    return Revision(number, Desired(text, "ann", 0.0))


def outcome(agent):
    report = agent.describe()
    return report.revision, report.outcome, report.problem


def test_what_is_wanted_is_written_and_loaded_once(file):
    agent = agent_of(file)
    agent.take(revision(7, "better"))
    agent.take(revision(7, "better"))
    assert agent._control.loaded == ["better"]
    assert outcome(agent) == (7, Outcome.APPLIED, "")
    assert file.read_text() == "better"
    assert file.stat().st_mode & 0o777 == 0o640
    assert file.with_name("gate.toml.last-good").read_text() == "good"


def test_what_has_mistakes_is_refused_and_nothing_is_written(file):
    agent = agent_of(file)
    agent.take(revision(7, "wrong"))
    assert outcome(agent) == (7, Outcome.REFUSED, "it has mistakes")
    assert file.read_text() == "good"
    assert agent._control.loaded == []
    assert sorted(path.name for path in file.parent.iterdir()) == [".gate.toml.fleet", "gate.toml"]


def test_a_revision_that_nobody_can_read_is_refused(file):
    agent = agent_of(file)
    agent.take(Revision(7, None))
    assert outcome(agent)[:2] == (7, Outcome.REFUSED)


def test_a_node_that_does_not_become_ready_gets_the_file_before(file):
    agent = agent_of(file)
    agent.take(revision(7, "broken"))
    assert outcome(agent) == (7, Outcome.ROLLED_BACK, "the node was not ready")
    assert agent._control.loaded == ["broken", "good"]
    assert file.read_text() == "good"


def test_what_runs_already_is_applied_without_a_word_to_the_node(file):
    agent = agent_of(file)
    agent.take(revision(7, "good"))
    assert outcome(agent) == (7, Outcome.APPLIED, "")
    assert agent._control.loaded == []


@pytest.mark.parametrize(
    ("text", "after", "kept"),
    [
        ("killed broken", Outcome.ROLLED_BACK, "good"),
        ("killed", Outcome.APPLIED, "killed"),
    ],
)
def test_an_agent_that_is_killed_while_it_tries_finishes_when_it_is_back(file, text, after, kept):
    agent = agent_of(file)
    with pytest.raises(KeyboardInterrupt):
        agent.take(revision(7, text))
    again = agent_of(file)
    again._control.is_killed = False
    again.recover()
    assert outcome(again)[:2] == (7, after)
    assert file.read_text() == kept
    again.take(revision(7, text))
    assert outcome(again)[:2] == (7, after)


def test_an_agent_that_is_killed_while_it_goes_back_goes_back(file):
    agent = agent_of(file)
    agent._control.is_killed = False
    loads = iter(["the node was not ready"])

    def load():
        for answer in loads:
            return answer
        raise KeyboardInterrupt

    agent._control.load = load
    with pytest.raises(KeyboardInterrupt):
        agent.take(revision(7, "bad"))
    again = agent_of(file)
    again.recover()
    assert again._control.loaded == ["good"]
    assert outcome(again) == (7, Outcome.ROLLED_BACK, "the node was not ready")


def test_a_hub_that_was_set_up_anew_counts_from_one_again(file):
    agent = agent_of(file)
    agent.take(revision(1, "better"))
    agent.take(revision(1, "another"))
    assert file.read_text() == "another"
    assert agent._control.loaded == ["better", "another"]


def test_two_agents_of_one_configuration_are_one_too_many(file):
    with agent_of(file)._alone(), pytest.raises(EdgeError, match="another agent keeps"):
        agent_of(file).run()


@pytest.mark.parametrize("value", [b"", b"{", b"\xff", b'{"x":' + b"[" * 100_000, b"[]"])
def test_what_nobody_can_read_in_the_buckets_disturbs_nobody(server, value):
    async def act(store):
        await store._boxes.put("eve", value)
        await store._desired.put("eve", value)
        return await store.list_reports(), await BoxStore(store.client, "eve").read_wanted()

    reports, wanted = use(server, act)
    assert reports["eve"].problem == "its report cannot be read"
    assert not reports["eve"].is_ready
    assert wanted.desired is None


def test_what_could_not_be_written_is_tried_again(file, monkeypatch):
    agent = agent_of(file)
    write = agent._write

    def fill(path, content):
        if path == file:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    monkeypatch.setattr(agent, "_write", fill)
    with pytest.raises(OSError, match="No space"):
        agent.take(revision(7, "better"))
    assert file.read_text() == "good"
    again = agent_of(file)
    again.recover()
    again.take(revision(7, "better"))
    assert outcome(again) == (7, Outcome.APPLIED, "")
    assert file.read_text() == "better"


@given(st.integers(1, 300), st.sampled_from(["1,5%,100%", "1", "10%,20%", "3,50%,100%", "100%"]))
def test_waves_grow_and_take_every_box_once(count, waves):
    boxes = [f"box{n}" for n in range(count)]
    plan = split_waves(boxes, waves)
    assert [box for wave in plan for box in wave] == boxes
    assert all(plan)
    if waves.startswith("1,"):
        assert len(plan[0]) == 1


@pytest.mark.parametrize("waves", ["", "a", "0", "-1", "nan", "50%,10%", "1,,2", "inf"])
def test_waves_that_are_none_are_refused(waves):
    with pytest.raises(ConfigError):
        split_waves(["a", "b", "c", "d"], waves)


# --- over a real server ---------------------------------------------------------------------------


@contextlib.contextmanager
def running(agents_by_box, over):
    threads = [threading.Thread(target=agent.run) for agent in agents_by_box.values()]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert not any(thread.is_alive() for thread in threads)


def use(server, act):
    async def connected():
        client = await NatsServers((server.url,)).connect()
        try:
            return await act(await FleetStore.open(client))
        finally:
            await client.close()

    return asyncio.run(connected())


def make_boxes(tmp_path, server, count, over):
    agents = {}
    for n in range(count):
        folder = tmp_path / f"box{n}"
        folder.mkdir()
        (folder / "edge.toml").write_text("good")
        servers = NatsServers((server.url,))
        agents[f"box{n}"] = agent_of(folder / "edge.toml", servers, f"box{n}", over.is_set)
    return agents


def read_texts(tmp_path, count):
    return [(tmp_path / f"box{n}" / "edge.toml").read_text() for n in range(count)]


def test_twenty_boxes_take_a_configuration_in_waves_and_a_wrong_one_stops_at_the_first(
    tmp_path, server
):
    over, count = threading.Event(), 20
    agents = make_boxes(tmp_path, server, count, over)
    said = []

    def rollout(texts):
        wanted = {box: Desired(text, "ann", time.time()) for box, text in texts.items()}
        plan = split_waves([*wanted], "1,5,100%")
        return use(server, lambda store: roll_out(store, wanted, plan, PATIENCE_S, said.append))

    use(server, lambda store: store.list_reports())
    with running(agents, over):
        done = rollout({box: f"for {box}" for box in agents})
        assert (len(done.applied), done.failed, done.untouched) == (count, {}, ())
        assert read_texts(tmp_path, count) == [f"for box{n}" for n in range(count)]
        mixed = {box: "broken" if box == "box3" else "newer" for box in agents}
        done = rollout(mixed)
        assert done.failed == {"box3": "rolled back: the node was not ready"}
        assert sorted(done.applied) == ["box0", "box1", "box2", "box4"]
        assert len(done.untouched) == count - 5
        assert read_texts(tmp_path, 6) == [
            "newer",
            "newer",
            "newer",
            "for box3",
            "newer",
            "for box5",
        ]
        done = rollout(dict.fromkeys(agents, "wrong"))
        assert done.failed == {"box0": "refused: it has mistakes"}
        assert len(done.untouched) == count - 1
        reports = use(server, lambda store: store.list_reports())
    assert len(reports) == count
    assert reports["box0"].problem == "it has mistakes"
    assert reports["box0"].is_ready


def test_a_hub_that_is_away_or_killed_is_waited_for(tmp_path, server):
    over = threading.Event()
    use(server, lambda store: store.list_reports())
    server.kill()
    agents = make_boxes(tmp_path, server, 1, over)
    with running(agents, over):
        time.sleep(1)
        server.start()
        wanted = {"box0": Desired("first", "ann", 0.0)}
        plan = [["box0"]]
        done = use(server, lambda store: roll_out(store, wanted, plan, PATIENCE_S, print))
        assert done.applied == ("box0",)
        server.kill()
        time.sleep(1)
        server.start()
        wanted = {"box0": Desired("second", "ann", 0.0)}
        done = use(server, lambda store: roll_out(store, wanted, plan, PATIENCE_S, print))
        assert done.applied == ("box0",)
    assert read_texts(tmp_path, 1) == ["second"]


def test_what_a_box_says_neither_moves_the_terminal_nor_the_clock(tmp_path, server):
    said = []

    async def act(store):
        await store.want("gate", Desired("x", "ann", 0.0))
        gate = BoxStore(store.client, "gate")
        number = (await gate.read_wanted()).number
        hostile = Report(
            "gate", "0.1.0", number + 1, Outcome.REFUSED, "\x1b[2J" + "x" * 100_000, True, 4e9
        )
        await gate.report(hostile)
        wanted = {"gate": Desired("y", "ann", 0.0)}
        return await roll_out(store, wanted, [["gate"]], 5, said.append), await store.list_reports()

    done, reports = use(server, act)
    assert "gate" in done.failed
    assert "\x1b" not in said[1]
    assert len(said[1]) < 3000
    assert abs(reports["gate"].at_s - time.time()) < 60


def test_a_box_that_is_away_is_named_and_takes_it_when_it_is_back(tmp_path, server):
    over = threading.Event()
    wanted, plan = {"box0": Desired("later", "ann", 0.0)}, [["box0"]]
    done = use(server, lambda store: roll_out(store, wanted, plan, 1, print))
    assert "said nothing for 1 s" in done.failed["box0"]
    agents = make_boxes(tmp_path, server, 1, over)
    with running(agents, over):
        deadline_s = time.monotonic() + PATIENCE_S
        while read_texts(tmp_path, 1) != ["later"]:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)


# --- models ---------------------------------------------------------------------------------------


def bound(tmp_path, content, name="gate.onnx"):
    """A configuration that names a model, as boxes get it, and its files."""
    source = tmp_path / "source"
    source.mkdir(exist_ok=True)
    (source / name).write_bytes(content)
    text = f'detector = "hub:{name}"  # hub:{name} stays\n'
    return bind({"detector": f"hub:{name}"}, text, source)


def test_a_model_travels_once_and_goes_back_with_its_configuration(tmp_path, server):
    over = threading.Event()
    agents = make_boxes(tmp_path, server, 2, over)
    contents = [bytes([n]) * 3_000_000 for n in range(3)]

    def rollout(text, files):
        async def act(store):
            await store.send_models(files)
            wanted = {box: Desired(text, "ann", time.time()) for box in agents}
            return await roll_out(store, wanted, [[*agents]], PATIENCE_S, print)

        return use(server, act)

    def models(box):
        folder = tmp_path / box / "models"
        return {path.read_bytes()[:1] for path in folder.iterdir()}

    texts = []
    with running(agents, over):
        for content in contents:
            text, files = bound(tmp_path, content)
            texts.append(text)
            assert sorted(rollout(text, files).applied) == ["box0", "box1"]
        assert models("box0") == models("box1") == {b"\1", b"\2"}
        assert rollout(texts[0], {}).failed == {}  # it was deleted on boxes, and is on the hub
        assert models("box0") == {b"\0", b"\2"}
    [kept] = re.findall(r'detector = "models/([0-9a-f]{64}-gate.onnx)"', texts[0])
    assert texts[0].endswith("# hub:gate.onnx stays\n")
    assert (tmp_path / "box0" / "models" / kept).read_bytes() == contents[0]


def test_a_model_that_the_hub_lacks_or_that_is_another_is_refused(tmp_path, server):
    over = threading.Event()
    agents = make_boxes(tmp_path, server, 1, over)
    text, files = bound(tmp_path, b"good")
    wanted = {"box0": Desired(text, "ann", 0.0)}

    def rollout(files):
        async def act(store):
            await store.send_models(files)
            return await roll_out(store, wanted, [["box0"]], PATIENCE_S, print)

        return use(server, act).failed["box0"]

    with running(agents, over):
        assert "the server has no bucket" in rollout_nothing(server, wanted)
        forged = tmp_path / "forged"
        forged.write_bytes(b"evil")
        assert "the hub sends another file" in rollout(dict.fromkeys(files, forged))
        wanted = {"box0": Desired(text.replace("gate", "other"), "ann", 0.0)}
        assert "the hub has no file" in rollout({})
    assert [*(tmp_path / "box0" / "models").iterdir()] == []
    assert read_texts(tmp_path, 1) == ["good"]


def rollout_nothing(server, wanted):
    """What a box says of a configuration whose models nobody sent."""
    act = lambda store: roll_out(store, wanted, [[*wanted]], PATIENCE_S, print)  # noqa: E731
    return str(use(server, act).failed)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b.onnx", "", ".hidden", "a b"])
def test_a_reference_that_leaves_the_folder_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="names no file"):
        bind({"models": [{"detector": f"hub:{name}"}]}, "", tmp_path)


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        bind({"detector": "hub:gate.onnx"}, "", tmp_path)


def test_what_is_wanted_of_another_box_is_not_taken(server):
    async def act(store):
        await store.want("gate", Desired("of gate", "ann", 0.0))
        copied = await store._desired.get("gate")
        await store._desired.put("door", copied.value)  # as a server's answer in the wrong place
        return [await BoxStore(store.client, box).read_wanted() for box in ("gate", "door")]

    gate, door = use(server, act)
    assert gate.desired.text == "of gate"
    assert door.desired is None

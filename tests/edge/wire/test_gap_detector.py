import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.wire.gap_detector import MAX_BOOTS, Gap, GapDetector, Restarted

A, B = "v1/detections/a/", "v1/tracks/b/"


def arrive(detector, *numbers, topic=A, boot="x"):
    detector.check_boot("n", boot)
    return [detector.check_message("n", boot, topic, seq) for seq in numbers]


def test_joining_late_is_no_gap():
    assert arrive(GapDetector(), 1000, 1001) == [(None, False), (None, False)]


def test_a_missing_number_is_a_gap():
    assert arrive(GapDetector(), 5, 9)[1] == (Gap(A, 6, 9, 3), False)


def test_an_old_number_is_a_repeat_and_no_gap():
    assert arrive(GapDetector(), 5, 5, 3, 6) == [
        (None, False),
        (None, True),
        (None, True),
        (None, False),
    ]


def test_topics_count_for_themselves():
    detector = GapDetector()
    arrive(detector, 5)
    assert arrive(detector, 9, topic=B) == [(None, False)]


def test_a_new_boot_is_a_restart_and_no_gap():
    detector = GapDetector()
    assert detector.check_boot("n", "x") is None, "the first boot heard of is no restart"
    arrive(detector, 5)
    assert detector.check_boot("n", "y") == Restarted("n", "x", "y")
    assert detector.check_boot("n", "y") is None
    assert arrive(detector, 1, 2, boot="y") == [(None, False), (None, False)]


def test_two_daemons_under_one_name_are_told_apart():
    detector = GapDetector()
    told = [detector.check_boot("n", boot) for boot in "xyxyxy"]
    assert told == [None, Restarted("n", "x", "y"), None, None, None, None]


def test_nodes_do_not_restart_each_other():
    detector = GapDetector()
    assert [detector.check_boot(node, node) for node in "abab"] == [None] * 4


def test_memory_is_bounded_however_often_a_node_restarts():
    detector = GapDetector()
    for boot in range(1000):
        arrive(detector, 1, boot=str(boot))
    assert len(detector._boots) <= MAX_BOOTS


def test_a_loss_at_the_end_shows_at_the_second_heartbeat():
    detector = GapDetector()
    arrive(detector, 5)
    assert detector.check_heartbeat("n", "x", {A: 7}) == [], "7 may still be on its way"
    assert detector.check_heartbeat("n", "x", {A: 7}) == [Gap(A, 6, 8, 2)]
    assert detector.check_heartbeat("n", "x", {A: 7}) == [], "told once"
    assert arrive(detector, 8) == [(None, False)]


def test_a_topic_all_of_whose_messages_were_lost_is_a_gap():
    detector = GapDetector()
    detector.check_heartbeat("n", "x", {})
    detector.check_heartbeat("n", "x", {A: 3})
    assert detector.check_heartbeat("n", "x", {A: 3}) == [Gap(A, 1, 4, 3)]


def test_what_was_published_before_we_joined_is_no_gap():
    detector = GapDetector()
    assert [detector.check_heartbeat("n", "x", {A: 50}) for _ in range(3)] == [[], [], []]
    assert arrive(detector, 51) == [(None, False)]


@pytest.mark.parametrize("later", [51, 53])
def test_heartbeats_tell_where_an_unheard_topic_stood(later):
    detector = GapDetector()
    detector.check_heartbeat("n", "x", {A: 50})
    detector.check_heartbeat("n", "x", {A: 50})
    gap = arrive(detector, later)[0][0]
    assert (gap.missed if gap else 0) == later - 51


def test_the_first_messages_of_a_topic_that_begins_while_we_listen_are_missed():
    detector = GapDetector()
    for _ in range(2):
        detector.check_heartbeat("n", "x", {A: 19})
    assert arrive(detector, 3, topic=B) == [(Gap(B, 1, 3, 2), False)]
    assert detector.check_heartbeat("n", "x", {A: 19, B: 3}) == []


def test_counting_begins_with_the_snapshot():
    detector = GapDetector()
    assert detector.check_snapshot("n", "x", {A: 5}) == []
    assert arrive(detector, 7) == [(Gap(A, 6, 7, 1), False)], "before the first heartbeat"
    assert arrive(detector, 2, topic=B) == [(Gap(B, 1, 2, 1), False)], "it was not there before"


def test_a_snapshot_that_others_receive_too_tells_what_is_lost():
    detector = GapDetector()
    arrive(detector, 5)
    assert detector.check_snapshot("n", "x", {A: 7}) == [Gap(A, 6, 8, 2)]
    assert detector.check_snapshot("n", "x", {A: 7}) == []


def test_of_a_new_boot_everything_counts_for_who_was_there_before():
    detector = GapDetector()
    arrive(detector, 5)
    assert arrive(detector, 3, boot="y") == [(Gap(A, 1, 3, 2), False)]


def test_what_a_boot_claimed_last_is_missed_when_it_is_over():
    detector = GapDetector()
    arrive(detector, 5)
    detector.check_heartbeat("n", "x", {A: 8})
    detector.check_boot("n", "y")
    assert detector.finish_boot("n", "x") == [Gap(A, 6, 9, 3)]
    assert detector.finish_boot("n", "x") == []


deeds = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([A, B]), st.booleans()),  # a message, lost or not
        st.tuples(st.just("heartbeat"), st.booleans()),
        st.tuples(st.just("again"), st.integers(1, 5)),  # an old message comes once more
    ),
    max_size=80,
)


@given(deeds, st.integers(0, 20))
def test_exactly_what_was_lost_is_reported(deeds, before):
    """From the snapshot on, every lost number is in one gap and no other number is."""
    detector, last, lost, gaps = GapDetector(), {A: before, B: 0}, [], []
    detector.check_snapshot("n", "x", {topic: seq for topic, seq in last.items() if seq})
    beat = [("heartbeat", False)] * 2
    for deed, flag in [*deeds, *beat]:
        if deed == "heartbeat":
            if not flag:
                claims = {topic: seq for topic, seq in last.items() if seq}
                gaps += detector.check_heartbeat("n", "x", claims)
        elif deed == "again":
            if last[A] - flag > 0 and (A, last[A] - flag) not in lost:
                gap, repeat = detector.check_message("n", "x", A, last[A] - flag)
                assert gap is None
                assert repeat
        else:
            last[deed] += 1
            if flag:
                lost.append((deed, last[deed]))
            else:
                gaps.append(detector.check_message("n", "x", deed, last[deed])[0])
    reported = [(gap.topic, seq) for gap in gaps if gap for seq in range(gap.expected, gap.got)]
    assert sorted(reported) == sorted(lost)
    assert all(gap.missed == gap.got - gap.expected for gap in gaps if gap)


@given(st.lists(st.sampled_from(["message", "heartbeat", "overtaking heartbeat"]), max_size=60))
def test_a_heartbeat_that_overtakes_a_message_makes_no_gap(deeds):
    """The claim is composed in another thread and may leave before what it is about."""
    detector, seq = GapDetector(), 0
    for deed in deeds:
        gaps = []
        if deed == "overtaking heartbeat":
            gaps = detector.check_heartbeat("n", "x", {A: seq + 1})
        elif deed == "heartbeat":
            gaps = detector.check_heartbeat("n", "x", {A: seq} if seq else {})
        if deed != "heartbeat":
            seq += 1
            gap, repeat = detector.check_message("n", "x", A, seq)
            gaps += [gap] if gap else []
            assert not repeat
        assert gaps == []

"""The gate: whoever closes it is alone, and nobody waits for ever."""

import threading

from edge.service.gate import Gate

GENEROUS_S = 10


def test_who_closes_it_waits_for_those_inside_and_holds_up_those_who_come():
    gate, leaves, was_closed, said = Gate(), threading.Event(), threading.Event(), []

    def stay():
        with gate.enter():
            said.append("in")
            leaves.wait(GENEROUS_S)
            said.append("out")

    def come_later():
        was_closed.wait(GENEROUS_S)
        with gate.enter():
            said.append("later")

    threads = [threading.Thread(target=work) for work in (stay, come_later)]
    for thread in threads:
        thread.start()
    while not said:
        pass
    threading.Timer(0.05, leaves.set).start()
    with gate.close(GENEROUS_S) as is_alone:
        assert is_alone
        was_closed.set()
        threads[1].join(0.1)
        said.append("alone")
    for thread in threads:
        thread.join(GENEROUS_S)
    assert said == ["in", "out", "alone", "later"]


def test_it_is_open_again_when_those_inside_do_not_leave_or_a_change_fails():
    gate = Gate()
    with gate.enter(), gate.close(0.01) as is_alone:
        assert not is_alone
    try:
        with gate.close(GENEROUS_S):
            raise ValueError
    except ValueError:
        pass
    with gate.enter():
        pass
    with gate.close(0) as is_alone:
        assert is_alone

"""Repeated warnings: what is summed up is still the whole sentence."""

import logging

import pytest

from edge.repeated_warning import RepeatedWarnings


@pytest.mark.parametrize(("times", "often"), [(75, "75 more times"), (1, "1 more time")])
def test_the_sum_says_what_failed_and_why(caplog, times, often):
    now_s = [0.0]
    warnings = RepeatedWarnings(logging.getLogger("edge.test"), monotonic_s=lambda: now_s[0])
    with caplog.at_level(logging.INFO, "edge.test"):
        for _ in range(times + 1):
            warnings.tell("sink failed", "sink failed: the address is in use")
        warnings.sum_up()
        now_s[0] = 61
        warnings.sum_up()
    told = "sink failed: the address is in use"
    assert [record.getMessage() for record in caplog.records] == [told, f"{told} ({often} since)"]


def test_good_news_is_summed_up_at_its_own_level(caplog):
    now_s = [0.0]
    warnings = RepeatedWarnings(logging.getLogger("edge.test"), monotonic_s=lambda: now_s[0])
    with caplog.at_level(logging.INFO, "edge.test"):
        for _ in range(3):
            warnings.tell("works", "it works again", logging.INFO)
        now_s[0] = 61
        warnings.sum_up()
    assert {record.levelno for record in caplog.records} == {logging.INFO}

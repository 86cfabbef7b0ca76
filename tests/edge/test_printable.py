import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.printable import (
    escape_controls,
    escape_controls_in_json,
    format_count,
    format_counts,
    pluralize,
)


def test_a_terminal_gets_nothing_to_obey():
    assert escape_controls("off\x1b[31mline\x9b2J\u202eok\n") == r"off\x1b[31mline\x9b2J\u202eok\n"
    assert escape_controls("two\nlines\x07", keep="\n") == "two\nlines\\x07"
    assert escape_controls("Zoë, 門") == "Zoë, 門"


@given(st.text())
def test_json_means_the_same_without_raw_controls(text):
    line = json.dumps({"reason": text}, ensure_ascii=False).encode(errors="surrogatepass") + b"\n"
    if any(0xD800 <= ord(character) < 0xE000 for character in text):
        return
    shown = escape_controls_in_json(line)
    assert json.loads(shown) == {"reason": text}
    assert shown[:-1].decode().isprintable()


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (1, ("photo",), "1 photo"),
        (0, ("photo",), "0 photos"),
        (2, ("person", "people"), "2 people"),
        (1, ("person", "people"), "1 person"),
    ],
)
def test_a_number_of_things_is_said_in_english(number, words, text):
    assert format_count(number, *words) == text


@pytest.mark.parametrize(
    ("label", "plural"),
    [
        ("person", "persons"),
        ("bus", "buses"),
        ("bench", "benches"),
        ("wine glass", "wine glasses"),
        ("sheep", "sheep"),
        ("knife", "knives"),
        ("lorry", "lorries"),
        ("donkey", "donkeys"),
    ],
)
def test_several_things_have_a_plural(label, plural):
    assert pluralize(label) == plural


def test_things_are_counted_the_most_frequent_first():
    counts = {"dog": 1, "cat": 0, "person": 5, "bus": 2}
    assert format_counts(counts) == "5 persons, 2 buses, 1 dog"
    assert format_counts({}) == ""

"""Search: exact, and closed to nonsense."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.people.fusion import fuse
from edge.people.gallery.index import NO_PERSON, Index, IndexedPerson
from tests.support.gallery import faces


def index_of(counts, negatives=None, seed=0):
    people = [IndexedPerson(f"id{row}", f"Person {row}") for row in range(len(counts))]
    templates = np.split(faces(sum(counts), seed), np.cumsum(counts)[:-1]) if counts else []
    return Index.build(people, templates, negatives or (), 16)


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), max_size=12), st.integers(0, 5), st.integers(0, 1000))
def test_search_equals_comparing_one_by_one(counts, queries, seed):
    index = index_of(counts, seed=seed)
    asked = faces(queries, seed + 1)
    found = index.search(asked)
    assert len(found) == queries
    owner = np.repeat(np.arange(len(counts)), counts)
    for row, query in enumerate(asked):
        best = [
            float(fuse(index.templates[owner == person]) @ query) for person in range(len(counts))
        ]
        ranked = [*sorted(best, reverse=True), -1, -1]
        assert found.similarity[row] == pytest.approx(ranked[0], abs=1e-5)
        assert found.second[row] == pytest.approx(ranked[1], abs=1e-5)
        assert found.margin[row] == pytest.approx(ranked[0] - ranked[1], abs=1e-5)
        assert found.person_row[row] == (int(np.argmax(best)) if best else NO_PERSON)
        assert not found.vetoed[row]


@pytest.mark.parametrize("spoil", [np.nan, np.inf, -np.inf, 0.0, 3.0])
def test_what_is_no_unit_vector_is_nobody(spoil):
    index = index_of([2, 2])
    asked = np.concatenate([index.templates[:1] * np.float32(spoil), index.templates[:1]])
    with np.errstate(invalid="ignore"):
        found = index.search(asked)
    assert found.person_row.tolist() == [NO_PERSON, 0]
    assert found.similarity[0] == -1
    assert found.second[0] == -1


def test_one_number_that_is_none_is_enough():
    index = index_of([1, 1])
    asked = index.templates[:1].copy()
    asked[0, 3] = np.nan
    assert index.search(asked).person_row[0] == NO_PERSON


def test_an_empty_index_knows_nobody():
    found = index_of([]).search(faces(3))
    assert found.person_row.tolist() == [NO_PERSON] * 3
    assert not found.vetoed.any()


def test_a_nearer_look_alike_vetoes_its_person_only():
    look_alike = faces(1, seed=7)
    none = np.zeros((0, 16), np.float32)
    index = index_of([1, 1], [look_alike, none])
    found = index.search(np.concatenate([look_alike, index.templates]))
    assert found.person_row[1:].tolist() == [0, 1]
    assert found.similarity[1:] == pytest.approx([1, 1], abs=1e-6)
    assert not found.vetoed[1:].any()
    assert found.person_row[0] == 1
    assert found.similarity[0] < 0.9


def test_when_the_only_person_is_vetoed_it_is_nobody():
    look_alike = faces(1, seed=7)
    found = index_of([2], [look_alike]).search(look_alike)
    assert found.person_row.tolist() == [NO_PERSON]
    assert found.similarity.tolist() == [-1]
    assert found.vetoed.tolist() == [True]


def test_without_a_person_all_others_are_left():
    index = index_of([2, 1, 3])
    rest = index.without("PERSON 1")
    assert [known.name for known in rest.people] == ["Person 0", "Person 2"]
    assert rest.search(index.templates[3:4]).person_row.tolist() == [1]
    assert len(index.without(" person\u00a01 ")) == 2  # the same name, typed differently
    assert len(index_of([1]).without("id0")) == 0
    assert len(index_of([]).without("id0")) == 0

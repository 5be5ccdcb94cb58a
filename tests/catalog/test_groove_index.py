import numpy as np
import pytest

from catalog.groove_index import build_proposer, tune_recall
from catalog.vectors import SHIFTS, shift_beats
from tests.grooves import compare, draw_vectors, make_index

TUNED = (20, 0.992, 50)  # neighbours, their recall, vectors that are asked


def test_a_groove_is_the_same_from_any_half_of_a_beat():
    vectors = draw_vectors(5)
    index = make_index(vectors)
    for halves in range(SHIFTS):
        scores, found = index.find_nearest(shift_beats(vectors)[:, halves], 1)
        np.testing.assert_array_equal(found[:, 0], np.arange(5))
        np.testing.assert_allclose(scores[:, 0], 1, atol=1e-5)


def test_similarity_is_symmetric():
    vectors = draw_vectors(30)
    np.testing.assert_allclose(compare(vectors, vectors), compare(vectors, vectors).T, atol=1e-6)


@pytest.mark.parametrize("kind", ["Flat", "IVF16,PQ48x4fsr"])
def test_every_kind_finds_the_nearest(kind):
    vectors = draw_vectors(2000, families=40)
    index = make_index(vectors, kind)
    assert tune_recall(index, *TUNED) > 0.98
    scores, found = index.find_nearest(vectors[:20], 5)
    truth = np.sort(compare(vectors[:20], vectors), axis=1)[:, :-6:-1]
    assert (scores >= truth - 1e-5).mean() > 0.95
    np.testing.assert_allclose(scores, np.take_along_axis(compare(vectors[:20], vectors), found, axis=1), atol=1e-5)


def test_lists_that_find_no_more_are_not_searched(monkeypatch):
    """Where the codes propose too few, searching everything would take longer and find as little."""
    monkeypatch.setattr("catalog.groove_index.PROPOSED_A_RESULT", 1)
    vectors = draw_vectors(4000, families=4)
    index = make_index(vectors, "IVF256,PQ48x4fsr")
    tune_recall(index, *TUNED)
    assert index.proposer.nprobe < index.proposer.nlist / 2


def test_the_shifts_that_lie_nearest_search_the_most_lists(monkeypatch):
    vectors = draw_vectors(4000, families=40)
    index, shares = make_index(vectors, "IVF128,PQ48x4fsr"), []
    index.proposer.nprobe = 1
    truth = np.sort(compare(vectors[:100], vectors), axis=1)[:, -20:]
    for most in (1, 4):
        monkeypatch.setattr("catalog.groove_index.MOST_LISTS", most)
        scores, _ = index.find_nearest(vectors[:100], 20)
        shares.append((scores >= truth[:, :1] - 1e-5).mean())
    assert shares[1] > shares[0] + 0.05


@pytest.mark.parametrize("kind", ["Flat", "IVF4,PQ48x4fsr"])
def test_a_search_can_be_kept_to_some_rows(kind):
    vectors = draw_vectors(400)
    allowed = np.arange(400) % 10 == 3
    _, found = make_index(vectors, kind).find_nearest(vectors[:3], 60, allowed)
    for row in found:
        assert set(row[:40]) == set(np.flatnonzero(allowed))
        assert set(row[40:]) == {-1}


def test_an_empty_index_finds_nothing():
    scores, found = make_index(draw_vectors(3)[:0]).find_nearest(draw_vectors(1), 2)
    assert found.tolist() == [[-1, -1]]
    assert not np.isfinite(scores).any()


def test_the_same_vectors_give_the_same_index():
    import faiss

    vectors = draw_vectors(700)
    first, second = (faiss.serialize_index(build_proposer(vectors, "IVF8,PQ48x4fsr")) for _ in range(2))
    assert (first == second).all()

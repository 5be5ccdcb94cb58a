"""An index over the rhythm vectors of one instrument, in memory: what it proposes, compares and finds.

A FAISS index over the row numbers proposes candidates; the vectors then judge those exactly. Fewer are all compared.
Where indexes come from and go to is in catalog/index.py.

Two grooves are as similar as the cosine of their vectors where one is shifted by as many halves of a beat as make them
most alike: where a bar begins is the least certain thing that is heard, and which of two eighths is the beat the next.

Reference:
    Douze et al., "The Faiss library", arXiv 2401.08281; André, Kermarrec & Le Scouarnec, "Quicker ADC", TPAMI 2019 (the
    codes of four bits).
"""

from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa

from catalog.filters import Columns
from catalog.vectors import DIMENSIONS, SHIFTS, shift_beats

PROPOSED_A_RESULT = 20  # candidates that the codes propose for each result that is wanted, at each shift
MOST_LISTS = 4  # times as many lists are searched at one shift as at the mean one
PATIENCE = 4  # times that a quarter more lists are searched before they must have paid
LEAST_GAIN = 0.001  # of recall, that so many more lists must have brought
EXACT_SHARE = 0.02  # of the vectors: so few are compared one by one
ADDED_AT_ONCE = 50_000
TRAINED_ON = 200_000
COMPARED_AT_ONCE = 2**24  # similarities in memory: 64 MB


class GrooveIndex:
    """An index of one instrument: vectors that are compared, and what proposes them.

    Attributes:
        rows: Arrow table in the order of pattern_id; the columns of ROWS_SQL.
        instrument: Whose patterns they are.
        vectors: float32 (n, DIMENSIONS), of unit length; mapped where the rows are.
        proposer: A FAISS index over the row numbers; None where all vectors are compared.
        version: The row of `index_versions`; empty while it is built.
        columns: The rows as filters read them.
    """

    def __init__(self, rows: pa.Table, instrument: str, proposer: object = None, version: dict | None = None) -> None:
        self.rows, self.instrument, self.proposer, self.version = rows, instrument, proposer, version or {}
        parts = [chunk.flatten().to_numpy().reshape(-1, DIMENSIONS) for chunk in rows["vector"].chunks]
        self.vectors = parts[0] if len(parts) == 1 else np.concatenate([np.zeros((0, DIMENSIONS), np.float32), *parts])

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def columns(self) -> Columns:
        return Columns(self.rows)

    def find_rows(self, pattern_ids: Sequence[str]) -> np.ndarray:
        """The row numbers of patterns, int64; of those that are not in the index, none."""
        column, found = self.rows["pattern_id"], []
        for pattern in pattern_ids:
            number = bisect_left(range(len(self)), pattern, key=lambda number: column[number].as_py())
            if number < len(self) and column[number].as_py() == pattern:
                found.append(number)
        return np.array(found, np.int64)

    def find_nearest(
        self, queries: np.ndarray, count: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The most similar rows to each vector.

        Args:
            queries: float32 (q, DIMENSIONS), of unit length.
            count: How many for each.
            allowed: Which rows may be found, bool (n,); all by default.

        Returns:
            Similarities float32 and row numbers int64, both (q, count), the best first, equals by row number; -1 where
            there are no more.
        """
        shifted = shift_beats(np.ascontiguousarray(queries, np.float32), self.instrument)
        share = 1.0 if allowed is None else np.count_nonzero(allowed) / max(1, len(allowed))
        if self.proposer is None or share <= EXACT_SHARE:
            return self._compare_all(shifted, count, allowed)
        proposed = self._propose(shifted, count, allowed, share)
        if ((proposed >= 0).sum(axis=1) < min(count, round(share * len(self)))).any():
            return self._compare_all(shifted, count, allowed)  # too many lists hold nothing that is allowed
        scores = np.full(proposed.shape, -np.inf, np.float32)
        for number, rows in enumerate(proposed):  # one by one: their vectors stay in the cache
            known = rows >= 0
            scores[number, known] = (self.vectors[rows[known]] @ shifted[number].T).max(axis=1)
        return _take_best(scores, proposed, count)

    def _compare_all(
        self, shifted: np.ndarray, count: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = np.arange(len(self)) if allowed is None else np.flatnonzero(allowed)
        vectors = self.vectors if allowed is None else self.vectors[rows]
        step = max(1, COMPARED_AT_ONCE // max(1, len(rows)))
        parts = [(np.zeros((0, count), np.float32), np.zeros((0, count), np.int64))]
        for start in range(0, len(shifted), step):
            some = shifted[start : start + step]
            scores = some[:, 0] @ vectors.T
            for halves in range(1, SHIFTS):
                np.maximum(scores, some[:, halves] @ vectors.T, out=scores)
            parts.append(_take_best(scores, np.broadcast_to(rows, scores.shape), count))
        scores, found = zip(*parts, strict=True)
        return np.concatenate(scores), np.concatenate(found)

    def _propose(self, shifted: np.ndarray, count: int, allowed: np.ndarray | None, share: float) -> np.ndarray:
        """Row numbers that may be among the nearest, (q, c), each once; -1 fills up. A share of the rows is allowed."""
        # The fewer rows count, the more lists have to be looked through for as many of them.
        lists = self._choose_lists(shifted, int(self.proposer.nprobe / np.sqrt(share)))
        wanted = min(len(self), PROPOSED_A_RESULT * count)
        scores, found = _search_lists(self.proposer, shifted.reshape(-1, DIMENSIONS), wanted, *lists, allowed)
        scores, found = scores.reshape(len(shifted), -1), found.reshape(len(shifted), -1)
        if found.shape[1] > 2 * wanted:  # of all shifts together: some are proposed twice
            best = np.argpartition(-scores, 2 * wanted, axis=1)[:, : 2 * wanted]
            found = np.take_along_axis(found, best, axis=1)
        found = np.sort(found, axis=1)
        found[:, 1:][found[:, 1:] == found[:, :-1]] = -1
        return found

    def _choose_lists(self, shifted: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The lists that lie nearest to each query at any of its shifts, so many at the mean shift.

        Returns:
            How near they are and their numbers, -1 for none, both (q * SHIFTS, at most MOST_LISTS * count).
        """
        most = min(MOST_LISTS * count, self.proposer.nlist)
        near, lists = self.proposer.quantizer.search(shifted.reshape(-1, DIMENSIONS), most)
        of_query = near.reshape(len(shifted), -1)
        kept = min(count, most) * SHIFTS
        if kept < of_query.shape[1]:
            least = -np.partition(-of_query, kept - 1, axis=1)[:, kept - 1]
            lists[near < np.repeat(least, SHIFTS)[:, None]] = -1
        return near, lists


def _search_lists(
    proposer: object, queries: np.ndarray, count: int, near: np.ndarray, lists: np.ndarray, allowed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """What FAISS finds in these lists of each query, similarities and row numbers (q, count).

    The call of its Python layer that takes lists takes no selection of rows, so this is the one beneath it.
    """
    import faiss

    parameters = faiss.SearchParametersIVF(nprobe=lists.shape[1])
    if allowed is not None:
        parameters.sel = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
    scores, found = np.empty((len(queries), count), np.float32), np.empty((len(queries), count), np.int64)
    arrays = [faiss.swig_ptr(array) for array in (lists, near, scores, found)]
    proposer.search_preassigned_c(len(queries), faiss.swig_ptr(queries), count, *arrays, False, parameters)
    return scores, found


def _take_best(scores: np.ndarray, rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` best of each row of scores and of row numbers, both (q, n), filled up with -inf and -1."""
    missing = count - scores.shape[1]
    if missing > 0:
        scores = np.pad(scores, ((0, 0), (0, missing)), constant_values=-np.inf)
        rows = np.pad(rows, ((0, 0), (0, missing)), constant_values=-1)
    elif missing < 0:
        best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        scores, rows = np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
    order = np.lexsort((rows, -scores), axis=1)
    scores, rows = np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
    return scores.astype(np.float32), np.where(np.isfinite(scores), rows, -1)


def build_proposer(vectors: np.ndarray, kind: str, before: object = None) -> object:
    """Build the FAISS index that proposes row numbers; None for the kind Flat. The same vectors give the same index.

    Args:
        vectors: float32 (n, DIMENSIONS), of unit length.
        kind: Flat or a FAISS factory string.
        before: An index of this kind, of nearly the same vectors: its lists and codes are taken over.
    """
    if kind == "Flat":
        return None
    import faiss

    if before is not None:
        index = before
        index.reset()
    else:
        index = faiss.index_factory(DIMENSIONS, kind, faiss.METRIC_INNER_PRODUCT)
        index.cp.niter = 10
        index.train(np.ascontiguousarray(vectors[:: max(1, len(vectors) // TRAINED_ON)]))
        index.nprobe = max(1, index.nlist // 512)
    for start in range(0, len(vectors), ADDED_AT_ONCE):
        index.add(np.ascontiguousarray(vectors[start : start + ADDED_AT_ONCE]))
    return index


def tune_recall(index: GrooveIndex, count: int, wanted: float, sample: int) -> float:
    """Search more lists until as many neighbours are found as are wanted, or more lists find no more of them.

    Args:
        index: Its proposer is set to search as many lists as it takes.
        count: How many neighbours each vector is asked for.
        wanted: The share of them that is to be found.
        sample: Vectors on which it is measured, drawn evenly.

    Returns:
        The recall of the ten nearest: the share of the exact ten that are found; equal similarities count.
    """
    if index.proposer is None:
        return 1.0
    chosen = index.vectors[np.linspace(0, len(index) - 1, min(sample, len(index))).astype(int)]
    count = min(count, len(index))
    truth, _ = GrooveIndex(index.rows, index.instrument).find_nearest(chosen, count)
    tried = []
    while True:
        found, _ = index.find_nearest(chosen, count)
        tried.append((_recall(found, truth), index.proposer.nprobe, _recall(found[:, :10], truth[:, :10])))
        recall, lists, _ = tried[-1]
        if recall >= wanted or lists >= index.proposer.nlist:
            break
        if len(tried) > PATIENCE and recall - tried[-1 - PATIENCE][0] < LEAST_GAIN:
            tried = tried[:-PATIENCE]
            break
        index.proposer.nprobe = min(1 + lists * 5 // 4, index.proposer.nlist)
    _, index.proposer.nprobe, recall_at_10 = tried[-1]
    return recall_at_10


def _recall(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of similarities, both (q, n) and the best first, that are among the n best in truth."""
    return float((found >= truth[:, -1:] - 1e-6).mean())

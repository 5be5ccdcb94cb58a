"""The stems of an earlier run, read in place of a separation that need not run again."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from catalog.file_record import hash_file
from tasks.audio import decode_blocks
from tasks.plan import StoredStem


class StoredStems:
    """Stands where a separator would: the mixture goes in, the stems come out, from their files.

    Attributes:
        stems: Their names.
        backends: What separated each.
    """

    def __init__(self, files: dict[str, Path], backends: dict[str, str]):
        self.files, self.backends, self.stems = files, backends, tuple(files)

    @classmethod
    def open(cls, lake: Path, stored: tuple[StoredStem, ...]) -> "StoredStems | None":
        """The stems, or None when one is missing or is not what was committed."""
        files = {stem.stem: lake / stem.uri for stem in stored}
        try:
            whole = all(hash_file(files[stem.stem]) == stem.sha256 for stem in stored)
        except OSError:
            return None
        return cls(files, {stem.stem: stem.backend for stem in stored}) if whole and stored else None

    def stream(self) -> "StoredStream":
        """A fresh stream for one track."""
        return StoredStream({stem: decode_blocks(path) for stem, path in self.files.items()})


class StoredStream:
    """Gives as much of each stem as it takes of the mixture."""

    def __init__(self, blocks: dict[str, Iterator[np.ndarray]]):
        self._blocks = blocks
        self._rest = {stem: np.zeros((2, 0), np.float32) for stem in blocks}

    def push(self, block: np.ndarray) -> dict[str, np.ndarray]:
        """Take samples (2, n) of the mixture; the same samples of each stem."""
        return {stem: self._read(stem, block.shape[1]) for stem in self._blocks}

    def finish(self) -> dict[str, np.ndarray]:
        """Nothing is late."""
        return {stem: np.zeros((2, 0), np.float32) for stem in self._blocks}

    def _read(self, stem: str, samples: int) -> np.ndarray:
        rest = self._rest[stem]
        while rest.shape[1] < samples:
            rest = np.concatenate([rest, next(self._blocks[stem])], axis=1)
        self._rest[stem] = rest[:, samples:]
        return rest[:, :samples]

"""SIGKILL or a full disk between any two steps: nothing half-visible, nothing lost, and the next run carries on.

`make test` takes a few steps; `make soak` all of them, many times (MIDIME_SOAK_SEEDS).
"""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

import catalog
from catalog.lake import Lake
from tests.faults.conftest import has_tables
from tests.faults.rules import find_broken_rules
from tests.faults.steps import (
    FILLER,
    NO_ROOM,
    STEPS,
    fill_disk,
    ingest_folder,
    ingest_in_process,
    read_rows,
    write_clip,
)

SEEDS = int(os.environ.get("MIDIME_SOAK_SEEDS", "0"))
CASES = [(step, seed) for seed in range(SEEDS) for step in STEPS] or [
    ("after a commit", 0),
    ("after a stem has its name", 1),
]
FILES = 7 if SEEDS else 4


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> tuple[Path, dict]:
    """A folder of tracks, one doubled and (in the soak) one broken, and what an undisturbed ingest makes of it."""
    top = tmp_path_factory.mktemp("whole")
    for content in range(FILES):
        write_clip(top / "corpus" / f"{content}.wav", content)
    shutil.copy(top / "corpus" / "0.wav", top / "corpus" / "copy.wav")
    ingest_folder(top / "lake", top / "corpus", stems=2)
    return top / "corpus", read_rows(top / "lake")


@pytest.mark.parametrize(("step", "seed"), CASES)
def test_a_run_that_is_killed_is_carried_on(step, seed, whole, tmp_path, survived):
    source, expected = whole
    random = np.random.default_rng([seed, *step.encode()])
    lake = tmp_path / "lake"
    for _ in range(int(random.integers(1, 3))):
        code = ingest_in_process(lake, source, step, call=int(random.integers(1, 9)), stems=2)
        assert code in (0, -signal.SIGKILL)
        survived["kills between steps"] += code != 0
        if has_tables(lake):  # the first process may die before it has made any
            with catalog.connect(lake) as connection:
                assert find_broken_rules(connection) == []
    is_carried_on(lake, source, expected)


@pytest.mark.parametrize(("step", "seed"), CASES)
def test_a_disk_that_fills_costs_no_row(step, seed, whole, small_disk, survived):
    source, expected = whole
    random = np.random.default_rng([seed, *step.encode()])
    lake = small_disk(megabytes=64) / "lake"
    code = ingest_in_process(lake, source, step, call=int(random.integers(1, 9)), fault=fill_disk, stems=2)
    assert code in (0, NO_ROOM)
    survived["full disks between steps"] += code != 0
    if has_tables(lake):  # there may have been no room to make any
        with catalog.connect(lake) as connection:
            assert find_broken_rules(connection) == []
    (lake.parent / FILLER).unlink(missing_ok=True)
    is_carried_on(lake, source, expected)


def is_carried_on(lake: Path, source: Path, expected: dict) -> None:
    """The next run makes of the lake what an undisturbed one would have made, and a repair leaves nothing else."""
    ingest_folder(lake, source, stems=2)
    with Lake.open(lake) as opened:
        opened.repair()
        assert opened.verify() == []
    assert read_rows(lake) == expected
    kept = {path.relative_to(lake).as_posix() for path in (lake / "stems").rglob("*") if path.is_file()}
    assert kept == {row[3] for row in expected["stems"]}

"""The real command with real workers: asked to stop, killed, doubled, and on a full disk."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

import catalog
from catalog.lake import Lake
from tests.faults.conftest import SOAK, Command, has_tables
from tests.faults.rules import find_broken_rules
from tests.faults.steps import read_rows, write_clip

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(1800)]
FILES = 40
SEEDS = range(int(os.environ.get("MIDIME_SOAK_SEEDS", "1")))
long_one = pytest.mark.skipif(not SOAK, reason="takes a minute or more: make soak runs it")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("processes") / "corpus"
    for content in range(FILES):
        write_clip(folder / f"{content:02d}.wav", content)
    return folder


@pytest.fixture(scope="module")
def expected(corpus, tmp_path_factory) -> dict:
    """The rows of a run that nothing disturbed."""
    home = tmp_path_factory.mktemp("expected")
    assert Command(*ingest(corpus, home / "lake"), home=home).wait() == 0
    return read_rows(home / "lake")


def ingest(corpus: Path, lake: Path, *more: object) -> list:
    return ["ingest", corpus, "--lake", lake, "--corpus", "c", "--stems", "none", "--workers", 2, *more]


def count_tracks(lake: Path) -> int:
    if not has_tables(lake):
        return 0
    with catalog.connect(lake) as connection:
        return connection.execute("SELECT count(*) FROM tracks").fetchone()[0]


def read_run(lake: Path) -> tuple:
    with catalog.connect(lake) as connection:
        return connection.execute(
            "SELECT state, files_new, files_seen FROM runs ORDER BY started_at DESC LIMIT 1"
        ).fetchone()


def is_sound(lake: Path) -> bool:
    with Lake.open(lake) as opened:
        opened.repair()
        return (opened.verify(), find_broken_rules(opened.connection)) == ([], [])


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=long_one)], ids=["term", "int"]
)
def test_a_run_that_is_asked_to_stop_commits_what_is_ready(corpus, command, watch, tmp_path, number, code, survived):
    lake = tmp_path / "lake"
    watch(lake)
    run = command(*ingest(corpus, lake), MIDIME_SHARD_FILES="5")
    run.wait_until(lambda: count_tracks(lake) > 0)
    run.process.send_signal(number)
    assert run.wait() == code
    assert "run the same command again" in run.said
    assert "Traceback" not in run.said
    run.wait_for_no_family()
    survived["signals"] += 1
    state, new, _ = read_run(lake)
    assert (state, new) == ("stopped", count_tracks(lake))
    assert is_sound(lake)


@pytest.mark.parametrize("seed", SEEDS)
@long_one
def test_a_killed_flow_leaves_no_worker_and_is_carried_on(corpus, expected, command, watch, tmp_path, seed, survived):
    lake, random = tmp_path / "lake", np.random.default_rng(seed)
    watch(lake)
    for _ in range(5):
        before = count_tracks(lake)
        if before == len(expected["tracks"]):
            break
        run = command(*ingest(corpus, lake), MIDIME_SHARD_FILES="4")
        run.wait_until(lambda before=before: count_tracks(lake) > before)
        signal.sigtimedwait([], float(random.random()))
        run.process.kill()
        run.wait()
        run.wait_for_no_family()
        survived["kills of flows"] += 1
    assert command(*ingest(corpus, lake)).wait() == 0
    assert is_sound(lake)
    assert read_rows(lake) == expected


@pytest.mark.parametrize("seed", SEEDS)
@long_one
def test_killed_workers_cost_no_track(corpus, expected, command, watch, tmp_path, seed, survived):
    """A track that a killed worker held is run again alone; only one that loses its worker twice would be given up."""
    lake, random = tmp_path / "lake", np.random.default_rng(seed)
    watch(lake)
    run = command(*ingest(corpus, lake), MIDIME_SHARD_FILES="4")
    run.wait_until(lambda: count_tracks(lake) > 0)
    for _ in range(4):
        signal.sigtimedwait([], 0.3 * float(random.random()))
        if run.process.poll() is None and (workers := run.workers()):
            workers[random.integers(len(workers))].kill()
            survived["kills of workers"] += 1
    assert run.wait() in (0, 1)
    assert command("retry", "--lake", lake, "--stems", "none").wait() == 0
    assert is_sound(lake)
    assert read_rows(lake) == expected


@long_one
def test_two_ingests_at_once_hold_each_content_once(corpus, expected, command, watch, tmp_path, survived):
    lake = tmp_path / "lake"
    watch(lake)
    runs = [command(*ingest(corpus, lake), MIDIME_SHARD_FILES="7") for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    assert is_sound(lake)
    assert read_rows(lake) == expected
    with catalog.connect(lake) as connection:
        counts = connection.execute("SELECT sum(files_new), count(*) FROM runs").fetchone()
    assert counts == (len(expected["tracks"]), 2)
    survived["pairs of ingests"] += 1


@long_one
def test_an_ingest_takes_over_what_a_killed_one_had_claimed(corpus, expected, command, watch, tmp_path, survived):
    lake = tmp_path / "lake"
    watch(lake)
    first = command(*ingest(corpus, lake))  # one shard: it claims everything and commits nothing for a while
    first.wait_until(lambda: len(first.workers()) == 2 and has_tables(lake))
    held = first.workers()
    for worker in held:  # so that it cannot be done before the second one asks
        worker.suspend()
    second = command(*ingest(corpus, lake))
    second.wait_until(lambda: len(second.workers()) == 2)
    first.process.kill()
    first.wait()
    for worker in held:
        worker.resume()
    survived["kills of flows with claims"] += 1
    assert second.wait() == 0
    first.wait_for_no_family()
    assert is_sound(lake)
    assert read_rows(lake) == expected


@long_one
def test_nights_compactions_and_an_ingest_at_once(corpus, expected, command, watch, tmp_path, survived):
    lake = tmp_path / "lake"
    watch(lake)
    run = command(*ingest(corpus, lake), MIDIME_SHARD_FILES="3")
    run.wait_until(lambda: count_tracks(lake) > 0)
    while run.process.poll() is None:
        others = [command("nightly", "--lake", lake) for _ in range(2)] + [command("compact", "--lake", lake)]
        assert [other.wait() for other in others] == [0, 0, 0], [other.said for other in others]
        survived["nights beside an ingest"] += 2
    assert run.wait() == 0
    assert is_sound(lake)
    assert read_rows(lake) == expected


@long_one
def test_a_full_disk_stops_the_run_and_nothing_is_half_visible(corpus, command, small_disk, survived):
    lake = small_disk(megabytes=3) / "lake"
    arguments = ingest(corpus, lake)
    arguments[arguments.index("none")] = "4"
    run = command(*arguments, MIDIME_SHARD_FILES="5")
    assert run.wait() == 2
    last = run.said.splitlines()[-1]
    assert "full" in last.lower() or "no space" in last.lower()
    assert last.endswith("run the same command again.")
    with catalog.connect(lake) as connection:
        assert find_broken_rules(connection) == []
        assert connection.execute("SELECT count(*) FROM rejects WHERE failed").fetchone() == (0,)
    small_disk(megabytes=200)
    assert command(*arguments).wait() == 0
    assert is_sound(lake)
    survived["full disks"] += 1

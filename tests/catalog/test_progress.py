"""How far a run is, while it lives; and that a dead one is not taken for a living one."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from catalog.progress import clear_progress, read_last_word, read_progress, tell_progress


def test_a_run_tells_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("catalog.progress.STEP_S", 0.0)
    with tell_progress(tmp_path, "run") as teller:
        teller.count(analysed=12_345_678)
        teller.count(given_up=1)
        progress = read_progress(tmp_path)["run"]
        assert (progress.analysed, progress.given_up) == (12_345_678, 1)
    assert read_progress(tmp_path) == {}


def test_a_step_is_not_written_more_often_than_once_in_a_second(tmp_path, monkeypatch):
    monkeypatch.setattr("catalog.progress.STEP_S", 1e9)
    with tell_progress(tmp_path, "run") as teller:
        teller.count(analysed=1)
        assert read_progress(tmp_path)["run"].analysed == 0


def test_many_threads_count_together(tmp_path, monkeypatch):
    monkeypatch.setattr("catalog.progress.STEP_S", 0.0)
    with tell_progress(tmp_path, "run") as teller:
        threads = [threading.Thread(target=lambda: [teller.count(analysed=1) for _ in range(50)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert read_progress(tmp_path)["run"].analysed == 200


@pytest.fixture
def killed(tmp_path):
    """The folder of a lake whose one run was killed."""
    program = "import sys, pathlib, catalog.progress as p\n"
    program += "with p.tell_progress(pathlib.Path(sys.argv[1]), 'run'): print('on', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], stdin=-1, stdout=-1) as process:
        assert process.stdout.readline() == b"on\n"
        assert list(read_progress(tmp_path)) == ["run"]
        os.kill(process.pid, signal.SIGKILL)
    return tmp_path


def test_a_killed_run_is_not_at_work(killed):
    assert read_progress(killed) == {}
    assert read_last_word(killed, "run") is not None


def test_what_dead_runs_leave_is_cleared_and_living_ones_stay(killed):
    with tell_progress(killed, "living"):
        clear_progress(killed)
        assert list(read_progress(killed)) == ["living"]
        assert read_last_word(killed, "run") is None

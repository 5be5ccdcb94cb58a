"""Contents are claimed by one process at a time, and a dead process has no claims."""

import multiprocessing

import pytest

from tasks.claims import Claims
from tasks.plan import FoundFile, TrackJob

PROCESSES = multiprocessing.get_context("spawn")
JOBS = [
    TrackJob(FoundFile(f"/{index}", "c"), str(index), f"00000000-0000-0000-0000-{index:012d}", "c") for index in (1, 2)
]


def hold(lake, taken, done) -> None:
    """Take the first job and keep it until told to end."""
    with Claims(lake) as claims:
        claims.take(JOBS[:1])
        taken.set()
        done.wait(60)


@pytest.fixture
def other(tmp_path):
    """A process that holds the first job."""
    taken, done = PROCESSES.Event(), PROCESSES.Event()
    process = PROCESSES.Process(target=hold, args=(tmp_path, taken, done))
    process.start()
    assert taken.wait(60)
    yield process
    process.kill()
    process.join()


def test_what_another_process_has_claimed_is_left_to_it(other, tmp_path):
    with Claims(tmp_path) as claims:
        assert claims.take(JOBS) == (JOBS[1:], JOBS[:1])


def test_the_claims_of_a_killed_process_are_free(other, tmp_path):
    other.kill()
    other.join()
    with Claims(tmp_path) as claims:
        assert claims.take(JOBS) == (JOBS, [])


def test_claims_that_were_given_back_can_be_taken(tmp_path):
    with Claims(tmp_path) as claims:
        claims.take(JOBS)
        claims.free(JOBS)
        assert claims.take(JOBS) == (JOBS, [])

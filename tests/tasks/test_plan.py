"""Planning: every file ends in exactly one list, and what is known is not hashed again."""

import os
from datetime import timedelta

import pytest

from catalog.errors import ShrunkenSource
from catalog.tables import BEATS
from tasks.commit import Owner, commit_plan, commit_shard
from tasks.errors import CorruptAudio, LongSignal, OutOfMemory, StageFailed, UnreadableFile
from tasks.fanout import describe_death
from tasks.plan import Fault, RetryParams, make_plan, name_corpus
from tasks.track import TrackParams, TrackResult, stage_versions

RUN_ID = "6f0f6a3e-94c2-5d0c-8a55-6d6964696d65"
STAGES = {"decode": "v1"}


def plan(source, lake=None, **options):
    return make_plan([source], "c", lake and lake.connection, STAGES, **options)


def fail(job, error) -> TrackResult:
    return TrackResult(job, fault=Fault.of(error, "decode", "v1"))


@pytest.fixture
def folder(tmp_path):
    top = tmp_path / "corpus"
    (top / "deep").mkdir(parents=True)
    (top / "a.mp3").write_bytes(b"one")
    (top / "deep/b.wav").write_bytes(b"two")
    return top


def test_new_contents_become_jobs_in_the_order_of_their_paths(folder):
    assert [os.path.basename(job.file.path) for job in plan(folder).jobs] == ["a.mp3", "b.wav"]


def test_a_copy_joins_the_job_of_its_content(folder):
    (folder / "copy.mp3").write_bytes(b"one")
    found = plan(folder)
    assert ([len(job.files) for job in found.jobs], found.seen) == ([2, 1], 3)


def test_names_that_are_no_audio_are_ignored_and_counted(folder):
    for name in ("cover.jpg", "._a.mp3", "Thumbs.db", "a.mp3.part"):
        (folder / name).write_bytes(b"x")
    found = plan(folder)
    assert (found.seen, found.ignored) == (2, 4)


def test_a_loop_of_links_ends(folder):
    (folder / "deep/up").symlink_to(folder)
    assert plan(folder).seen == 2


@pytest.mark.parametrize(("name", "target"), [("dangling.mp3", "nowhere"), ("self.mp3", "self.mp3")])
def test_a_link_to_nothing_is_unreadable(folder, name, target):
    (folder / name).symlink_to(target)
    assert [fault.reason for _, fault in plan(folder).faults] == ["unreadable"]


def test_an_empty_file_is_named(folder):
    (folder / "empty.flac").touch()
    assert [fault.reason for _, fault in plan(folder).faults] == ["empty"]


def test_a_name_with_odd_bytes_has_a_printable_place(folder):
    path = os.fsencode(folder) + b"/new\nline \xff.mp3"
    with open(path, "wb") as file:
        file.write(b"three")
    uris = [job.file.uri for job in plan(folder).jobs]
    assert any(uri.endswith("new%0Aline%20%FF.mp3") for uri in uris)


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        plan(tmp_path / "nowhere")


def test_the_corpus_is_named_after_the_folder_by_default(folder):
    found = make_plan([folder, folder / "a.mp3"], None, None, STAGES)
    assert {job.corpus for job in found.jobs} == {"corpus"}


def test_a_broken_content_is_left_alone_until_it_changes(folder, lake):
    results = [fail(job, CorruptAudio("It is broken.")) for job in plan(folder).jobs]
    counts = commit_shard(lake, "c/000", results, RUN_ID, Owner())
    assert counts.rejected == 2
    again = plan(folder, lake)
    assert (again.jobs, len(again.left_alone), again.seen) == ([], 2, 2)
    (folder / "a.mp3").write_bytes(b"mended")
    assert [os.path.basename(job.file.path) for job in plan(folder, lake).jobs] == ["a.mp3"]


def test_a_broken_content_is_tried_again_by_a_newer_stage(folder, lake):
    results = [fail(job, CorruptAudio("It is broken.")) for job in plan(folder).jobs]
    commit_shard(lake, "c/000", results, RUN_ID, Owner())
    assert len(make_plan([folder], "c", lake.connection, {"decode": "v2"}).jobs) == 2


def test_a_failed_analysis_is_tried_a_few_times(folder, lake):
    tried = 0
    while jobs := plan(folder, lake).jobs:
        tried += 1
        results = [fail(job, StageFailed("It fell over.")) for job in jobs]
        commit_shard(lake, "c/000", results, RUN_ID, Owner())
    assert tried == 3


def test_an_unreadable_file_is_looked_at_again(folder, lake):
    (folder / "empty.flac").touch()
    for _ in range(2):
        counts = commit_plan(lake, plan(folder, lake), RUN_ID)
    assert counts.rejected == 1
    assert lake.query("SELECT attempts FROM rejects").to_pylist() == [{"attempts": 2}]


def test_times_are_kept_to_the_microsecond(folder, lake):
    os.utime(folder / "a.mp3", ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))
    file = plan(folder).jobs[0].file
    assert file.modified_at.microsecond == 123_456
    assert file.modified_at.utcoffset() == timedelta(0)


def commit_all(lake, folder, error=None):
    """Commit a fault for every job, or where there is none the place of its content."""
    results = [fail(job, error) for job in plan(folder, lake).jobs]
    commit_shard(lake, "c/000", results, RUN_ID, Owner())


def test_rejects_can_be_asked_for_by_their_reason(folder, lake):
    commit_all(lake, folder, CorruptAudio("It is broken."))
    (folder / "new.wav").write_bytes(b"three")
    found = make_plan([], None, lake.connection, STAGES, retry=RetryParams(only="corrupt"))
    assert [(os.path.basename(job.file.path), job.corpus) for job in found.jobs] == [("a.mp3", "c"), ("b.wav", "c")]
    below = make_plan([folder / "deep"], None, lake.connection, STAGES, retry=RetryParams(only="all"))
    assert [os.path.basename(job.file.path) for job in below.jobs] == ["b.wav"]
    assert make_plan([], None, lake.connection, STAGES, retry=RetryParams(only="timeout")).jobs == []


def test_a_read_that_failed_is_tried_again_for_ever(folder, lake):
    for _ in range(5):
        assert len(plan(folder, lake).jobs) == 2
        commit_all(lake, folder, UnreadableFile("The file cannot be read: Input/output error."))
    assert {row["attempts"] for row in lake.query("SELECT attempts FROM rejects").to_pylist()} == {5}


def test_a_folder_that_lost_most_of_its_files_is_refused(folder, lake):
    (folder / "c.ogg").write_bytes(b"three")
    commit_all(lake, folder, CorruptAudio("It is broken."))
    (folder / "a.mp3").unlink()
    assert plan(folder, lake, accept_missing=False).seen == 2
    (folder / "c.ogg").unlink()
    with pytest.raises(ShrunkenSource, match="holds 1 audio files and the lake knows 3"):
        plan(folder, lake, accept_missing=False)
    assert plan(folder, lake, accept_missing=True).seen == 1


def test_renamed_files_are_not_missed(folder, lake):
    commit_all(lake, folder, CorruptAudio("It is broken."))
    (folder / "deep").rename(folder / "renamed")
    (folder / "a.mp3").rename(folder / "z.mp3")
    assert plan(folder, lake, accept_missing=False).seen == 2


def test_a_file_that_may_not_be_read_says_nothing_about_its_content(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tasks.plan.hash_file", refuse)
    assert {(fault.reason, fault.failed) for _, fault in plan(folder).faults} == {("unreadable", True)}


def test_a_track_that_killed_its_worker_is_tried_a_few_times_and_not_for_ever(folder, lake):
    params = TrackParams(stems=0)
    tried = 0
    while jobs := make_plan([folder], "c", lake.connection, stage_versions(params)).jobs:
        tried += 1
        assert tried < 5
        results = [TrackResult(job, fault=describe_death(1.0, params)) for job in jobs]
        commit_shard(lake, "c/000", results, RUN_ID, Owner())
    assert tried == 3


def test_a_changed_content_has_attempts_of_its_own(folder, lake):
    (folder / "deep/b.wav").unlink()
    for _ in range(3):
        commit_all(lake, folder, StageFailed("It fell over."))
    assert plan(folder, lake).jobs == []
    (folder / "a.mp3").write_bytes(b"mended")
    commit_all(lake, folder, StageFailed("It fell over again."))
    assert lake.query("SELECT attempts FROM rejects").to_pylist() == [{"attempts": 1}]
    assert len(plan(folder, lake).jobs) == 1


def test_what_a_limit_kept_out_is_tried_again_under_a_higher_limit(folder, lake):
    (folder / "deep/b.wav").unlink()
    low, high = TrackParams(stems=0, max_duration_s=1), TrackParams(stems=0, max_duration_s=2)
    (job,) = plan(folder).jobs
    fault = Fault.of(LongSignal("It is too long."), "decode", "v1", vars(low))
    commit_shard(lake, "c/000", [TrackResult(job, fault=fault)], RUN_ID, Owner())
    assert plan(folder, lake, limits=vars(low)).jobs == []
    assert len(plan(folder, lake, limits=vars(high)).jobs) == 1


def test_a_limit_that_is_not_set_tries_nothing_again(folder, lake):
    (folder / "deep/b.wav").unlink()
    for _ in range(3):
        (job,) = plan(folder).jobs
        fault = Fault.of(OutOfMemory("It needs more."), "decode", "v1", {"memory_mb": 2_000})
        commit_shard(lake, "c/000", [TrackResult(job, fault=fault)], RUN_ID, Owner())
    assert plan(folder, lake, limits=vars(TrackParams())).jobs == []
    assert len(plan(folder, lake, limits=vars(TrackParams(memory_mb=4_000))).jobs) == 1


def test_a_folder_that_cannot_be_listed_is_named_until_it_can(folder, lake, monkeypatch):
    def refuse(path):
        if os.fspath(path) == str(folder / "deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    real = os.scandir
    monkeypatch.setattr("tasks.plan.os.scandir", refuse)
    found = plan(folder)
    assert [(os.path.basename(file.path), fault.reason) for file, fault in found.faults] == [("deep", "unreadable")]
    assert "Permission denied" in found.faults[0][1].message
    commit_plan(lake, found, RUN_ID)
    monkeypatch.undo()
    commit_plan(lake, plan(folder, lake), RUN_ID)
    assert lake.query("SELECT uri FROM rejects").to_pylist() == []


def test_a_linked_folder_outside_is_named_and_one_inside_is_not(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (folder / "out").symlink_to(tmp_path / "elsewhere")
    (folder / "in").symlink_to(folder / "deep")
    found = plan(folder)
    assert [(os.path.basename(file.path), fault.reason) for file, fault in found.faults] == [("out", "outside")]
    assert len(found.jobs) == 2


def test_a_folder_may_be_as_deep_as_a_path_can_be(folder, monkeypatch):
    monkeypatch.chdir(folder)
    depth = (3_900 - len(str(folder))) // 2
    for _ in range(depth):
        os.mkdir("d")
        os.chdir("d")
    try:
        with open("deep.wav", "wb") as file:
            file.write(b"deep")
        found = plan(folder)
    finally:
        os.unlink("deep.wav")
        for _ in range(depth):  # too deep for shutil.rmtree
            os.chdir("..")
            os.rmdir("d")
    assert (len(found.jobs), found.faults) == (3, [])


def test_a_file_too_large_to_be_audio_is_not_read(folder):
    with (folder / "sparse.wav").open("wb") as file:
        file.truncate(2**41)
    found = plan(folder, limits=vars(TrackParams()))
    assert [(os.path.basename(file.path), fault.reason) for file, fault in found.faults] == [("sparse.wav", "too_long")]


@pytest.mark.parametrize(
    "name", ["a" * 255, "\u044f" * 127, "\u65e5" * 85, os.fsdecode(b"\xff\xfe"), "a/b", "new\nline"]
)
def test_a_corpus_can_be_named_after_any_folder(name, lake, folder):
    named = name_corpus(name)
    commit_plan(lake, make_plan([folder], name, lake.connection, STAGES), RUN_ID)
    with lake.transaction("large enough to be a file") as change:
        change.insert("beats", BEATS.make_rows([{"corpus": named, "time_s": float(time_s)} for time_s in range(2000)]))
    assert lake.query("SELECT DISTINCT corpus FROM beats").to_pylist() == [{"corpus": named}]


def test_long_names_of_corpora_stay_apart():
    assert name_corpus("x" * 254 + "1") != name_corpus("x" * 254 + "2")
    assert name_corpus("Ночь") == "Ночь"


def test_a_source_may_be_a_uri(folder):
    assert plan(folder.as_uri()).seen == 2

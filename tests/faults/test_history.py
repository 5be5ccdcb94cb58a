"""Whatever happens to a corpus and its lake, in any order, the lake holds what a plain model says, then and now."""

import os
import shutil
import signal
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import catalog
from catalog.file_record import hash_file
from catalog.lake import Lake
from catalog.purge import purge_tracks
from catalog.tables import make_id
from tests.faults.conftest import SURVIVED
from tests.faults.rules import find_broken_rules
from tests.faults.steps import STEPS, ingest_folder, ingest_in_process, write_clip

EXAMPLES = int(os.environ.get("MIDIME_SOAK_HISTORIES", "2"))
RULES_EACH = 30 if EXAMPLES > 2 else 8
CONTENTS = 9  # numbers of write_clip: the seventh is broken
NAMES = st.sampled_from([f"{folder}{name}.wav" for folder in ("", "deep/") for name in "abcd"])


@dataclass(frozen=True)
class Model:
    """What the lake should hold: contents, where each was seen, and which places are rejected."""

    tracks: frozenset = frozenset()
    files: dict = field(default_factory=dict)
    rejects: frozenset = frozenset()

    def ingest(self, disk: dict[str, int]) -> "Model":
        """After a run over what lies on the disk."""
        good = {name: content for name, content in disk.items() if content % 7 != 6}
        broken = disk.keys() - good.keys()
        kept = {name: content for name, content in self.files.items() if name not in broken}
        return Model(self.tracks | set(good.values()), kept | good, (self.rejects - good.keys()) | broken)

    def purge(self, content: int) -> "Model":
        files = {name: of for name, of in self.files.items() if of != content}
        return Model(self.tracks - {content}, files, self.rejects)


class History(RuleBasedStateMachine):
    """A corpus on a disk, its lake, and the model of the lake."""

    @initialize()
    def begin(self) -> None:
        self.top = Path(mkdtemp(prefix="midime-history-"))
        self.source, self.lake = self.top / "corpus", self.top / "lake"
        self.source.mkdir()
        self.disk: dict[str, int] = {}
        self.model = Model()
        self.past: dict[int, Model] = {}
        self.clock_s = 1_700_000_000
        Lake.open(self.lake).close()

    def teardown(self) -> None:
        if hasattr(self, "top"):
            shutil.rmtree(self.top)

    def put(self, name: str, content: int) -> None:
        """Write a file at a time of its own: a change within one tick of the clock would be no change to a stat."""
        write_clip(self.source / name, content)
        self.clock_s += 1
        os.utime(self.source / name, (self.clock_s, self.clock_s))
        self.disk[name] = content

    @rule(name=NAMES, content=st.integers(0, CONTENTS - 1))
    def write_or_change_a_file(self, name, content):
        self.put(name, content)

    @precondition(lambda self: self.disk)
    @rule(data=st.data(), to=NAMES)
    def move_a_file(self, data, to):
        name = data.draw(st.sampled_from(sorted(self.disk)))
        if name != to:
            (self.source / to).parent.mkdir(exist_ok=True)
            os.replace(self.source / name, self.source / to)
            self.disk[to] = self.disk.pop(name)

    @precondition(lambda self: self.disk)
    @rule(data=st.data())
    def delete_a_file(self, data):
        name = data.draw(st.sampled_from(sorted(self.disk)))
        (self.source / name).unlink()
        del self.disk[name]

    @rule()
    def ingest(self):
        counts = ingest_folder(self.lake, self.source)
        assert counts.seen == len(self.disk)
        assert counts.new == len({of for of in self.disk.values() if of % 7 != 6} - self.model.tracks)
        self.model = self.model.ingest(self.disk)
        self.remember()

    @rule(stage=st.sampled_from(["beats", "key", "chromaprint", "all"]))
    def run_a_stage_again(self, stage):
        counts = ingest_folder(self.lake, self.source, force=stage)
        assert (counts.seen, counts.unchanged) == (len(self.disk), 0)
        self.model = self.model.ingest(self.disk)
        self.remember()

    @rule(step=st.sampled_from(sorted(STEPS)), call=st.integers(1, 12))
    def be_killed_and_carry_on(self, step, call):
        code = ingest_in_process(self.lake, self.source, step, call)
        assert code in (0, -signal.SIGKILL)
        SURVIVED["kills between steps"] += code != 0
        self.look()
        self.ingest_after_a_kill()

    def ingest_after_a_kill(self):
        counts = ingest_folder(self.lake, self.source)
        assert counts.seen == len(self.disk)
        self.model = self.model.ingest(self.disk)
        self.remember()

    @precondition(lambda self: self.model.tracks)
    @rule(data=st.data())
    def purge(self, data):
        content = data.draw(st.sampled_from(sorted(self.model.tracks)))
        track_id = self.id_of(content)
        with Lake.open(self.lake) as lake:
            purge_tracks(lake, [track_id], grace_s=0)
        self.model = self.model.purge(content)
        self.past.clear()
        for path in (self.lake / "tables").rglob("*.parquet"):
            assert track_id not in str(read_ids(path))
        self.remember()

    @rule()
    def compact(self):
        with Lake.open(self.lake) as lake:
            lake.compact()
        self.remember()

    @rule()
    def forget_the_past(self):
        with Lake.open(self.lake) as lake:
            lake.compact(timedelta(0))
        self.past.clear()
        self.remember()

    @rule()
    def repair(self):
        with Lake.open(self.lake) as lake:
            lake.repair()
            assert lake.verify() == []

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def travel_in_time(self, data):
        snapshot = data.draw(st.sampled_from(sorted(self.past)))
        with catalog.connect(self.lake, snapshot=snapshot) as connection:
            assert self.read(connection) == self.past[snapshot]

    @invariant()
    def lake_is_the_model(self):
        if hasattr(self, "top"):
            SURVIVED["operations of histories"] += 1
            self.look()
            with catalog.connect(self.lake) as connection:
                assert self.read(connection) == self.model

    def look(self) -> None:
        with catalog.connect(self.lake) as connection:
            assert find_broken_rules(connection) == []

    def remember(self) -> None:
        with Lake.open(self.lake) as lake:
            self.past[lake.snapshot] = self.model

    def id_of(self, content: int) -> str:
        clip = self.top / "clip.wav"
        write_clip(clip, content)
        return make_id("track", hash_file(clip))

    def read(self, connection) -> Model:
        contents = {self.id_of(content): content for content in range(CONTENTS)}
        top = f"{self.source.as_uri()}/"
        tracks = connection.execute("SELECT track_id::VARCHAR FROM tracks").fetchall()
        files = connection.execute("SELECT uri, track_id::VARCHAR FROM files").fetchall()
        rejects = connection.execute("SELECT uri FROM rejects").fetchall()
        return Model(
            frozenset(contents[track] for (track,) in tracks),
            {uri.removeprefix(top): contents[track] for uri, track in files},
            frozenset(uri.removeprefix(top) for (uri,) in rejects),
        )


def read_ids(path: Path) -> list:
    """The track identifiers in a Parquet file, deleted rows as well."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    return file.read(["track_id"])["track_id"].to_pylist() if "track_id" in file.schema_arrow.names else []


TestHistory = History.TestCase
TestHistory.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=RULES_EACH,
    deadline=None,
    derandomize=EXAMPLES <= 2,
    suppress_health_check=list(HealthCheck),
)

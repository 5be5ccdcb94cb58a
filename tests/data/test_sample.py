"""The sample corpus is what data/README.md says."""

import hashlib
import re
from pathlib import Path

import pytest

from tasks.audio import AUDIO_EXTENSIONS, decode_blocks, is_candidate, probe_audio
from tasks.errors import CorruptAudio

DATA = Path(__file__).parents[2] / "data"
SAMPLE = DATA / "sample"
ROW = re.compile(r"^\| `(?P<file>[^`]+)` \|.*\| \[(?P<licence>[^\]]+)\]\(\S+\) \| `(?P<sha256>[0-9a-f]{64})` \|$", re.M)
ROWS = [match.groupdict() for match in ROW.finditer((DATA / "README.md").read_text(encoding="utf-8"))]
BROKEN = "inbox/interrupted_download.m4a"


def audio_files():
    return sorted(str(path.relative_to(SAMPLE)) for path in SAMPLE.rglob("*") if path.suffix in AUDIO_EXTENSIONS)


def test_the_table_lists_every_file_once():
    assert sorted(row["file"] for row in ROWS) == audio_files()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_every_file_has_the_hash_of_the_table(row):
    assert hashlib.sha256((SAMPLE / row["file"]).read_bytes()).hexdigest() == row["sha256"]


def test_every_licence_is_free():
    assert {row["licence"] for row in ROWS} <= {"CC0 1.0", "CC BY 4.0", "CC BY-SA 3.0"}


def test_the_corpus_is_small_and_varied():
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) < 10_000_000
    assert len(audio_files()) >= 10
    assert len({Path(name).suffix for name in audio_files()}) >= 4


def test_a_walk_takes_the_audio_and_nothing_else():
    taken = sorted(str(path.relative_to(SAMPLE)) for path in SAMPLE.rglob("*") if path.is_file() and is_candidate(path))
    assert taken == audio_files()


@pytest.mark.parametrize("name", [row["file"] for row in ROWS if row["file"] != BROKEN])
def test_every_other_file_decodes_to_the_length_it_claims_and_names_its_artist(name):
    info = probe_audio(SAMPLE / name)
    duration_s = sum(block.shape[1] for block in decode_blocks(SAMPLE / name)) / 44_100
    assert duration_s == pytest.approx(info.duration_s, abs=0.1)
    assert info.title and info.artist and info.album and info.genre_tag


def test_the_broken_file_is_broken():
    with pytest.raises(CorruptAudio):
        probe_audio(SAMPLE / BROKEN)


def test_the_copy_is_identical():
    original = SAMPLE / "supertuxkart/kart_grand_prix.mp3"
    assert (SAMPLE / "inbox/copy of kart_grand_prix.mp3").read_bytes() == original.read_bytes()

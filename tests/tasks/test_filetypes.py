"""Which files a walk over a corpus takes."""

import pytest

from tasks.filetypes import is_candidate


@pytest.fixture
def write(tmp_path):
    def write_bytes(name, content):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write_bytes


TAKEN = ["a.mp3", "B.FLAC", ".hidden.ogg", "x.Opus", "two.dots.wav", "dangling.m4a"]
LEFT = [
    "._a.mp3",
    ".DS_Store",
    "Thumbs.db",
    "a.mp3.part",
    "cover.jpg",
    "album.cue",
    "list.m3u",
    "notes.txt",
    ".profile",
]


@pytest.mark.parametrize(("name", "taken"), [(n, True) for n in TAKEN] + [(n, False) for n in LEFT])
def test_the_name_decides_what_a_walk_takes(tmp_path, name, taken):
    path = tmp_path / name
    if name.startswith("dangling"):
        path.symlink_to("/nonexistent")
    else:
        path.write_bytes(b"anything")
    assert is_candidate(path) is taken


def test_a_name_without_extension_is_taken_by_its_first_bytes(write):
    assert is_candidate(write("Symphony No. 5", b"ID3\x04" + bytes(20)))
    assert is_candidate(write("untitled", b"\xff\xfb\x90\x00" + bytes(20)))
    assert is_candidate(write("line\nbreak", b"fLaC" + bytes(20)))
    assert is_candidate(write("take 12.5", b"RIFF\x00\x00\x00\x00WAVE"))
    assert not is_candidate(write("README", b"plain text"))
    assert not is_candidate(write("utf16", "\ufefftext".encode("utf-16-le")))
    assert not is_candidate(write("empty", b""))


def test_a_folder_with_an_audio_name_is_not_taken(tmp_path):
    (tmp_path / "dir.mp3").mkdir()
    assert not is_candidate(tmp_path / "dir.mp3")

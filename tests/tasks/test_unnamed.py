"""Files without a name: complete or absent, whatever happens to the process and whatever the file system knows."""

import errno
import os
import signal
import stat
import subprocess
import sys

import pytest

from tasks.unnamed import UnnamedFile

DIES = """
import os, signal, sys
from pathlib import Path
from tasks.unnamed import UnnamedFile
with UnnamedFile(Path(sys.argv[1])) as unnamed:
    os.write(unnamed.handle, b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(params=["without a name", "with a part's name"])
def kind(request, monkeypatch):
    """Both ways, whatever the disk of the tests can do."""
    if request.param == "with a part's name":
        real = os.open

        def refuse(path, flags, *args, **kwargs):
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "Operation not supported")
            return real(path, flags, *args, **kwargs)

        monkeypatch.setattr(os, "open", refuse)
    return request.param


def test_a_file_appears_when_it_has_its_name(kind, tmp_path):
    with UnnamedFile(tmp_path) as unnamed:
        os.write(unnamed.handle, b"whole")
        assert unnamed.path.read_bytes() == b"whole"
        assert not (tmp_path / "a").exists()
        unnamed.give_name(tmp_path / "a")
    assert (os.listdir(tmp_path), (tmp_path / "a").read_bytes()) == (["a"], b"whole")


def test_a_file_replaces_what_was_there(kind, tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with UnnamedFile(tmp_path) as unnamed:
        os.write(unnamed.handle, b"new")
        unnamed.give_name(tmp_path / "a")
    assert (os.listdir(tmp_path), (tmp_path / "a").read_bytes()) == (["a"], b"new")


def test_a_file_that_got_no_name_is_gone(kind, tmp_path):
    with UnnamedFile(tmp_path) as unnamed:
        os.write(unnamed.handle, b"half")
    with pytest.raises(RuntimeError), UnnamedFile(tmp_path):
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_a_file_has_the_rights_that_the_umask_leaves(kind, tmp_path):
    before = os.umask(0o027)
    try:
        with UnnamedFile(tmp_path) as unnamed:
            unnamed.give_name(tmp_path / "a")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_missing_folder_is_an_error(kind, tmp_path):
    with pytest.raises(FileNotFoundError), UnnamedFile(tmp_path / "missing"):
        pass


def test_a_process_that_is_killed_leaves_nothing(tmp_path):
    try:
        os.close(os.open(tmp_path, os.O_TMPFILE | os.O_RDWR))
    except (OSError, AttributeError):
        pytest.skip("this disk knows no files without a name")
    done = subprocess.run([sys.executable, "-c", DIES, str(tmp_path)])
    assert (done.returncode, os.listdir(tmp_path)) == (-signal.SIGKILL, [])

"""Files that have no name until they are complete, so that a process which is killed leaves nothing behind."""

import errno
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

NO_SUPPORT = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)


class UnnamedFile:
    """A file in a folder, open for writing; it appears under a name when it is given one, or not at all.

    Where the system or the file system knows no files without a name (O_TMPFILE: Linux, most local disks), it is called
    `.*.part` meanwhile, and a process that is killed leaves that.

    Attributes:
        handle: The open file's descriptor.
        path: A path by which this process can read it.

    Raises:
        OSError: The folder is missing or cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = Path(folder)
        self._part = self._folder / f".{uuid4().hex}.part"
        self._has_part = False

    def __enter__(self) -> Self:
        mode = 0o666  # less the umask; not tempfile's 0600: what is written here is for every analyst
        try:
            self.handle = os.open(self._folder, os.O_TMPFILE | os.O_RDWR, mode)
            self.path = Path(f"/proc/self/fd/{self.handle}")
        except (OSError, AttributeError) as error:
            if isinstance(error, OSError) and error.errno not in NO_SUPPORT:
                raise
            self.handle = os.open(self._part, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
            self.path = self._part
            self._has_part = True
        return self

    def give_name(self, path: Path) -> None:
        """Let the file appear, replacing what was there; `path` lies in the folder."""
        if not self._has_part:
            # With a folder's descriptor, since Python asks the system to follow the link in /proc in that case alone.
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                with suppress(FileExistsError):
                    os.link(self.path, path.name, dst_dir_fd=folder, follow_symlinks=True)
                    return
                os.link(self.path, self._part.name, dst_dir_fd=folder, follow_symlinks=True)
                self._has_part = True
            finally:
                os.close(folder)
        os.replace(self._part, path)
        self._has_part = False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self.handle)
        if self._has_part:
            self._part.unlink(missing_ok=True)

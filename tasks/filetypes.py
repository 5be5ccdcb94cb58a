"""What a file is by its name and its first bytes, before anything decodes it. Decoding is in tasks/audio.py."""

import errno
import os
import re
import stat
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

from tasks.errors import EmptyFile, UnreadableFile

# fmt: off
AUDIO_EXTENSIONS = frozenset((
    ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".dsf", ".dts", ".flac", ".m4a", ".m4b",
    ".m4p", ".mka", ".mp2", ".mp3", ".mp4", ".mpc", ".oga", ".ogg", ".opus", ".shn", ".snd", ".spx", ".tak", ".tta",
    ".w64", ".wav", ".wave", ".webm", ".wma", ".wv",
))

# First bytes that announce audio; MPEG frames and boxes of MP4 are recognised in `announces_audio`.
MAGIC = (
    b"ID3", b"fLaC", b"OggS", b"MAC ", b"wvPK", b"MPCK", b"MP+", b"TTA1", b"tBaK", b".snd", b"caff", b"#!AMR", b"DSD ",
)
# fmt: on
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_ENCRYPTION = (
    bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"),  # Content Encryption Object
    bytes.fromhex("14e68a292226174cb935dae07ee9289c"),  # Extended Content Encryption Object
)
MP4_ENCRYPTED_ENTRIES = (b"drms", b"enca", b"aavd")  # sample entries: FairPlay, Common Encryption, Audible
MP4_INDEX_LIMIT_BYTES = 64 << 20
MP4_BOX_LIMIT = 10_000
HEAD_BYTES = 64 << 10


def is_candidate(path: Path) -> bool:
    """Whether a corpus walk takes this file: an audio extension, or no extension and the first bytes of audio.

    Broken links and unreadable files with an audio extension are taken, so that they end up in `rejects`.
    """
    path = Path(path)
    if path.name.startswith("._") or path.is_dir():
        return False
    extension = _extension(path.name)
    if extension:
        return extension in AUDIO_EXTENSIONS
    if path.name.startswith("."):
        return False
    try:
        with ByteStream(path) as file:
            return announces_audio(file.read(12))
    except (UnreadableFile, EmptyFile):
        return False


class ByteStream:
    """A regular file as FFmpeg reads it: without a name, and with no exception from a senseless seek.

    Raises:
        UnreadableFile: It is missing, forbidden, or no regular file; also when reading breaks off.
        EmptyFile: It has no bytes.
    """

    def __init__(self, path: Path) -> None:
        try:
            # Without O_NONBLOCK a named pipe would wait for its writer.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise UnreadableFile(f"The file cannot be opened: {_system_reason(error)}.") from error
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            os.close(descriptor)
            if stat.S_ISREG(status.st_mode):
                raise EmptyFile("The file has no bytes.")
            raise UnreadableFile("The path is not a regular file.")
        self._file = os.fdopen(descriptor, "rb")
        self._read_error: OSError | None = None
        self.size_bytes = status.st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            self._read_error = error
            return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -errno.EINVAL

    def tell(self) -> int:
        return self._file.tell()

    def raise_read_error(self) -> None:
        """FFmpeg took a read that failed for the end of the file; here it counts."""
        if self._read_error:
            raise UnreadableFile(f"The file cannot be read: {_system_reason(self._read_error)}.") from self._read_error

    def peek_at(self, offset: int, size: int) -> bytes:
        """Bytes from anywhere; the reading position stays."""
        try:
            return os.pread(self._file.fileno(), size, offset)
        except OSError as error:
            raise UnreadableFile(f"The file cannot be read: {_system_reason(error)}.") from error


def _extension(name: str) -> str:
    """The lower-case extension with its dot; "" for none, as in "Symphony No. 5" or ".profile"."""
    match = re.search(r"(?<=.)\.(?=\w*[^\W\d])\w{1,5}$", name, re.DOTALL)
    return match.group().lower() if match else ""


def announces_audio(head: bytes) -> bool:
    """Whether the first 12 bytes are those of an audio file."""
    if head.startswith(MAGIC) or head.startswith(ASF_HEADER[:12]) or head[4:8] == b"ftyp":
        return True
    if head[:4] in (b"RIFF", b"FORM", b"RF64"):
        return head[8:12] in (b"WAVE", b"AIFF", b"AIFC")
    if len(head) < 4:
        return False
    (word,) = struct.unpack(">I", head[:4])
    is_adts = word >> 16 & 0xFFF6 == 0xFFF0
    is_mpeg = word >> 21 == 0x7FF and word >> 17 & 3 in (1, 2) and word >> 12 & 15 != 15 and word >> 10 & 3 != 3
    return is_adts or is_mpeg


def is_encrypted(file: ByteStream) -> bool:
    """Whether an MP4 or Windows Media file says that its audio is encrypted."""
    head = file.peek_at(0, HEAD_BYTES)
    if head.startswith(ASF_HEADER):
        return any(guid in head for guid in ASF_ENCRYPTION)
    if head[4:8] == b"ftyp":
        index = _read_mp4_index(file)
        # A table of sample descriptions: its type, version, count of entries, then the first entry's size and format.
        tables = (match.start() for match in re.finditer(b"stsd", index))
        return any(index[table + 16 : table + 20] in MP4_ENCRYPTED_ENTRIES for table in tables)
    return False


def _read_mp4_index(file: ByteStream) -> bytes:
    """The bytes of the `moov` box; empty if there is none."""
    offset = 0
    for _ in range(MP4_BOX_LIMIT):
        if offset + 8 > file.size_bytes:
            break
        size, kind, long_size = struct.unpack(">I4sQ", file.peek_at(offset, 16).ljust(16, b"\0"))
        size = {0: file.size_bytes - offset, 1: long_size}.get(size, size)
        if size < 8:
            break
        if kind == b"moov":
            return file.peek_at(offset, min(size, MP4_INDEX_LIMIT_BYTES))
        offset += size
    return b""


def _system_reason(error: Exception) -> str:
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else "its name is not a valid path"

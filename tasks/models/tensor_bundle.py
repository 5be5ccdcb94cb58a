"""Reads the variables of a TensorFlow checkpoint without TensorFlow. What they mean is their model's business.

A checkpoint ("tensor bundle") is `NAME.index`, a sorted table of prefix-compressed blocks in LevelDB's layout whose
values are protocol buffers, and `NAME.data-00000-of-0000N`, the raw tensors. Blocks and tensors carry CRC-32Cs.

Reference:
    tensorflow/core/util/tensor_bundle/tensor_bundle.h, tensorflow/core/protobuf/tensor_bundle.proto and
    tensorflow/tsl/lib/io/format.h describe the format; LevelDB's doc/table_format.md the table.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from tasks.errors import BadCheckpoint

TABLE_MAGIC = 0xDB4775248B80FB57
FOOTER_BYTES = 48
BLOCK_TRAILER_BYTES = 5  # one byte of compression kind, four of CRC
CRC_MASK_DELTA = 0xA282EAD8
DTYPES = {1: np.dtype("<f4"), 2: np.dtype("<f8"), 3: np.dtype("<i4"), 9: np.dtype("<i8")}  # types.proto


@dataclass(frozen=True)
class TensorEntry:
    """Where one tensor lies: `size_bytes` at `offset` of shard number `shard`."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size_bytes: int
    crc: int


def read_index(prefix: Path) -> tuple[dict[str, TensorEntry], int]:
    """Read `PREFIX.index`.

    Args:
        prefix: Path of the checkpoint without a suffix, as TensorFlow names it (folder/model).

    Returns:
        The entries by name, in the order of their names, and the number of data shards.

    Raises:
        BadCheckpoint: The file is missing, damaged or no tensor bundle.
    """
    path = prefix.with_name(prefix.name + ".index")
    table = _read_bytes(path)
    try:
        rows = list(_table_rows(table, path))
        shards = 1
        entries = {}
        for key, value in rows:
            if key:
                entries[key.decode()] = _parse_entry(value)
            else:
                header = dict(_fields(value))
                shards = header.get(1, 1)
                if header.get(2, 0) != 0:
                    raise BadCheckpoint(f"{path} holds big-endian tensors; expected little-endian ones.")
    except (IndexError, KeyError, UnicodeDecodeError, TypeError) as error:
        raise BadCheckpoint(f"{path} cannot be read as a tensor bundle index ({error}).") from error
    return entries, shards


def read_tensors(prefix: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Read the named tensors and check them against their CRCs.

    Args:
        prefix: Path of the checkpoint without a suffix.
        names: Variables to read; empty gives an empty dict.

    Returns:
        The arrays by name, in their own dtype and shape.

    Raises:
        BadCheckpoint: A name is not there, or a file is missing, truncated or damaged.
    """
    entries, shards = read_index(prefix)
    missing = sorted(set(names) - set(entries))
    if missing:
        raise BadCheckpoint(f"{prefix} has no variable {missing[0]!r} ({len(missing)} expected variables are missing).")
    tensors = {}
    for name in names:
        entry = entries[name]
        path = prefix.with_name(f"{prefix.name}.data-{entry.shard:05d}-of-{shards:05d}")
        tensors[name] = _read_tensor(path, name, entry)
    return tensors


def crc32c(data: bytes | np.ndarray) -> int:
    """The CRC-32C (Castagnoli) of bytes.

    Long inputs are cut into equal lanes that run side by side as NumPy columns and are joined afterwards: a CRC without
    its pre- and post-inversion is linear, so crc(a ‖ b) = shift(crc(a), len(b)) xor crc(b).
    """
    data = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data.reshape(-1).view(np.uint8)
    lane_bytes = len(data) // _LANES
    register = 0xFFFFFFFF
    if lane_bytes:
        columns = np.ascontiguousarray(data[: lane_bytes * _LANES].reshape(_LANES, lane_bytes).T)
        registers = np.zeros(_LANES, np.uint32)
        registers[0] = register
        table = _crc_table()
        for column in columns:
            registers = table[(registers ^ column) & 0xFF] ^ (registers >> np.uint32(8))
        register = _join_lanes(registers, lane_bytes)
        data = data[lane_bytes * _LANES :]
    table_list = _crc_table().tolist()
    for byte in data.tolist():
        register = table_list[(register ^ byte) & 0xFF] ^ (register >> 8)
    return register ^ 0xFFFFFFFF


_LANES = 4096  # a power of two: the lanes are joined in pairs


@lru_cache(maxsize=1)
def _crc_table() -> np.ndarray:
    """The register after each byte, for the reflected polynomial 0x82F63B78, uint32 (256,)."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1).astype(np.uint32)
    return table


def _join_lanes(registers: np.ndarray, lane_bytes: int) -> int:
    """One register out of the registers of neighbouring lanes of equal length."""
    shift = _shift_matrix(lane_bytes)
    while len(registers) > 1:
        registers = _apply(shift, registers[0::2]) ^ registers[1::2]
        shift = _apply(shift, shift)
    return int(registers[0])


def _shift_matrix(zeros: int) -> np.ndarray:
    """What `zeros` zero bytes make of each bit of the register, uint32 (32,): the power by squaring of one byte's."""
    basis = np.uint32(1) << np.arange(32, dtype=np.uint32)
    power = _crc_table()[basis & 0xFF] ^ (basis >> np.uint32(8))
    result = basis
    while zeros:
        if zeros & 1:
            result = _apply(power, result)
        power = _apply(power, power)
        zeros >>= 1
    return result


def _apply(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The product over GF(2) of a matrix, its columns as uint32 (32,), and vectors uint32 (n,)."""
    bits = (vectors[:, None] >> np.arange(32, dtype=np.uint32)) & np.uint32(1)
    return np.bitwise_xor.reduce(bits * matrix, axis=1)


def _check_crc(data: bytes | np.ndarray, masked: int, what: str) -> None:
    """Stored CRCs are rotated and offset, so that a CRC over data that contains CRCs stays meaningful."""
    crc = crc32c(data)
    expected = (((crc >> 15) | (crc << 17)) + CRC_MASK_DELTA) & 0xFFFFFFFF
    if expected != masked:
        raise BadCheckpoint(f"{what} is damaged: its checksum is {masked:#010x}, the content gives {expected:#010x}.")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadCheckpoint(f"{path} cannot be read: expected a TensorFlow checkpoint there.") from error


def _read_tensor(path: Path, name: str, entry: TensorEntry) -> np.ndarray:
    if entry.dtype not in DTYPES:
        raise BadCheckpoint(f"{name} in {path} has the TensorFlow dtype {entry.dtype}; expected one of {list(DTYPES)}.")
    dtype = DTYPES[entry.dtype]
    if entry.size_bytes != int(np.prod(entry.shape)) * dtype.itemsize:
        raise BadCheckpoint(f"{name} in {path} has {entry.size_bytes} bytes, which does not fit {entry.shape}.")
    try:
        with path.open("rb") as file:
            file.seek(entry.offset)
            data = file.read(entry.size_bytes)
    except OSError as error:
        raise BadCheckpoint(f"{path} cannot be read: expected the tensors of the checkpoint there.") from error
    if len(data) != entry.size_bytes:
        raise BadCheckpoint(f"{path} is truncated: {name} should end at byte {entry.offset + entry.size_bytes}.")
    _check_crc(data, entry.crc, f"{name} in {path}")
    return np.frombuffer(data, dtype).reshape(entry.shape)


def _table_rows(table: bytes, path: Path) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a table file, in order."""
    footer = table[-FOOTER_BYTES:]
    if len(footer) < FOOTER_BYTES or int.from_bytes(footer[-8:], "little") != TABLE_MAGIC:
        raise BadCheckpoint(f"{path} is no tensor bundle index: expected the table magic {TABLE_MAGIC:#x} at its end.")
    _, _, position = _handle(footer, 0)  # the meta index: unused
    offset, size, _ = _handle(footer, position)
    for _, value in _block_rows(_block(table, offset, size, path)):
        data_offset, data_size, _ = _handle(value, 0)
        yield from _block_rows(_block(table, data_offset, data_size, path))


def _block(table: bytes, offset: int, size: int, path: Path) -> bytes:
    trailer = table[offset + size : offset + size + BLOCK_TRAILER_BYTES]
    if len(trailer) < BLOCK_TRAILER_BYTES:
        raise BadCheckpoint(f"{path} is truncated: a block should end at byte {offset + size + BLOCK_TRAILER_BYTES}.")
    _check_crc(table[offset : offset + size + 1], int.from_bytes(trailer[1:], "little"), f"A block of {path}")
    if trailer[0] != 0:
        raise BadCheckpoint(f"{path} has compressed blocks (kind {trailer[0]}); expected uncompressed ones.")
    return table[offset : offset + size]


def _block_rows(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The rows of a block: each key shares a prefix with the one before it; restart points follow the last row."""
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    position = 0
    key = b""
    while position < end:
        shared, position = _varint(block, position)
        unshared, position = _varint(block, position)
        value_size, position = _varint(block, position)
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + value_size]
        position += value_size


def _handle(data: bytes, position: int) -> tuple[int, int, int]:
    """A block handle (offset, size) and the position after it."""
    offset, position = _varint(data, position)
    size, position = _varint(data, position)
    return offset, size, position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protocol buffer: numbers as int, nested messages and strings as bytes."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == 0:
            value, position = _varint(message, position)
        elif kind == 2:
            size, position = _varint(message, position)
            value, position = message[position : position + size], position + size
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, position = int.from_bytes(message[position : position + size], "little"), position + size
        else:
            raise KeyError(f"wire type {kind}")
        yield tag >> 3, value


def _parse_entry(message: bytes) -> TensorEntry:
    """A BundleEntryProto: dtype 1, shape 2, shard_id 3, offset 4, size 5, crc32c 6."""
    fields = dict(_fields(message))
    dimensions = [dict(_fields(value)) for number, value in _fields(fields.get(2, b"")) if number == 2]
    return TensorEntry(
        dtype=fields.get(1, 0),
        shape=tuple(dimension.get(1, 0) for dimension in dimensions),
        shard=fields.get(3, 0),
        offset=fields.get(4, 0),
        size_bytes=fields.get(5, 0),
        crc=fields.get(6, 0),
    )

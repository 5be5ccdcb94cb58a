from pathlib import Path

import numpy as np
import pytest

from tasks.models.training.material import CLASSES, load_material, make_batch

FRAMES, BANDS = 400, 80


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One shard of two clips; a kick of velocity 127 at 1.005 s in the first, a faint snare at 2 s in the second."""
    drums = np.full((2, FRAMES, BANDS), 1.0, np.float16)
    hits = np.array([[0, 1.005, 0, 127], [1, 2.0, 1, 5]], np.float32)
    np.savez(tmp_path / "train-000.npz", drums=drums, music=drums, hits=hits, mixture=drums[:1] + 0.5, stem=drums[:1])
    return tmp_path


def test_a_target_lies_between_the_frames_where_the_hit_is(folder):
    targets = load_material(folder, "train").targets[0, :, 0]
    assert targets[100] == pytest.approx(targets[101], abs=0.01)
    assert targets.argmax() in (100, 101)


def test_a_target_carries_the_velocity(folder):
    assert load_material(folder, "train").targets[0, 100, CLASSES] == pytest.approx(1.0)


def test_faint_hits_are_uncertain(folder):
    material = load_material(folder, "train")
    assert not material.certain[1, 200, 1]
    assert material.targets[1].max() == 0


def test_a_batch_is_finite_and_has_its_shape(folder):
    inputs, targets, certain = make_batch(load_material(folder, "train"), 40, 256, np.random.default_rng(1))
    assert inputs.shape == (40, 2, 256, BANDS)
    assert targets.shape == (40, 256, 2 * CLASSES)
    assert certain.shape == (40, 256, CLASSES)
    assert np.isfinite(inputs).all()


def test_the_same_seed_gives_the_same_batch(folder):
    material = load_material(folder, "train")
    first, second = (make_batch(material, 4, 256, np.random.default_rng(3))[0] for _ in range(2))
    assert (first == second).all()

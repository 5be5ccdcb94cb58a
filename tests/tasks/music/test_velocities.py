import numpy as np
import pytest

from tasks.music.drums import INSTRUMENTS, Hits
from tasks.music.signals import HOP_S, MEL_BANDS, mel_centres_hz
from tasks.music.velocities import LevelParams, measure_band_energy, weigh_levels

FRAMES = 1_000


def kicks(frames: list[int], velocity: int = 80) -> Hits:
    count = len(frames)
    return Hits(
        np.array(frames) * HOP_S, np.full(count, "kick"), np.full(count, velocity), np.full(count, 0.9, np.float32)
    )


def energy_of_kicks(amplitudes: dict[int, float]) -> np.ndarray:
    energy = np.zeros((len(INSTRUMENTS), FRAMES), np.float32)
    for frame, amplitude in amplitudes.items():
        energy[INSTRUMENTS.index("kick"), frame] = amplitude**2
    return energy


def test_velocities_follow_the_amplitude_half_way():
    frames = [100, 200, 300]
    energy = energy_of_kicks({100: 0.1, 200: 0.15, 300: 0.05})
    assert weigh_levels(kicks(frames), energy).velocity.tolist() == [80, (80 + 120) // 2, (80 + 40) // 2]


def test_the_gain_of_a_recording_does_not_matter():
    frames, rng = list(range(100, 900, 50)), np.random.default_rng(3)
    energy = energy_of_kicks({frame: rng.uniform(0.02, 0.2) for frame in frames})
    loud, soft = (weigh_levels(kicks(frames), gain * energy).velocity for gain in (1.0, 0.01))
    assert loud.tolist() == soft.tolist()


def test_what_rings_before_a_stroke_is_not_its_level():
    frames = [100, 200, 300]
    energy = energy_of_kicks(dict.fromkeys(frames, 0.1))
    ringing = energy.copy()
    ringing[0, 150:350] += 0.05**2
    assert (
        weigh_levels(kicks(frames), ringing).velocity.tolist() == weigh_levels(kicks(frames), energy).velocity.tolist()
    )


def test_a_soft_passage_is_measured_by_its_own_strokes():
    frames = list(range(20, 980, 20))
    energy = energy_of_kicks({frame: 0.2 if frame < 500 else 0.02 for frame in frames})
    velocity = weigh_levels(kicks(frames), energy, LevelParams(window_hits=5)).velocity
    assert velocity[-5:].tolist() == [80] * 5


def test_instruments_do_not_share_a_level():
    hits = Hits(np.array([1.0, 1.0]), np.array(["kick", "snare"]), np.array([90, 40]), np.full(2, 0.9, np.float32))
    assert weigh_levels(hits, energy_of_kicks({100: 0.5})).velocity.tolist() == [90, 40]


def test_velocities_stay_in_their_range():
    frames = [100, 200, 300]
    velocity = weigh_levels(kicks(frames), energy_of_kicks({100: 0.01, 200: 1.0, 300: 0.01})).velocity
    assert velocity.tolist() == [80, 104, 80]
    assert weigh_levels(kicks([100, 200, 300], 1), energy_of_kicks({100: 1.0})).velocity.min() == 1


def test_strokes_without_a_sound_keep_the_velocities_of_the_network():
    silent = np.zeros((len(INSTRUMENTS), FRAMES), np.float32)
    assert weigh_levels(kicks([100, 200], 70), silent).velocity.tolist() == [70, 70]


def test_no_hits_stay_none():
    assert len(weigh_levels(kicks([]), np.zeros((len(INSTRUMENTS), 0), np.float32))) == 0


@pytest.mark.parametrize(("instrument", "frequency_hz"), [("kick", 60), ("snare", 1_000), ("hihat", 10_000)])
def test_energy_goes_to_the_instrument_of_its_band(instrument, frequency_hz):
    main = INSTRUMENTS[:3]  # the others share their bands with these
    bands = np.zeros((MEL_BANDS, 1), np.float32)
    bands[np.abs(mel_centres_hz() - frequency_hz).argmin()] = 0.25
    energy = measure_band_energy(bands)[:, 0]
    assert energy[main.index(instrument)] == pytest.approx(0.25, rel=1e-3)
    assert energy[: len(main)].sum() == pytest.approx(0.25, rel=1e-3)

from pathlib import Path

import numpy as np
import pytest

from tasks.models.training.drum_synth import MIXED_KITS, load_drum_synth_kits, read_preset, render_preset
from tasks.models.training.kits import RATE_HZ

TONE = """[General]
Version=DrumSynth v2.0
Stretch={stretch}
Filter={filtered}
HighPass=1
FilterEnv=0,80 44100,80

[Tone]
On={on}
Level=100
F1={first_hz}
F2=200
Droop={droop}
Envelope=0,100 {length},100 {length},0

[Distortion]
On={distorted}
Clipping=20
"""


def preset(tmp_path: Path, **changes) -> dict:
    values = {"stretch": 100, "filtered": 0, "on": 1, "first_hz": 1_600, "droop": 20, "length": 22_050, "distorted": 0}
    path = tmp_path / "tone.ds"
    path.write_bytes(TONE.format(**values | changes).replace("\n", "\r\n").encode("latin-1"))
    return read_preset(path)


def pitch_hz(samples: np.ndarray) -> float:
    """By the zero crossings."""
    return float((np.diff(np.sign(samples)) != 0).sum() / 2 / (len(samples) / RATE_HZ))


def test_the_tone_falls_from_its_first_pitch_to_its_last(tmp_path: Path):
    samples = render_preset(preset(tmp_path))
    assert pitch_hz(samples[:441]) == pytest.approx(1_550, abs=100)
    assert pitch_hz(samples[-2_205:]) == pytest.approx(225, abs=30)


def test_a_tone_without_droop_falls_in_a_line(tmp_path: Path):
    samples = render_preset(preset(tmp_path, droop=0))
    half = len(samples) // 2
    assert pitch_hz(samples[half - 1_000 : half + 1_000]) == pytest.approx(900, abs=60)


def test_more_droop_falls_sooner(tmp_path: Path):
    slow, fast = (render_preset(preset(tmp_path, droop=droop)) for droop in (20, 80))
    assert pitch_hz(fast[2_205:4_410]) < 0.5 * pitch_hz(slow[2_205:4_410])


def test_stretch_makes_a_sound_longer_at_the_same_pitch(tmp_path: Path):
    plain, longer = (render_preset(preset(tmp_path, stretch=stretch)) for stretch in (100, 200))
    assert len(longer) == pytest.approx(2 * len(plain), abs=2)
    assert pitch_hz(longer[-2_205:]) == pytest.approx(pitch_hz(plain[-2_205:]), abs=30)


def test_a_preset_with_everything_off_gives_no_samples(tmp_path: Path):
    assert len(render_preset(preset(tmp_path, on=0))) == 0


def test_clipping_makes_the_middle_of_a_wave_as_loud_as_its_peak(tmp_path: Path):
    plain, clipped = (render_preset(preset(tmp_path, distorted=distorted)) for distorted in (0, 1))
    assert np.median(np.abs(plain)) == pytest.approx(0.7, abs=0.05)
    assert np.median(np.abs(clipped)) == pytest.approx(1.0, abs=0.01)


def test_the_high_pass_takes_a_low_tone_away_from_beside_a_click(tmp_path: Path):
    plain, filtered = (
        render_preset(preset(tmp_path, first_hz=200, filtered=filtered, length=22_050)) for filtered in (0, 1)
    )
    assert np.abs(plain[11_025:20_000]).max() > 0.99
    assert np.abs(filtered[11_025:20_000]).max() < 0.2


def test_noise_is_dull_or_thin_after_its_slope(tmp_path: Path):
    path = tmp_path / "noise.ds"
    centroids_hz = []
    for slope in (-80, 0, 80):
        path.write_text(f"[Noise]\nOn=1\nLevel=100\nSlope={slope}\nEnvelope=0,100 10000,0\n")
        power = np.abs(np.fft.rfft(render_preset(read_preset(path)))) ** 2
        hz = np.fft.rfftfreq(2 * (len(power) - 1), 1 / RATE_HZ)
        centroids_hz.append((hz * power).sum() / power.sum())
    assert centroids_hz[0] < 0.5 * centroids_hz[1]
    assert centroids_hz[1] < 0.9 * centroids_hz[2]


@pytest.mark.parametrize("method", range(4))
def test_overtones_of_every_method_sound(tmp_path: Path, method: int):
    path = tmp_path / "overtones.ds"
    waves = "F1=400\nWave1=2\nTrack1=1\nF2=930\nWave2=3\nTrack2=0\nEnvelope1=0,100 9000,0\nEnvelope2=0,100 9000,0\n"
    path.write_text(f"[Overtones]\nOn=1\nLevel=100\nMethod={method}\nParam=50\n{waves}")
    samples = render_preset(read_preset(path))
    assert len(samples) == pytest.approx(9_000, abs=2)
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() == pytest.approx(1.0)


def test_presets_become_pieces_by_their_names_and_tr808_and_what_is_no_drum_are_left_out(tmp_path: Path):
    presets = tmp_path / "usr/share/lmms/samples/drumsynth"
    files = ("tr909/Kick_1", "tr909/Hat-o", "tr808/Kick", "effects/Laser", "linn/linn_tom1", "misc/hot_snare")
    for name in (*files, "misc/basic_808_click_hum", "misc/verylong"):
        (presets / name).parent.mkdir(parents=True, exist_ok=True)
        (presets / f"{name}.ds").write_text(
            TONE.format(stretch=100, filtered=0, on=1, first_hz=300, droop=20, length=4_410, distorted=0)
        )
    kits = {kit.name: sorted(kit.sounds) for kit in load_drum_synth_kits(tmp_path)}
    assert {name: pieces for name, pieces in kits.items() if pieces} == {
        "drumsynth/tr909": ["hihat_open", "kick"],
        "drumsynth/linn": ["tom_high"],
        "drumsynth/mixed 0": ["snare"],
    }
    assert sum(name.startswith("drumsynth/mixed") for name in kits) == MIXED_KITS

import numpy as np
import pytest

from tasks.music.onsets import FluxStream, OnsetParams, OnsetStream, compute_flux, detect_onsets
from tasks.music.signals import MEL_BANDS, SAMPLE_RATE_HZ, LogMel, Signal, compute_log_mel


def make_mel(samples: np.ndarray) -> LogMel:
    return compute_log_mel(Signal(np.atleast_2d(samples).astype(np.float32)))


def strike(times_s: np.ndarray, duration_s: float, decay_s: float, level: float = 0.5, seed: int = 0) -> np.ndarray:
    """Bursts of noise that begin at exact times and die away."""
    rng = np.random.default_rng(seed)
    samples = np.zeros(round(duration_s * SAMPLE_RATE_HZ))
    t = np.arange(round(5 * decay_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    for time_s in times_s:
        start = round(time_s * SAMPLE_RATE_HZ)
        burst = level * rng.standard_normal(len(t)) * np.exp(-t / decay_s)
        samples[start : start + len(burst)] += burst[: len(samples) - start]
    return samples


def random_times(duration_s: float = 20.0, gap_s: float = 0.25, seed: int = 1) -> np.ndarray:
    """Times at all places between the frames."""
    rng = np.random.default_rng(seed)
    return np.arange(0.5, duration_s - 0.5, gap_s) + rng.uniform(-0.05, 0.05, round((duration_s - 1.0) / gap_s))


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(1), np.zeros(22_050), np.zeros(441_000)], ids=len)
def test_silence_has_no_onsets(samples):
    assert len(detect_onsets(make_mel(samples))) == 0


def test_a_spectrogram_without_frames_has_no_onsets():
    assert len(detect_onsets(LogMel(np.zeros((MEL_BANDS, 0), np.float32)))) == 0


def test_every_strike_is_found_once():
    times_s = random_times()
    onsets = detect_onsets(make_mel(strike(times_s, 20.0, 0.05)))
    assert len(onsets) == len(times_s)
    assert np.abs(onsets.time_s - times_s).max() < 0.010


@pytest.mark.parametrize("decay_s", [0.01, 0.02, 0.05, 0.15])
@pytest.mark.parametrize("level", [0.02, 0.2, 0.8])
def test_onset_times_have_no_bias(decay_s, level):
    times_s = random_times()
    onsets = detect_onsets(make_mel(strike(times_s, 20.0, decay_s, level)))
    error_s = onsets.time_s[np.abs(onsets.time_s[:, None] - times_s).argmin(axis=0)] - times_s
    assert abs(np.median(error_s)) < 0.005
    assert np.percentile(np.abs(error_s), 90) < 0.008


def test_times_are_finer_than_frames():
    """Strikes a millisecond apart from frame to frame come out in that order."""
    times_s = 0.5 + np.arange(10) * 0.401
    onsets = detect_onsets(make_mel(strike(times_s, 5.0, 0.05)))
    assert np.std(np.diff(onsets.time_s) - 0.401) < 0.002


def test_louder_strikes_are_stronger():
    soft, loud = strike([1.0], 2.0, 0.05, 0.02), strike([1.0], 2.0, 0.05, 0.5)
    assert detect_onsets(make_mel(loud)).strength[0] > 1.3 * detect_onsets(make_mel(soft)).strength[0]


def test_soft_strikes_beside_loud_ones_are_found():
    times_s = random_times()
    samples = strike(times_s[::2], 20.0, 0.03, 0.5) + strike(times_s[1::2], 20.0, 0.03, 0.01)
    assert len(detect_onsets(make_mel(samples))) == len(times_s)


def test_vibrato_is_one_onset():
    t = np.arange(5 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    voice = sum(np.sin(k * 2 * np.pi * (440 * t + 0.5 * np.sin(2 * np.pi * 6 * t))) / k for k in range(1, 8))
    samples = np.concatenate([np.zeros(22_050), 0.2 * voice])
    onsets = detect_onsets(make_mel(samples))
    assert abs(onsets.time_s[0] - 0.5) < 0.02
    assert len(onsets.time_s[(onsets.time_s > 0.6) & (onsets.time_s < 5.3)]) == 0


def test_steady_noise_has_few_onsets():
    noise = 0.1 * np.random.default_rng(0).standard_normal(20 * SAMPLE_RATE_HZ)
    assert len(detect_onsets(make_mel(noise))) < 1.5 * 20


def test_strikes_are_found_in_noise():
    times_s = random_times()
    noise = 0.003 * np.random.default_rng(0).standard_normal(20 * SAMPLE_RATE_HZ)
    onsets = detect_onsets(make_mel(noise + strike(times_s, 20.0, 0.05)))
    found = np.abs(onsets.time_s[:, None] - times_s).min(axis=0) < 0.02
    assert found.all()


def test_onsets_do_not_lie_outside_the_signal():
    onsets = detect_onsets(make_mel(strike([0.0, 1.9], 2.0, 0.05)))
    assert len(onsets) == 2
    assert (onsets.time_s >= 0).all()
    assert (onsets.time_s <= 2.0).all()


def test_the_flux_does_not_depend_on_how_it_is_cut_into_blocks():
    values = np.random.default_rng(0).random((MEL_BANDS, 13_000), np.float32)
    whole = compute_flux(LogMel(values))
    np.testing.assert_allclose(compute_flux(LogMel(values[:, 5_000:]))[10:], whole[5_010:], rtol=1e-6)


def test_a_higher_threshold_finds_fewer():
    mel = make_mel(strike(random_times(), 20.0, 0.05, 0.01))
    assert len(detect_onsets(mel, OnsetParams(threshold=5.0))) == 0
    assert len(detect_onsets(mel)) > 0


def test_the_same_input_gives_the_same_output():
    mel = make_mel(strike(random_times(), 20.0, 0.05))
    first, second = detect_onsets(mel), detect_onsets(mel)
    np.testing.assert_array_equal(first.time_s, second.time_s)
    np.testing.assert_array_equal(first.strength, second.strength)


def test_a_stream_finds_what_the_whole_has():
    random = np.random.default_rng(3)
    samples = np.zeros((1, 200 * SAMPLE_RATE_HZ), np.float32)
    for time_s in np.sort(random.uniform(0, 199, 700)):
        start = int(time_s * SAMPLE_RATE_HZ)
        hit = random.standard_normal(4_000) * np.exp(-np.arange(4_000) / 800) * random.uniform(0.02, 0.5)
        samples[0, start : start + 4_000] += hit.astype(np.float32)
    mel = compute_log_mel(Signal(samples))
    found, whole = push_parts(OnsetStream(), mel, 1_000), detect_onsets(mel)
    assert len(whole) > 500
    np.testing.assert_allclose(found.time_s, whole.time_s, atol=1e-6)
    np.testing.assert_allclose(found.strength, whole.strength, atol=1e-5)


def push_parts(stream, mel, frames):
    for start in range(0, mel.frames, frames):
        stream.push(LogMel(mel.values[:, start : start + frames]))
    return stream.finish()


@pytest.mark.parametrize("frames", [1, 7, 500])
def test_the_flux_of_parts_is_that_of_the_whole(frames):
    mel = LogMel(np.random.default_rng(1).random((MEL_BANDS, 300), np.float32))
    np.testing.assert_allclose(push_parts(FluxStream(), mel, frames), compute_flux(mel), atol=1e-6)


def test_a_stream_of_nothing_has_no_onsets():
    assert len(OnsetStream().finish()) == 0


def test_peaks_that_are_placed_at_one_moment_are_one_onset(monkeypatch):
    mel = make_mel(strike(np.array([0.5, 1.0, 1.5]), 2.0, 0.05))
    alone = detect_onsets(mel)
    monkeypatch.setattr("tasks.music.onsets._locate", lambda mel, peaks, params: np.full(len(peaks), 0.7))
    joined = detect_onsets(mel)
    assert joined.time_s.tolist() == [0.7]
    assert joined.strength.tolist() == [alone.strength.max()]

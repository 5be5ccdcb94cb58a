import numpy as np
import pytest

from tasks.models import drums as drums_module
from tasks.models.drums import load_transcriber
from tasks.music.signals import MEL_BANDS, SAMPLE_RATE_HZ, LogMel, Signal, compute_log_mel

RNG_SEED = 7


def log_mel_of(samples: np.ndarray) -> LogMel:
    return compute_log_mel(Signal(np.asarray(samples, np.float32)[None]))


def decaying(duration_s: float, decay_s: float) -> np.ndarray:
    return np.exp(-np.arange(round(duration_s * SAMPLE_RATE_HZ)) / (decay_s * SAMPLE_RATE_HZ))


def kick() -> np.ndarray:
    t = np.arange(round(0.3 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return np.sin(2 * np.pi * (55 * t + 4 * (1 - np.exp(-t / 0.02)))) * decaying(0.3, 0.08)


def snare() -> np.ndarray:
    noise = np.random.default_rng(RNG_SEED).standard_normal(round(0.25 * SAMPLE_RATE_HZ))
    body = np.sin(2 * np.pi * 190 * np.arange(len(noise)) / SAMPLE_RATE_HZ) * decaying(0.25, 0.05)
    return 0.6 * body + 0.2 * noise * decaying(0.25, 0.06)


def hihat() -> np.ndarray:
    noise = np.random.default_rng(RNG_SEED).standard_normal(round(0.1 * SAMPLE_RATE_HZ))
    return 0.2 * np.diff(noise, n=2, prepend=[0, 0]) * decaying(0.1, 0.02)


def beat(gain: float = 0.5, bars: int = 2) -> tuple[np.ndarray, dict[str, list[float]]]:
    """Rock at 120 bpm, its hits beginning at 0.5 s, and where they are."""
    samples = np.zeros(round((bars * 2 + 1) * SAMPLE_RATE_HZ))
    times: dict[str, list[float]] = {"kick": [], "snare": [], "hihat": []}
    for eighth in range(8 * bars):
        at_s = 0.5 + 0.25 * eighth
        sounds = {"hihat": hihat()} | ({"kick": kick()} if eighth % 4 == 0 else {})
        sounds |= {"snare": snare()} if eighth % 4 == 2 else {}
        for name, sound in sounds.items():
            start = round(at_s * SAMPLE_RATE_HZ)
            samples[start : start + len(sound)] += gain * sound
            times[name].append(at_s)
    return samples, times


@pytest.fixture(scope="module")
def transcriber():
    return load_transcriber()


@pytest.mark.parametrize("instrument", ["kick", "snare", "hihat"])
def test_a_rock_beat_is_transcribed(transcriber, instrument):
    samples, times = beat()
    hits = transcriber.transcribe(log_mel_of(samples))
    found = hits.time_s[hits.instrument == instrument]
    nearest = np.abs(found[None] - np.array(times[instrument])[:, None]).min(axis=1)
    assert (nearest < 0.02).mean() >= 0.75


def test_the_drum_stem_is_heard_beside_the_mixture(transcriber):
    samples, times = beat()
    tone = 0.4 * np.sin(2 * np.pi * 330 * np.arange(len(samples)) / SAMPLE_RATE_HZ)
    hits = transcriber.transcribe(log_mel_of(samples + tone), log_mel_of(samples))
    assert (hits.instrument == "snare").sum() >= len(times["snare"]) - 1


def test_a_beat_without_toms_and_rides_has_none(transcriber):
    assert set(transcriber.transcribe(log_mel_of(beat()[0])).instrument) == {"kick", "snare", "hihat"}


def test_a_fill_on_toms_is_heard(transcriber):
    samples, _ = beat()
    t = np.arange(round(0.4 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    times_s = [4.625, 4.75, 4.875]
    for at_s, pitch_hz in zip(times_s, (190, 150, 110), strict=True):
        tom = np.sin(2 * np.pi * (pitch_hz * t + 1.5 * (1 - np.exp(-t / 0.03)))) * decaying(0.4, 0.12)
        start = round(at_s * SAMPLE_RATE_HZ)
        part = samples[start : start + len(tom)]
        part += 0.5 * tom[: len(part)]
    hits = transcriber.transcribe(log_mel_of(samples))
    found = hits.time_s[hits.instrument == "tom"]
    assert len(found) >= 2
    assert all(np.abs(np.array(times_s) - time_s).min() < 0.03 for time_s in found)


def test_silence_has_no_hits(transcriber):
    assert len(transcriber.transcribe(log_mel_of(np.zeros(2 * SAMPLE_RATE_HZ)))) == 0


def test_steady_noise_has_no_hits_after_it_began(transcriber):
    noise = 0.1 * np.random.default_rng(RNG_SEED).standard_normal(5 * SAMPLE_RATE_HZ)
    assert not (transcriber.transcribe(log_mel_of(noise)).time_s[:-1] > 0.2).any()


def test_babble_is_taken_for_few_hits(transcriber):
    t = np.arange(10 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    syllables = np.clip(np.sin(2 * np.pi * 3 * t), 0, 1)
    voice = sum(np.sin(2 * np.pi * 140 * k * t + np.sin(2 * np.pi * 5 * t)) / k for k in range(1, 20))
    hits = transcriber.transcribe(log_mel_of(0.1 * syllables * voice))
    assert len(hits) <= 5


def speech(pitch_hz: float, duration_s: float = 6.0) -> np.ndarray:
    """Syllables of a hiss and a vowel with two formants, at random lengths and gaps."""
    rng = np.random.default_rng(round(pitch_hz))
    samples, at = np.zeros(round(duration_s * SAMPLE_RATE_HZ)), 0.2
    while at < duration_s - 0.6:
        t = np.arange(round(rng.uniform(0.08, 0.25) * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        partials_hz = pitch_hz * rng.uniform(0.85, 1.2) * np.arange(1, 30)
        formants_hz = np.array([rng.uniform(300, 800), rng.uniform(900, 2_200)])
        loudness = np.exp(-(np.log2(partials_hz[:, None] / formants_hz) ** 2) / 0.1).sum(axis=1)
        vowel = loudness @ np.sin(2 * np.pi * partials_hz[:, None] * t) * np.hanning(len(t))
        hiss = np.diff(rng.standard_normal(round(rng.uniform(0.03, 0.1) * SAMPLE_RATE_HZ)), prepend=0)
        syllable = np.concatenate([0.03 * hiss * np.hanning(len(hiss)), 0.2 * vowel / np.abs(vowel).max()])
        start = round(at * SAMPLE_RATE_HZ)
        samples[start : start + len(syllable)] += syllable
        at += len(syllable) / SAMPLE_RATE_HZ + rng.uniform(0.03, 0.2)
    return samples


@pytest.mark.parametrize("pitch_hz", [100.0, 150.0, 220.0])
def test_what_is_like_speech_has_no_hits(transcriber, pitch_hz):
    assert len(transcriber.transcribe(log_mel_of(speech(pitch_hz)))) == 0


def test_the_same_input_gives_the_same_hits(transcriber):
    log_mel = log_mel_of(beat()[0])
    first, second = transcriber.transcribe(log_mel), transcriber.transcribe(log_mel)
    assert (first.time_s == second.time_s).all()
    assert (first.confidence == second.confidence).all()


def test_the_borders_of_the_pieces_do_not_show(transcriber, monkeypatch):
    log_mel = log_mel_of(beat()[0])
    whole = transcriber.transcribe(log_mel)
    monkeypatch.setattr(drums_module, "PIECE_FRAMES", 97)
    pieces = transcriber.transcribe(log_mel)
    np.testing.assert_allclose(pieces.time_s, whole.time_s, atol=1e-4)
    np.testing.assert_allclose(pieces.confidence, whole.confidence, atol=1e-4)
    np.testing.assert_allclose(pieces.velocity, whole.velocity, atol=1)


def test_a_drum_stem_that_trails_gives_the_same_hits(transcriber):
    mixture = log_mel_of(beat()[0])
    stream = transcriber.stream()
    stream.push(mixture, LogMel(mixture.values[:, :50]))
    stream.push(LogMel(mixture.values[:, :0]), LogMel(mixture.values[:, 50:]))
    hits, whole = stream.finish(), transcriber.transcribe(mixture)
    np.testing.assert_array_equal(hits.time_s, whole.time_s)
    np.testing.assert_array_equal(hits.velocity, whole.velocity)


@pytest.mark.parametrize("frames", [0, 1, 7])
def test_very_short_audio_does_not_raise(transcriber, frames):
    hits = transcriber.transcribe(LogMel(np.zeros((MEL_BANDS, frames), np.float32)))
    assert len(hits) == 0


def test_a_stem_of_another_length_is_refused(transcriber):
    mixture, stem = (LogMel(np.zeros((MEL_BANDS, frames), np.float32)) for frames in (100, 90))
    with pytest.raises(ValueError, match="10 frames"):
        transcriber.transcribe(mixture, stem)


def test_louder_drums_have_greater_velocities(transcriber):
    """The network hears the touch and not the volume alone, so only a large difference must show."""
    samples, _ = beat()
    accents = samples.copy()
    accents[: len(samples) // 2] *= 0.1
    hits = transcriber.transcribe(log_mel_of(accents))
    snares = hits.instrument == "snare"
    early = hits.time_s < len(samples) / 2 / SAMPLE_RATE_HZ
    assert hits.velocity[snares & ~early].mean() > hits.velocity[snares & early].mean()


def test_the_weights_fit_into_the_repository():
    assert drums_module._WEIGHTS_PATH.stat().st_size < 5_000_000

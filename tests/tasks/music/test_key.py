import numpy as np
import pytest

from tasks.music.key import PITCH_CLASSES, Chroma, ChromaStream, correlate_profiles, detect_key, fold_semitones
from tasks.music.signals import SAMPLE_RATE_HZ

MAJOR_CHORDS = ((0, 4, 7), (5, 9, 12), (7, 11, 14), (0, 4, 7))  # I IV V I
MINOR_CHORDS = ((0, 3, 7), (5, 8, 12), (7, 11, 14), (0, 3, 7))  # i iv V i


def play(chords, tonic, seconds_each=1.0, a4_hz=440.0, harmonics=4):
    """Chords from C3 + tonic up, float32 (2, n)."""
    time_s = np.arange(int(SAMPLE_RATE_HZ * seconds_each)) / SAMPLE_RATE_HZ
    parts = []
    for chord in chords:
        tone = np.zeros_like(time_s)
        for note in (*chord, chord[0] - 12):
            hz = a4_hz * 2 ** ((note + tonic - 21) / 12)  # C3 is 21 semitones below A4
            tone += sum(np.sin(2 * np.pi * hz * k * time_s) / k**1.5 for k in range(1, harmonics + 1))
        parts.append(tone * np.exp(-time_s))
    samples = np.concatenate(parts) * 0.1
    return np.tile(samples.astype(np.float32), (2, 1))


def chroma_of(samples, block=441_000):
    stream = ChromaStream()
    for start in range(0, samples.shape[1], block):
        stream.push(samples[:, start : start + block])
    return stream.finish()


@pytest.mark.parametrize("tonic", range(12))
@pytest.mark.parametrize("mode, chords", [("major", MAJOR_CHORDS), ("minor", MINOR_CHORDS)])
def test_a_cadence_gives_its_key(tonic, mode, chords):
    key = detect_key(chroma_of(play(chords, tonic)))
    assert key.detected_key == f"{PITCH_CLASSES[tonic]} {mode}"
    assert 0.3 < key.key_confidence <= 1


@pytest.mark.parametrize("a4_hz", [430.0, 436.0, 450.0])
def test_the_tuning_is_found_and_taken_out(a4_hz):
    chroma = chroma_of(play(MAJOR_CHORDS, 2, a4_hz=a4_hz))
    assert chroma.tuning_semitones == pytest.approx(12 * np.log2(a4_hz / 440), abs=0.05)
    assert chroma.intonation > 0.5
    assert detect_key(chroma).detected_key == "D major"


def test_a_single_a_is_row_nine():
    assert chroma_of(play([(9,)] * 2, 0, harmonics=1)).values.sum(axis=1).argmax() == 9


def test_blocks_of_any_size_give_the_same_chroma():
    samples = play(MAJOR_CHORDS, 5)
    one, other = chroma_of(samples, samples.shape[1]), chroma_of(samples, 10_007)
    np.testing.assert_allclose(one.values, other.values, atol=1e-5)
    assert one.tonality == pytest.approx(other.tonality, abs=1e-6)


def test_a_frame_is_centred_on_its_time():
    samples = play([(0,)], 0, seconds_each=3.0)
    samples[:, : SAMPLE_RATE_HZ * 2] = 0
    chroma = chroma_of(samples)
    assert chroma.frames == 3 / chroma.hop_s + 1
    assert chroma.values[:, :9].sum() == 0
    assert chroma.values[0, 12:].min() > 0


def drum_loop():
    rng = np.random.default_rng(1)
    time_s = np.arange(SAMPLE_RATE_HZ * 10) / SAMPLE_RATE_HZ
    kick = np.sin(2 * np.pi * 60 * (time_s % 0.5) * np.exp(-2 * (time_s % 0.5))) * np.exp(-20 * (time_s % 0.5))
    hats = rng.normal(0, 0.3, len(time_s)) * np.exp(-40 * (time_s % 0.25))
    return np.tile((0.5 * kick + hats).astype(np.float32), (2, 1))


def ringing_drums():
    """Drums that ring near the tones of a major triad, each off by another part of a semitone."""
    time_s = np.arange(SAMPLE_RATE_HZ * 12) / SAMPLE_RATE_HZ
    samples = np.zeros_like(time_s)
    for hit, semitones in enumerate((0.3, 7.0, 4.3, -0.3, 12.2, 6.7, 15.75, 11.7) * 3):
        since, hz = time_s - hit / 2, 110 * 2 ** (semitones / 12)
        ring = sum(np.sin(2 * np.pi * hz * mode * since) / mode for mode in (1, 2))
        samples += np.where(since >= 0, ring * np.exp(-3 * np.maximum(since, 0)), 0)
    return np.tile((0.1 * samples).astype(np.float32), (2, 1))


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros((2, 0), np.float32),
        np.zeros((2, SAMPLE_RATE_HZ * 5), np.float32),
        np.random.default_rng(0).normal(0, 0.1, (2, SAMPLE_RATE_HZ * 10)).astype(np.float32),
        drum_loop(),
        ringing_drums(),
        play(MAJOR_CHORDS, 0)[:, : SAMPLE_RATE_HZ // 2],
    ],
    ids=["empty", "silence", "noise", "drums", "ringing drums", "half a second"],
)
def test_there_is_no_key_in(samples):
    key = detect_key(chroma_of(samples))
    assert key.detected_key is None
    assert key.key_confidence is None


def test_one_pitch_class_alone_is_no_key_with_confidence():
    key = detect_key(chroma_of(play([(0,)] * 4, 0, harmonics=1)))
    assert key.detected_key is None or key.key_confidence < 0.5


def test_folding_shares_a_peak_between_two_semitones():
    fine = np.zeros((120, 1), np.float32)
    fine[5] = 1.0
    np.testing.assert_allclose(fold_semitones(fine, 0.0)[:2, 0], [0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(fold_semitones(fine, 0.5)[:2, 0], [1.0, 0.0], atol=1e-6)


def test_no_chroma_has_no_preferred_key():
    np.testing.assert_array_equal(correlate_profiles(np.zeros(12)), np.zeros(24))
    assert detect_key(Chroma(np.zeros((12, 0), np.float32))).detected_key is None

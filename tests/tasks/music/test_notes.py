import numpy as np
import pytest

from tasks.music.notes import NoteParams, PitchStream, detect_notes
from tasks.music.onsets import Onsets, detect_onsets
from tasks.music.signals import SAMPLE_RATE_HZ, Signal, compute_log_mel

LINE = (28, 33, 36, 40, 43, 31, 28, 47)
NOTE_S = 0.5


def play(midi_notes, note_s=NOTE_S, partials=(1.0, 0.5, 0.3), level=0.3):
    """Plucked notes one after another, float32 (2, n)."""
    time_s = np.arange(round(note_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    plucked = [
        sum(gain * np.sin(2 * np.pi * 440 * 2 ** ((note - 69) / 12) * k * time_s) for k, gain in enumerate(partials, 1))
        * np.exp(-3 * time_s)
        for note in midi_notes
    ]
    return np.tile(level * np.concatenate(plucked), (2, 1)).astype(np.float32)


def follow(samples, block=10 * SAMPLE_RATE_HZ):
    stream = PitchStream()
    for start in range(0, samples.shape[1], block):
        stream.push(samples[:, start : start + block])
    return stream.finish()


def hear(samples, params=NoteParams()):
    return detect_notes(follow(samples), detect_onsets(compute_log_mel(Signal(samples))), params)


def test_a_plucked_line_is_heard_note_by_note():
    notes = hear(play(LINE))
    assert notes.midi_note.tolist() == list(LINE)
    assert notes.time_s == pytest.approx(NOTE_S * np.arange(len(LINE)), abs=0.03)
    assert notes.duration_s == pytest.approx(np.full(len(LINE), NOTE_S), abs=0.06)
    assert notes.confidence.min() > 0.9


def test_a_repeated_note_is_struck_again():
    assert hear(play((33, 33, 33, 33))).midi_note.tolist() == [33, 33, 33, 33]


def test_a_note_that_slides_to_another_is_two_notes_without_an_onset():
    time_s = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    hz = np.where(time_s < 0.5, 55.0, 73.42)
    samples = np.tile(0.3 * np.sin(2 * np.pi * np.cumsum(hz) / SAMPLE_RATE_HZ), (2, 1)).astype(np.float32)
    notes = detect_notes(follow(samples), Onsets(np.zeros(0), np.zeros(0, np.float32)))
    assert notes.midi_note.tolist() == [33, 38]
    assert notes.time_s[1] == pytest.approx(0.5, abs=0.04)


def test_two_notes_that_ring_together_are_not_heard_an_octave_below():
    fifth = play((37,) * 4) + 0.8 * play((44,) * 4)  # together they repeat at midi note 25
    assert set(hear(fifth).midi_note.tolist()) <= {37, 44}


def test_louder_notes_have_higher_velocities():
    notes = hear(np.concatenate([play((33, 36)), play((33, 36), level=0.1)], axis=1))
    assert notes.velocity[:2].min() > notes.velocity[2:].max()


def test_blocks_of_any_length_give_the_same_pitch():
    samples = play(LINE)
    whole, cut = follow(samples), follow(samples, block=1_777)
    assert np.array_equal(whole.pitch, cut.pitch)
    assert np.array_equal(whole.level_db, cut.level_db)


@pytest.mark.parametrize("kind", ["silence", "noise", "nothing"])
def test_what_has_no_pitch_has_no_notes(kind):
    count = 0 if kind == "nothing" else 5 * SAMPLE_RATE_HZ
    noise = np.random.default_rng(1).standard_normal((2, count)).astype(np.float32)
    assert len(hear(0.1 * noise if kind == "noise" else np.zeros((2, count), np.float32))) == 0


def test_a_few_kicks_that_leak_into_the_stem_are_no_bass_line(beat_samples):
    assert len(hear(beat_samples)) == 0


def test_one_note_in_a_long_silence_is_a_stray():
    quiet = np.zeros((2, 10 * SAMPLE_RATE_HZ), np.float32)
    assert len(hear(np.concatenate([quiet, play((33,)), quiet], axis=1))) == 0


def test_no_note_begins_before_the_last_one_ends():
    notes = hear(np.concatenate([play(LINE, note_s=0.15), play(LINE, note_s=0.3)], axis=1))
    assert (np.diff(notes.time_s) > 0).all()
    assert (notes.time_s[:-1] + notes.duration_s[:-1] <= notes.time_s[1:] + 1e-9).all()

import numpy as np
import pytest

from tasks.music.basslines import (
    REST,
    bass_vector,
    find_main_note,
    fold_bassline,
    read_bassline,
    write_bassline,
)
from tasks.music.notes import NO_NOTES, Notes
from tasks.music.vectors import BadSteps

BEAT_S = 0.5
BEATS = np.arange(33) * BEAT_S
IN_BAR = np.arange(33) % 4 + 1


def make_notes(time_s, midi_note, duration_s=0.2, velocity=90):
    count = len(time_s)
    return Notes(
        np.asarray(time_s, float),
        np.full(count, duration_s),
        np.asarray(midi_note, np.int64),
        np.full(count, velocity, np.int64),
        np.full(count, 0.9, np.float32),
    )


def loop(midi_notes, places, bars=8):
    """The same notes at the same beats of every bar."""
    times = [bar * 4 * BEAT_S + place * BEAT_S for bar in range(bars) for place in places]
    return make_notes(times, list(midi_notes) * bars)


def fold(notes):
    return fold_bassline(notes, BEATS, IN_BAR, 0.0, 16.0, "4/4")


def test_a_loop_is_its_own_pattern():
    pattern = fold(loop((33, 33, 40), (0, 2, 3)))
    assert (pattern.bars, pattern.steps_per_bar) == (2, 16)
    assert write_bassline(pattern.interval) == "bass=0.......0...7..."
    assert pattern.quality_score == pytest.approx(0.9, abs=0.01)


def test_the_same_line_in_another_key_has_the_same_words_and_vector():
    one, other = fold(loop((33, 33, 40), (0, 2, 3))), fold(loop((36, 36, 43), (0, 2, 3)))
    assert write_bassline(one.interval) == write_bassline(other.interval)
    assert np.array_equal(bass_vector(one.velocity, one.interval), bass_vector(other.velocity, other.interval))


def test_a_bar_that_differs_does_not_change_the_pattern():
    line = loop((33, 33, 40), (0, 2, 3))
    stray = make_notes([6.25, 6.75], [35, 38])
    mixed = Notes(*(np.concatenate(pair) for pair in zip(vars(line).values(), vars(stray).values(), strict=True)))
    order = np.argsort(mixed.time_s)
    assert write_bassline(fold(mixed.select(order)).interval) == "bass=0.......0...7..."


def test_the_midi_data_hold_every_note_from_the_sections_start():
    pattern = fold_bassline(loop((33, 40), (0, 2)), BEATS, IN_BAR, 4.0, 16.0, "4/4")
    assert pattern.midi_data["bass"][:3] == [0.0, 1.0, 2.0]
    assert pattern.midi_data["midi_note"][:2] == [33, 40]
    assert {len(values) for values in pattern.midi_data.values()} == {12}


def test_a_note_just_before_the_bar_is_on_its_first_step():
    early = loop((33, 33, 40), (0, 2, 3))
    moved = Notes(early.time_s - 0.02, *list(vars(early).values())[1:])
    assert write_bassline(fold(moved).interval) == "bass=0.......0...7..."


@pytest.mark.parametrize("notes", [NO_NOTES, make_notes([0.0, 8.0], [33, 35])])
def test_too_few_notes_make_no_pattern(notes):
    assert fold(notes) is None


def test_the_main_note_sounds_longest():
    assert find_main_note(make_notes([0, 1, 2], [31, 36, 31])) == 7


def vector(words):
    return bass_vector(*read_bassline(words))


def test_a_vector_has_unit_length():
    assert np.linalg.norm(vector("bass=0..0..7.")) == pytest.approx(1, abs=1e-6)


def test_a_fifth_is_nearer_than_a_tritone_and_another_rhythm_is_far():
    line = vector("bass=0...0...0...0.0.")
    fifth, tritone = vector("bass=0...0...0...7.0."), vector("bass=0...0...0...6.0.")
    other_rhythm = vector("bass=..0...0...0.0...")
    assert 1 > line @ fifth > line @ tritone > line @ other_rhythm


def test_a_line_begun_a_beat_later_has_the_same_numbers_four_places_on():
    rows = vector("bass=0..7....5.......").reshape(3, 32)
    later = vector("bass=....0..7....5...").reshape(3, 32)
    assert np.roll(rows, 4, axis=1) == pytest.approx(later, abs=1e-6)


def test_a_line_without_notes_is_like_nothing():
    assert not bass_vector(np.zeros(32), np.full(32, REST)).any()


def test_words_are_read_as_they_are_written():
    for words in ("bass=0.......7...5...", "bass=0.b.a...........0.b.a...2......."):
        _, *line = read_bassline(words)
        assert write_bassline(*line) == words


def test_a_bar_of_three_quarters_is_read_in_its_meter():
    assert read_bassline("bass=0...7...7...")[2] == 12


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("bass=0..x", '"x" is no step'),
        ("bass=....", "has no note"),
        ("bass=0....", "has 5 steps"),
        ("bass=", "is no bass line"),
        ("kick=x...", '"'),
    ],
)
def test_words_that_are_no_line_are_refused(words, told):
    with pytest.raises(BadSteps, match=told):
        read_bassline(words)


def test_a_vector_of_other_shapes_is_refused():
    with pytest.raises(ValueError, match="16 steps"):
        bass_vector(np.zeros(15), np.full(15, REST))
    with pytest.raises(ValueError, match="finite"):
        bass_vector(np.full(16, np.nan), np.zeros(16))


def test_a_line_in_six_eight_is_the_one_in_triplets():
    words = "6/8 bass=0...5.0...7."
    assert write_bassline(*read_bassline(words)[1:]) == words
    assert vector(words) @ vector("bass=0..50..7") == pytest.approx(1, abs=1e-6)
    assert vector(words) @ vector(words.removeprefix("6/8 ")) < 0.9


def test_a_bar_of_six_eight_has_twelve_steps():
    with pytest.raises(BadSteps, match="a bar of 6/8 has 12"):
        read_bassline("6/8 bass=0...7")

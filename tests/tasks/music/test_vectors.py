import numpy as np
import pytest

from catalog.vectors import PARTS, SHIFTS, shift_beats
from tasks.music.drums import Hits
from tasks.music.midi import MidiError, write_drum_midi
from tasks.music.patterns import ROWS
from tasks.music.vectors import (
    DIMENSIONS,
    PART_SIZES,
    BadSteps,
    drum_vector,
    fit_two_bars,
    grid_from_midi,
    grid_from_steps,
    write_steps,
)

ROCK = "kick=x.......x....... snare=....x.......x... hihat=x.x.x.x.x.x.x.x."
FOUR_ON_THE_FLOOR = "kick=x...x... snare=....x... hihat=..x."
HALF_TIME = "kick=x............... snare=........x....... hihat=x.x."
BOSSA = "kick=x..xx..x snare=x..x..x...x..x.. hihat=xx"


def cosine(first, second):
    return float(drum_vector(grid_from_steps(first)) @ drum_vector(grid_from_steps(second)))


def test_a_vector_has_96_numbers_and_length_one():
    vector = drum_vector(grid_from_steps(ROCK))
    assert vector.shape == (DIMENSIONS,) == (96,)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_a_search_explains_the_parts_that_the_vector_has():
    assert [part.stop - part.start for part in PARTS["drums"].values()] == list(PART_SIZES)


def test_the_same_grid_gives_the_same_bits():
    grid = grid_from_steps(ROCK)
    assert drum_vector(grid).tobytes() == drum_vector(grid.copy()).tobytes()


def test_loudness_and_kit_hardly_matter():
    grid = grid_from_steps(ROCK)
    softer = grid**1.3 * np.array([[0.5], [0.9], [0.3], [0.5], [0.4]], np.float32)
    assert drum_vector(grid) @ drum_vector(softer) > 0.93


def test_a_few_ghost_notes_hardly_matter():
    assert cosine(ROCK, ROCK.replace("snare=....x.......x...", "snare=....x..g.g..x...")) > 0.8


@pytest.mark.parametrize(
    "first, second",
    [(ROCK, FOUR_ON_THE_FLOOR), (ROCK, HALF_TIME), (ROCK, BOSSA), (FOUR_ON_THE_FLOOR, HALF_TIME), (HALF_TIME, BOSSA)],
)
def test_different_grooves_are_below_point_seven(first, second):
    assert cosine(first, second) < 0.7


def test_no_hits_are_like_nothing():
    assert not drum_vector(np.zeros((len(ROWS), 32))).any()


def test_one_bar_counts_as_played_twice():
    grid = grid_from_steps(ROCK)
    np.testing.assert_array_equal(drum_vector(grid[:, :16]), drum_vector(grid))


def test_other_meters_keep_their_downbeat_and_their_sum():
    steps = np.zeros((len(ROWS), 12), np.float32)
    steps[0, [0, 3]] = 0.5
    fitted = fit_two_bars(steps, 12)
    assert fitted[0, 0] == fitted[0, 4] == fitted[0, 16] == 0.5
    assert fitted.sum() == pytest.approx(2.0)


@pytest.mark.parametrize("shape", [(5, 33), (3, 32), (96,), (5, 48)])
def test_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match="5 rows"):
        drum_vector(np.ones(shape))


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        drum_vector(np.full((len(ROWS), 32), np.nan))


def test_short_rows_are_repeated_and_missing_rows_empty():
    grid = grid_from_steps("kick=X... hihat=xg")
    assert np.flatnonzero(grid[0]).tolist() == list(range(0, 32, 4))
    assert not grid[1].any()
    assert grid[2, 0] > grid[2, 1] > 0


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "No steps"),
        ("cowbell=x...", "names no drum"),
        ("x...", "names no drum"),
        ("kick=x.5.", "is no step"),
        ("kick=x.x.x", "5 steps"),
        ("kick=", "0 steps"),
    ],
)
def test_a_step_string_that_cannot_be_read_says_why(text, message):
    with pytest.raises(BadSteps, match=message):
        grid_from_steps(text)


@pytest.mark.parametrize("bars", [1, 2, 4])
@pytest.mark.parametrize("tempo_bpm", [80, 140])
def test_a_midi_file_of_a_groove_gives_its_vector(bars, tempo_bpm):
    grid = grid_from_steps(ROCK)[:, :16]
    rows, steps = np.nonzero(np.tile(grid, (1, bars)))
    order = np.argsort(steps, kind="stable")
    beat_s = 60 / tempo_bpm
    hits = Hits(
        steps[order] * beat_s / 4,
        np.array(ROWS)[rows[order]],
        np.full(len(rows), 101),
        np.ones(len(rows), np.float32),
    )
    beats = np.arange(bars * 4)
    data = write_drum_midi(hits, beats * beat_s, beats % 4 + 1, 0.0, bars * 4 * beat_s, tempo_bpm, "4/4")
    assert drum_vector(*grid_from_midi(data)) @ drum_vector(grid_from_steps(ROCK)) > 0.99


def test_a_midi_file_without_drums_has_no_grid():
    nothing = Hits(np.zeros(0), np.zeros(0, "U5"), np.zeros(0, int), np.zeros(0, np.float32))
    assert grid_from_midi(write_drum_midi(nothing, np.zeros(0), np.zeros(0, int), 0.0, 4.0)) is None
    with pytest.raises(MidiError):
        grid_from_midi(b"no midi")


@pytest.mark.parametrize("text", [ROCK, FOUR_ON_THE_FLOOR, HALF_TIME, BOSSA])
def test_steps_that_are_written_read_the_same(text):
    grid = grid_from_steps(text)
    np.testing.assert_array_equal(grid_from_steps(write_steps(grid)) > 0, grid > 0)


def test_equal_bars_are_written_once():
    assert write_steps(grid_from_steps(ROCK)) == ROCK


def test_a_groove_has_the_same_steps_softer_and_with_ghost_notes():
    louder = grid_from_steps(ROCK)
    softer = 0.4 * louder
    softer[1, 6] = 0.1
    assert write_steps(softer) == write_steps(louder)


@pytest.mark.parametrize("steps_per_bar", [12, 14, 20])
def test_steps_of_other_meters_can_be_searched(steps_per_bar):
    grid = np.zeros((len(ROWS), 2 * steps_per_bar), np.float32)
    grid[0, [0, steps_per_bar + 2]] = 0.8
    vector = drum_vector(grid_from_steps(write_steps(grid, steps_per_bar)))
    assert vector @ drum_vector(grid, steps_per_bar) > 0.95


SHUFFLE = "6/8 kick=x........... snare=......x..... hihat=x...x.x...x."


def test_a_shuffle_has_one_vector_in_six_eight_and_in_triplets():
    triplets = grid_from_steps("kick=x....... snare=....x... hihat=x..x")  # a triplet's last note is nearest to step 3
    assert drum_vector(grid_from_steps(SHUFFLE)) @ drum_vector(triplets) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("bars", [1, 2])
def test_a_bar_of_six_eight_says_so_and_reads_the_same(bars):
    grid = np.zeros((len(ROWS), 12 * bars), np.float32)
    grid[0, 0] = grid[1, 6] = 0.8
    grid[2, ::2] = 0.8
    grid[0, -1] = 0.8
    text = write_steps(grid, 12, "6/8")
    assert text.startswith("6/8 kick=")
    assert drum_vector(grid_from_steps(text)) @ drum_vector(grid, 12, "6/8") > 0.99


def test_a_midi_file_in_six_eight_is_as_its_steps():
    grid, steps = np.zeros((len(ROWS), 12), np.float32), (0, 6, 0, 4, 6, 10)
    instruments = np.array(["kick", "snare", "hihat", "hihat", "hihat", "hihat"])
    grid[[0, 1, 2, 2, 2, 2], steps] = 0.8
    order = np.argsort(steps, kind="stable")
    hits = Hits(np.array(steps)[order] / 12, instruments[order], np.full(6, 101), np.ones(6, np.float32))
    data = write_drum_midi(hits, np.array([0.0, 0.5]), np.array([1, 2]), 0.0, 1.0, 120, "6/8")
    assert drum_vector(*grid_from_midi(data)) @ drum_vector(grid, 12, "6/8") > 0.99


def test_rows_of_six_eight_have_twelve_steps_a_bar():
    with pytest.raises(BadSteps, match="a bar of 6/8 has 12"):
        grid_from_steps("6/8 kick=x...")


def test_no_hits_are_no_steps():
    assert write_steps(np.zeros((len(ROWS), 32), np.float32)) == ""


def test_a_groove_on_the_ride_is_the_one_on_the_hihat():
    assert cosine(ROCK, ROCK.replace("hihat", "ride")) == pytest.approx(1, abs=1e-6)


def test_toms_make_another_groove():
    assert cosine(ROCK, ROCK + " tom=..x...x...x...x.") < 0.9
    assert cosine(ROCK, "kick=x.......x....... tom=..x...x...x...x. hihat=x.x.x.x.x.x.x.x.") < 0.7


def test_toms_in_the_place_of_the_snare_are_near_and_not_the_same():
    assert 0.9 < cosine(ROCK, ROCK.replace("snare", "tom")) < 0.99


def test_a_fill_on_the_toms_leaves_the_snare_alone():
    grid = grid_from_steps(ROCK)
    fill = grid.copy()
    fill[ROWS.index("tom"), 30] = 0.5
    difference = drum_vector(fill)[PARTS["drums"]["snare"]] - drum_vector(grid)[PARTS["drums"]["snare"]]
    assert np.abs(difference).max() < 0.02


def test_two_grooves_are_not_alike_for_what_both_lack():
    assert cosine("hihat=x.x.x.x.", "hihat=x..xx..xx..xx..x") < 0.7


def test_strokes_are_those_of_all_drums_where_nothing_else_is_told():
    grid = grid_from_steps(ROCK)
    np.testing.assert_array_equal(drum_vector(grid, strokes=grid.max(axis=0)), drum_vector(grid))


def test_strokes_bring_a_groove_nearer_whose_snare_is_not_heard():
    grid, strokes = grid_from_steps(BOSSA), grid_from_steps(BOSSA)[:2].max(axis=0)
    grid[ROWS.index("hihat")] = 0
    misheard = grid.copy()
    misheard[ROWS.index("snare")] = 0
    alike = drum_vector(grid) @ drum_vector(misheard)
    assert drum_vector(grid) @ drum_vector(misheard, strokes=strokes) > alike + 0.05


def test_strokes_of_another_meter_lie_where_its_hits_do():
    steps = np.zeros((len(ROWS), 12), np.float32)
    steps[1, [0, 3, 7]] = 0.5
    np.testing.assert_array_equal(drum_vector(steps, 12, strokes=steps[1]), drum_vector(steps, 12))


def test_a_faint_tom_hardly_matters():
    grid = grid_from_steps(ROCK)
    faint = grid.copy()
    faint[ROWS.index("tom"), 11] = 0.05
    assert drum_vector(grid) @ drum_vector(faint) > 0.95


@pytest.mark.parametrize("halves", range(SHIFTS))
def test_bars_that_begin_elsewhere_turn_the_vector(halves):
    grid = grid_from_steps("kick=x.x...x....x...x snare=....x.......x... hihat=x.x.x.xx ride=..x. tom=x.....x.........")
    even = np.repeat(grid[:, ::2], 2, axis=1)  # in eighths: no sixteenth parts the halves of a beat
    begun_later = np.roll(even, 2 * halves, axis=1)
    alike = shift_beats(drum_vector(even)[None])[0, halves] @ drum_vector(begun_later)
    assert alike > (0.9999 if halves % 2 == 0 else 0.8)

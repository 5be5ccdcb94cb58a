import numpy as np
import pytest

from tasks.music.drums import Hits
from tasks.music.onsets import NO_ONSETS, Onsets
from tasks.music.patterns import ROWS, count_steps, find_bars, fold_pattern, fold_strokes, place_hits

ROCK = {"kick": (0, 8), "snare": (4, 12), "hihat": (0, 2, 4, 6, 8, 10, 12, 14)}
FOUR_ON_THE_FLOOR = {"kick": (0, 4, 8, 12), "snare": (), "hihat": (2, 6, 10, 14)}


def make_beats(bars, tempo_bpm=120.0, beats=4, first_s=0.0):
    number = np.arange(bars * beats)
    return first_s + number * 60 / tempo_bpm, number % beats + 1


def make_hits(bars, tempo_bpm=120.0, first_s=0.0, jitter_s=0.0, velocity=100, steps_per_beat=4, steps_per_bar=16):
    """Hits of a list of bars, each {instrument: steps}."""
    rng = np.random.default_rng(0)
    step_s = 60 / tempo_bpm / steps_per_beat
    rows = [
        (first_s + (bar * steps_per_bar + step) * step_s + rng.normal(0, jitter_s), name)
        for bar, groove in enumerate(bars)
        for name, steps in groove.items()
        for step in steps
    ]
    rows.sort()
    return Hits(
        np.array([time_s for time_s, _ in rows]),
        np.array([name for _, name in rows], dtype="U5"),
        np.full(len(rows), velocity),
        np.full(len(rows), 0.9, np.float32),
    )


def onset_steps(pattern, row):
    return np.flatnonzero(pattern.steps[row] > 0.3).tolist()


def test_a_groove_is_folded_into_two_bars():
    times, positions = make_beats(8)
    pattern = fold_pattern(make_hits([ROCK] * 8, jitter_s=0.01), times, positions, 0.0, 16.0, "4/4")
    assert (pattern.bars, pattern.steps_per_bar, pattern.steps.shape) == (2, 16, (5, 32))
    assert onset_steps(pattern, 0) == [0, 8, 16, 24]
    assert onset_steps(pattern, 1) == [4, 12, 20, 28]
    assert len(onset_steps(pattern, 2)) == 16
    assert pattern.quality_score > 0.6


def test_the_groove_of_most_bars_wins_over_a_fill():
    times, positions = make_beats(9)
    fill = {"kick": (0,), "snare": (8, 9, 10, 11, 12, 13, 14, 15), "hihat": ()}
    pattern = fold_pattern(make_hits([ROCK] * 7 + [fill, ROCK]), times, positions, 0.0, 18.0)
    assert onset_steps(pattern, 1) == [4, 12, 20, 28]


def test_a_section_whose_few_hits_make_no_pair_of_the_whole_track_has_its_own_pattern():
    times, positions = make_beats(4)
    kicks, rest = {"kick": (0, 8)}, {}
    pattern = fold_pattern(make_hits([rest, kicks, kicks, rest]), times, positions, 2.0, 6.0)
    assert onset_steps(pattern, 0) == [0, 8, 16, 24]


def test_only_the_section_counts():
    times, positions = make_beats(8)
    hits = make_hits([FOUR_ON_THE_FLOOR] * 4 + [ROCK] * 4)
    pattern = fold_pattern(hits, times, positions, 8.0, 16.0)
    assert onset_steps(pattern, 1) == [4, 12, 20, 28]
    assert pattern.start_s >= 8.0
    assert pattern.midi_data["snare"][0] == pytest.approx(0.5)


def test_tempo_does_not_matter():
    slow = fold_pattern(make_hits([ROCK] * 4, tempo_bpm=70), *make_beats(4, 70), 0.0, 240 / 70 * 4)
    fast = fold_pattern(make_hits([ROCK] * 4, tempo_bpm=190), *make_beats(4, 190), 0.0, 240 / 190 * 4)
    np.testing.assert_allclose(slow.steps, fast.steps)


def test_a_hit_just_before_the_downbeat_belongs_to_it():
    times, positions = make_beats(4)
    hits = make_hits([ROCK] * 4)
    early = Hits(hits.time_s - 0.02, hits.instrument, hits.velocity, hits.confidence)
    pattern = fold_pattern(early, times, positions, 0.0, 8.0)
    assert onset_steps(pattern, 0) == [0, 8, 16, 24]


def test_six_eight_has_twelve_steps_whichever_beat_is_counted():
    jig = {"kick": (0,), "snare": (6,), "hihat": (0, 2, 4, 6, 8, 10)}
    hits = make_hits([jig] * 4, tempo_bpm=120, steps_per_beat=6, steps_per_bar=12)
    dotted = fold_pattern(hits, *make_beats(4, 120, beats=2), 0.0, 4.0, "6/8")
    eighths = fold_pattern(hits, *make_beats(4, 360, beats=6), 0.0, 4.0, "6/8")
    assert dotted.steps_per_bar == 12
    assert onset_steps(dotted, 1) == [6, 18]
    np.testing.assert_allclose(dotted.steps, eighths.steps)


@pytest.mark.parametrize("signature, beats, steps", [("3/4", 3, 12), ("6/8", 2, 12), ("5/4", 5, 20), (None, 4, 16)])
def test_steps_follow_the_time_signature(signature, beats, steps):
    assert count_steps(signature, beats) == steps


def test_a_single_bar_is_a_pattern_of_one_bar():
    times, positions = make_beats(1)
    pattern = fold_pattern(make_hits([ROCK]), times, positions, 0.0, 2.0)
    assert pattern.bars == 1
    assert pattern.steps.shape == (5, 16)
    assert pattern.quality_score < fold_pattern(make_hits([ROCK] * 8), *make_beats(8), 0.0, 16.0).quality_score


def test_bars_of_another_length_are_left_out():
    times, positions = make_beats(6)
    keep = np.arange(len(times)) != 9  # the third bar misses a beat
    bars = find_bars(times[keep], positions[keep], 0.0, 12.0)
    np.testing.assert_allclose(bars.beat_time_s[:, 0], [0, 2, 6, 8, 10])


def test_no_beats_no_drums_and_no_bar_give_no_pattern():
    nothing = np.zeros(0)
    silence = make_hits([])
    assert fold_pattern(make_hits([ROCK]), nothing, nothing.astype(int), 0.0, 2.0) is None
    assert fold_pattern(silence, *make_beats(4), 0.0, 8.0) is None
    assert fold_pattern(make_hits([ROCK] * 4), *make_beats(4), 3.0, 3.5) is None


def test_irregular_hits_score_low():
    rng = np.random.default_rng(3)
    random_bars = [{name: tuple(rng.choice(16, 4, replace=False)) for name in ROCK} for _ in range(8)]
    random = fold_pattern(make_hits(random_bars), *make_beats(8), 0.0, 16.0)
    steady = fold_pattern(make_hits([ROCK] * 8), *make_beats(8), 0.0, 16.0)
    assert random.quality_score < 0.6 * steady.quality_score


def test_the_louder_of_two_hits_on_a_step_counts():
    times, positions = make_beats(1)
    hits = Hits(np.array([0.5, 0.51]), np.array(["snare"] * 2), np.array([40, 100]), np.ones(2, np.float32))
    grid = place_hits(hits, find_bars(times, positions, 0.0, 2.0))
    assert grid[0, 1, 4] == pytest.approx(100 / 127)


def kick_at(times):
    return Hits(np.array(times), np.array(["kick"] * len(times)), np.full(len(times), 127), np.ones(len(times)))


def test_a_hit_half_way_between_two_steps_belongs_to_both():
    bars = find_bars(*make_beats(1), 0.0, 2.0)
    np.testing.assert_allclose(place_hits(kick_at([0.3125]), bars)[0, 0, 2:4], [0.5, 0.5], atol=1e-5)
    np.testing.assert_allclose(place_hits(kick_at([0.29]), bars)[0, 0, 2:4], [1, 0], atol=1e-5)


def test_a_late_hit_at_the_end_of_a_bar_belongs_to_the_next():
    bars = find_bars(*make_beats(2), 0.0, 4.0)
    assert place_hits(kick_at([1.99]), bars)[:, 0, 0].tolist() == [0, 1]
    shared = place_hits(kick_at([2.0 - 0.0625]), bars)
    np.testing.assert_allclose([shared[0, 0, 15], shared[1, 0, 0]], [0.5, 0.5], atol=1e-5)


def test_hits_before_after_and_between_bars_are_left_out():
    times, positions = make_beats(6)
    keep = np.arange(len(times)) != 9
    bars = find_bars(times[keep], positions[keep], 0.0, 12.0)
    assert not place_hits(kick_at([-1.0, -0.07, 4.2, 5.0, 5.94, 12.1]), bars)[:, :, 1:].any()
    assert place_hits(kick_at([-0.07, 5.94, 11.94]), bars).sum() < 1.6


def test_a_fill_on_toms_is_not_taken_for_the_groove():
    times, positions = make_beats(8)
    fill = {"kick": (0,), "snare": (4,), "tom": (8, 9, 10, 11, 12, 13, 14, 15), "hihat": (0, 2, 4, 6)}
    pattern = fold_pattern(make_hits([ROCK] * 3 + [fill] + [ROCK] * 4), times, positions, 0.0, 16.0)
    assert onset_steps(pattern, ROWS.index("tom")) == []
    assert onset_steps(pattern, 1) == [4, 12, 20, 28]


def test_bars_on_the_ride_and_on_the_hihat_are_one_groove():
    times, positions = make_beats(8)
    ridden = {"ride" if name == "hihat" else name: steps for name, steps in ROCK.items()}
    pattern = fold_pattern(make_hits([ROCK] * 4 + [ridden] * 4), times, positions, 0.0, 16.0)
    plain = fold_pattern(make_hits([ROCK] * 8), times, positions, 0.0, 16.0)
    assert pattern.quality_score == pytest.approx(plain.quality_score, abs=0.01)


def strike(hits, strength=1.0):
    """Onsets where anything is hit."""
    times_s = np.unique(hits.time_s)
    return Onsets(times_s, np.broadcast_to(strength, times_s.shape).astype(np.float32))


def test_strokes_are_folded_whatever_drum_they_are_on():
    times, positions = make_beats(8)
    hits = make_hits([ROCK] * 8)
    pattern = fold_pattern(hits, times, positions, 0.0, 16.0, "4/4")
    strokes = fold_strokes(strike(hits), times, positions, 0.0, 16.0, "4/4")
    np.testing.assert_array_equal(strokes > 0, pattern.steps.max(axis=0) > 0)
    assert strokes.max() == 1.0


def test_what_is_struck_every_second_time_counts_half():
    times, positions = make_beats(8)
    hits = make_hits([ROCK, ROCK | {"tom": (3,)}, ROCK, ROCK] * 2)
    strokes = fold_strokes(strike(hits), times, positions, 0.0, 16.0, "4/4")
    assert 0.3 < strokes[16 + 3] < 0.7


def test_strokes_are_as_hard_as_they_are_beside_the_strongest_quarter():
    times, positions = make_beats(8)
    hits = make_hits([ROCK] * 8)
    strength = np.tile([8.0, 1.0, 4.0, 2.0], 16)  # eighths
    quiet, loud = (
        fold_strokes(strike(hits, gain * strength), times, positions, 0.0, 16.0, "4/4") for gain in (0.01, 1.0)
    )
    np.testing.assert_allclose(loud[:8:2], [1.0, 0.2, 0.8, 0.4], atol=1e-3)
    np.testing.assert_allclose(quiet, loud, atol=1e-6)


def test_nothing_struck_is_no_strokes():
    assert fold_strokes(NO_ONSETS, *make_beats(4), 0.0, 8.0) is None

import numpy as np
import pytest

from tasks.music.key import CHROMA_HOP_S, Chroma
from tasks.music.sections import (
    LABELS,
    SectionParams,
    compare_units,
    cut_units,
    detect_sections,
    find_novelty,
    group_spans,
    pick_borders,
)
from tasks.music.signals import HOP_S, MEL_BANDS, LogMel

BAR_S = 2.0


def make_song(form, bars_each=8, seed=0):
    """Frames of a song, one letter a section; capitals are louder. Each letter has its sound and four chords."""
    rng = np.random.default_rng(seed)
    mel, chroma = [], []
    for letter in form:
        kind = np.random.default_rng(ord(letter.lower()))
        sound = kind.uniform(0.3, 1.0, MEL_BANDS) * (1.5 if letter.isupper() else 1.0)
        chords = kind.uniform(0, 1, (4, 12)) ** 4
        for bar in range(bars_each):
            frames, hops = round(BAR_S / HOP_S), round(BAR_S / CHROMA_HOP_S)
            mel.append(sound[:, None] + rng.normal(0, 0.05, (MEL_BANDS, frames)))
            chroma.append(np.tile(chords[bar % 4][:, None], hops) + rng.uniform(0, 0.05, (12, hops)))
    mixture = LogMel(np.concatenate(mel, axis=1).astype(np.float32))
    values = np.concatenate(chroma, axis=1).astype(np.float32)
    return mixture, Chroma(values, tonality=0.7), len(form) * bars_each * BAR_S


def make_beats(duration_s, first_s=0.0):
    beats = np.arange(first_s, duration_s, BAR_S / 4)
    return beats, np.arange(len(beats)) % 4 + 1


def test_borders_lie_where_the_music_changes():
    mixture, chroma, duration_s = make_song("vCvCbCx")
    found = detect_sections(mixture, chroma, *make_beats(duration_s), duration_s)
    np.testing.assert_allclose(found.start_s, np.arange(7) * 16.0, atol=0.01)


def test_the_loud_part_that_returns_is_the_chorus():
    mixture, chroma, duration_s = make_song("vCvCbCx")
    labels = detect_sections(mixture, chroma, *make_beats(duration_s), duration_s).section_label.tolist()
    assert labels[:6] == ["verse", "chorus", "verse", "chorus", "bridge", "chorus"]


def test_sections_cover_the_track_without_gaps():
    mixture, chroma, duration_s = make_song("ivCvCo")
    found = detect_sections(mixture, chroma, *make_beats(duration_s, 0.7), duration_s)
    assert found.start_s[0] == 0
    assert found.end_s[-1] == duration_s
    np.testing.assert_array_equal(found.end_s[:-1], found.start_s[1:])
    assert set(found.section_label) <= set(LABELS)
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()


def test_borders_are_downbeats():
    mixture, chroma, duration_s = make_song("vCvC")
    beats, position = make_beats(duration_s, 0.3)
    found = detect_sections(mixture, chroma, beats, position, duration_s)
    assert len(found) > 1
    assert np.isin(found.start_s[1:], beats[position == 1]).all()


def test_without_beats_there_are_sections_too():
    mixture, chroma, duration_s = make_song("vCvC")
    found = detect_sections(mixture, chroma, np.zeros(0), np.zeros(0, int), duration_s)
    np.testing.assert_allclose(found.start_s, [0, 16, 32, 48], atol=2.0)


@pytest.mark.parametrize("duration_s", [0.3, 15.0])
def test_a_clip_is_one_section_of_unknown_name(duration_s):
    frames, hops = round(duration_s / HOP_S), max(1, round(duration_s / CHROMA_HOP_S))
    mixture = LogMel(np.random.default_rng(0).uniform(0, 1, (MEL_BANDS, frames)).astype(np.float32))
    chroma = Chroma(np.ones((12, hops), np.float32))
    found = detect_sections(mixture, chroma, *make_beats(duration_s), duration_s)
    assert (found.start_s.tolist(), found.end_s.tolist()) == ([0.0], [duration_s])
    assert found.section_label.tolist() == ["other"]
    assert found.confidence[0] <= 0.2


def test_silence_and_endless_sameness_are_one_section():
    for value in (0.0, 0.7):
        mixture = LogMel(np.full((MEL_BANDS, 12_000), value, np.float32))
        chroma = Chroma(np.full((12, 600), value, np.float32))
        found = detect_sections(mixture, chroma, np.zeros(0), np.zeros(0, int), 120.0)
        assert found.section_label.tolist() == ["other"]


def test_noise_is_one_section():
    rng = np.random.default_rng(0)
    mixture = LogMel(rng.normal(1.0, 0.3, (MEL_BANDS, 12_000)).astype(np.float32))
    chroma = Chroma(rng.uniform(0, 1, (12, 600)).astype(np.float32) ** 8, tonality=0.15)
    assert len(detect_sections(mixture, chroma, np.zeros(0), np.zeros(0, int), 120.0)) == 1


def test_where_nothing_returns_rounding_makes_no_borders():
    rng = np.random.default_rng(0)
    sound = (10 + rng.normal(0, 0.2, (10, MEL_BANDS))).astype(np.float32)  # ten bars, each like itself alone
    likeness = compare_units(sound, np.zeros((10, 48), np.float32), 0.0)
    np.testing.assert_array_equal(np.diagonal(likeness), 1.0)
    shaken = compare_units(sound * np.float32(1 + 1e-6), np.zeros((10, 48), np.float32), 0.0)
    np.testing.assert_allclose(find_novelty(likeness, 8), find_novelty(shaken, 8), atol=1e-3)


def test_nothing_has_no_sections():
    mixture, chroma = LogMel(np.zeros((MEL_BANDS, 0), np.float32)), Chroma(np.zeros((12, 0), np.float32))
    assert len(detect_sections(mixture, chroma, np.zeros(0), np.zeros(0, int), 0.0)) == 0


def test_without_repetition_no_name_is_given():
    mixture, chroma, duration_s = make_song("abcd", bars_each=12)
    found = detect_sections(mixture, chroma, *make_beats(duration_s), duration_s)
    assert set(found.section_label) == {"other"}


def test_three_hours_have_a_bounded_number_of_units():
    beats, position = make_beats(3 * 3600.0)
    edges = cut_units(beats, position, 3 * 3600.0)
    assert len(edges) - 1 <= SectionParams().max_units
    assert (edges[0], edges[-1]) == (0, 3 * 3600.0)


def test_units_are_bars_and_go_on_before_the_first_and_after_the_last_downbeat():
    edges = cut_units(np.arange(4.1, 12.0, 0.5), np.arange(16) % 4 + 1, 17.0)
    np.testing.assert_allclose(edges, [0, 2.1, 4.1, 6.1, 8.1, 10.1, 12.1, 14.1, 17.0], atol=1e-9)


def test_a_break_without_beats_is_cut_into_bars_too():
    beats = np.concatenate([np.arange(0, 20, 0.5), np.arange(60, 80, 0.5)])
    edges = cut_units(beats, np.arange(len(beats)) % 4 + 1, 80.0)
    np.testing.assert_allclose(np.diff(edges), 2.0, atol=0.11)


def test_borders_keep_their_distance_and_the_clearest_win():
    novelty = np.zeros(40)
    novelty[[2, 14, 16, 32]] = [1.0, 0.5, 0.9, 0.8]
    assert pick_borders(novelty, 4, 0.2, 0.2) == [16, 32]


def test_of_two_equal_borders_the_one_that_makes_eight_bars_is_chosen():
    novelty = np.zeros(24)
    novelty[[7, 8, 9]] = [0.8, 0.0, 0.8]
    assert len(pick_borders(novelty, 4, 0.2, 0.0)) == 1
    novelty[[6, 7, 8, 9]] = [0.8, 0.0, 0.8, 0.0]
    assert pick_borders(novelty, 4, 0.2, 0.2) == [8]


def test_no_novelty_has_no_borders():
    assert pick_borders(np.zeros(50), 4, 0.2, 0.2) == []
    assert pick_borders(np.zeros(2), 4, 0.2, 0.2) == []


def test_spans_that_play_the_same_share_a_group():
    likeness = np.kron(np.array([[1, 0.1, 0.9], [0.1, 1, 0.1], [0.9, 0.1, 1]]), np.ones((4, 4)))
    groups = group_spans(likeness, [(0, 4), (4, 8), (8, 12)], 0.8)
    assert groups[0] == groups[2] != groups[1]

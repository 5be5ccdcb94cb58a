import pytest

from catalog.errors import UnknownId
from catalog.plot import plot_patterns
from catalog.tables import PATTERNS, TRACKS, make_id


def add_pattern(lake, name, instrument, steps, groove):
    track, pattern = make_id("track", name), make_id("pattern", name)
    row = {
        "corpus": "c",
        "pattern_id": pattern,
        "track_id": track,
        "instrument_type": instrument,
        "bars": 1,
        "steps_per_bar": 16,
        "steps": steps,
        "groove": groove,
        "tempo_bpm": 120.0,
    }
    with lake.transaction("test") as change:
        change.insert("tracks", TRACKS.make_rows([{"corpus": "c", "track_id": track, "title": name}]))
        change.insert("patterns", PATTERNS.make_rows([row]))
    return pattern


def draw(lake, pattern_ids, tmp_path):
    output = tmp_path / "x.svg"
    plot_patterns(lake.connection, pattern_ids, output)
    return output.read_text()


def test_drums_and_bass_are_drawn_side_by_side(lake, tmp_path):
    drums = add_pattern(lake, "beat", "drums", [0.8] + [0.0] * 79, "kick=x...............")
    bass = add_pattern(lake, "line", "bass", [0.8] + [0.0] * 7 + [0.8] + [0.0] * 7, "bass=0.......7.......")
    drawn = draw(lake, [drums, bass], tmp_path)
    assert all(f"<!-- {word}" in drawn for word in ("beat · 120.0 bpm", "line · 120.0 bpm", "kick", "semitones"))


def test_a_bass_note_is_drawn_at_its_height_above_the_main_note(lake, tmp_path):
    steps = [0.8] + [0.0] * 15
    low = draw(lake, [add_pattern(lake, "low", "bass", steps, "bass=0...............")], tmp_path)
    high = draw(lake, [add_pattern(lake, "low2", "bass", steps, "bass=b...............")], tmp_path)
    drawn = [[line for line in text.splitlines() if "opacity: 0.8" in line] for text in (low, high)]
    assert drawn[0] and drawn[1] and drawn[0] != drawn[1]


def test_toms_and_rides_are_drawn_where_they_are_played(lake, tmp_path):
    plain = draw(lake, [add_pattern(lake, "plain", "drums", [0.8] + [0.0] * 79, "")], tmp_path)
    ridden = draw(lake, [add_pattern(lake, "ridden", "drums", [0.8] + [0.0] * 78 + [0.8], "")], tmp_path)
    assert "<!-- ride -->" in ridden and "<!-- tom -->" not in ridden
    assert "<!-- hihat -->" in plain and "<!-- ride -->" not in plain


def test_a_pattern_of_three_drums_of_an_older_version_is_drawn(lake, tmp_path):
    drawn = draw(lake, [add_pattern(lake, "old", "drums", [0.8] + [0.0] * 47, "kick=x...............")], tmp_path)
    assert "<!-- hihat -->" in drawn and "<!-- ride -->" not in drawn


def test_an_unknown_pattern_is_named(lake, tmp_path):
    with pytest.raises(UnknownId, match="no pattern"):
        draw(lake, [make_id("pattern", "none")], tmp_path)

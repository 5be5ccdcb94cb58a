"""Each worked question answers what it asks, over a lake small enough to answer by hand."""

from datetime import UTC, datetime

import pytest

from catalog.lake import Lake
from catalog.questions import FOLDER, load_worked_questions, write_answers
from catalog.tables import BY_NAME, make_id

BACKBEAT = "kick=x...x...x...x... snare=....x.......x... hihat=x.x.x.x.x.x.x.x."


def track(name, **values):
    title = {"corpus": "demo", "track_id": make_id("track", name), "title": name, "privacy_setting": "public"}
    return title | {"duration_s": 10.0, "quality_score": 0.9} | values


ROWS = {
    "tracks": [
        track(
            "One",
            artist="Ann",
            tempo_bpm=100.0,
            tempo_confidence=0.9,
            detected_genre="rock",
            detected_key="C minor",
            key_confidence=0.8,
        ),
        track(
            "Two",
            artist="Bob",
            tempo_bpm=120.0,
            tempo_confidence=0.8,
            detected_genre="rock",
            detected_key="C minor",
            key_confidence=0.6,
        ),
        track("Three", tempo_bpm=90.0, tempo_confidence=0.3, detected_genre="jazz", key_confidence=None),
    ],
    "sections": [
        {"corpus": "demo", "section_id": make_id("section", name, label), "track_id": make_id("track", name)}
        | {"start_s": start_s, "end_s": start_s + 5, "section_label": label, "confidence": 0.5}
        for name in ("One", "Two")
        for label, start_s in (("verse", 0.0), ("chorus", 5.0))
    ],
    # One keeps its tempo; the chorus of Two goes from 120 to 150.
    "beats": [
        {"corpus": "demo", "track_id": make_id("track", name), "time_s": time_s, "beat_in_bar": 1}
        for name, times in (
            ("One", [0.6 * n for n in range(17)]),
            ("Two", [0.5 * n for n in range(11)] + [5 + 0.4 * n for n in range(1, 13)]),
        )
        for time_s in times
    ],
    "notes": [
        {"corpus": "demo", "track_id": make_id("track", "One"), "instrument_type": name, "time_s": float(n)}
        | {"duration_s": 0.05, "midi_note": 36, "velocity": velocity, "confidence": 0.9}
        for name, velocity, hits in (("kick", 100, 10), ("hihat", 60, 20))
        for n in range(hits)
    ],
    "patterns": [
        {"corpus": "demo", "pattern_id": make_id("pattern", name, label), "track_id": make_id("track", name)}
        | {"section_id": make_id("section", name, label), "instrument_type": "drums", "groove": BACKBEAT, "bars": 1}
        | {"time_signature": "4/4", "tempo_bpm": tempo_bpm, "fingerprint": [0.1] * 96, "quality_score": quality}
        for name, label, tempo_bpm, quality in (
            ("One", "verse", 100.0, 0.9),
            ("Two", "verse", 120.0, 0.7),
            ("Two", "chorus", 150.0, 0.5),
        )
    ],
    "pattern_similarities": [
        {
            "similarity_id": make_id("pair", a, b),
            "pattern_id_1": make_id("pattern", *a),
            "pattern_id_2": make_id("pattern", *b),
        }
        | {"similarity_score": score, "instrument_type": "drums", "index_version": "x"}
        for a, b, score in (
            (("One", "verse"), ("Two", "chorus"), 0.95),
            (("Two", "chorus"), ("One", "verse"), 0.95),
            (("One", "verse"), ("Two", "verse"), 0.8),
        )
    ],
    "song_groups": [
        {"track_id": make_id("track", name), "source_song_id": make_id("track", song), "relation": relation}
        | {"decided_at": datetime(2026, 1, 1, tzinfo=UTC)}
        for name, song, relation in (("One", "One", "same"), ("Two", "One", "excerpt"), ("Three", "Three", "unique"))
    ],
}

ANSWERS = {
    "tempo_by_genre": [("rock", 2, 110.0, 100.0, 120.0)],
    "most_used_groove": [(BACKBEAT, 1, 3, 120.0)],
    "chorus_faster_than_verse": [("Two", "Bob", 120.0, 150.0)],
    "drums_of_a_section": [
        ("One", "verse", 100.0, BACKBEAT, 0.9),
        ("Two", "verse", 120.0, BACKBEAT, 0.7),
        ("Two", "chorus", 150.0, BACKBEAT, 0.5),
    ],
    "near_duplicates_by_label": [("chorus", "verse", 1, 0.95)],
    "keys_of_a_corpus": [("demo", "C minor", 2, 0.7)],
    "copies_of_a_song": [
        ("One", "Ann", "same", 10.0, make_id("track", "One")),
        ("Two", "Bob", "excerpt", 10.0, make_id("track", "One")),
    ],
    "hits_by_instrument": [("One", "hihat", 2.0, 60.0), ("One", "kick", 1.0, 100.0)],
    "form_of_a_song": [("One", "verse 0, chorus 5"), ("Two", "verse 0, chorus 5")],
    "worth_a_listen": [("Three", 0.3, None, 0.9, "tempo unsure, no key")],
}


@pytest.fixture(scope="module")
def small_lake(tmp_path_factory):
    with Lake.open(tmp_path_factory.mktemp("small") / "lake") as lake:
        with lake.transaction("test") as change:
            for name, rows in ROWS.items():
                change.insert(name, BY_NAME[name].make_rows(rows))
        yield lake


def test_there_are_ten_and_each_has_an_answer():
    assert load_worked_questions().keys() == ANSWERS.keys()
    assert len(ANSWERS) == 10


@pytest.mark.parametrize("name", ANSWERS)
def test_a_question_is_answered(small_lake, name):
    rows = [tuple(row.values()) for row in small_lake.query(load_worked_questions()[name]).to_pylist()]
    assert rows == [
        tuple(pytest.approx(value) if isinstance(value, float) else value for value in row) for row in ANSWERS[name]
    ]


def test_the_page_of_answers_has_every_question(small_lake):
    kept = (FOLDER / "README.md").read_text(encoding="utf-8")
    fresh = write_answers(small_lake.connection)
    for page in (kept, fresh):
        assert [line for line in page.splitlines() if line.startswith("## ")] == [
            f"## {sql.splitlines()[0].lstrip('- ')}" for sql in load_worked_questions().values()
        ]
    for sql in load_worked_questions().values():
        head = f"| {' | '.join(small_lake.query(sql).column_names)} |"
        assert head in kept

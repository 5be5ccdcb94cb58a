import shutil

import numpy as np
import pytest

import catalog
from catalog import search
from catalog.connection import connect
from catalog.errors import BadQuery, UnknownId
from catalog.index import IndexParams, refresh_indexes
from catalog.lake import Lake
from catalog.neighbours import NeighbourParams
from catalog.search import search_frame, search_patterns
from catalog.tables import PATTERNS, SECTIONS, SONG_GROUPS, TRACKS, make_id
from catalog.vectors import DIMENSIONS, shift_beats

COUNT = 120
COPIES = (13, 14)  # two tracks of one song
PRIVATE = 20  # ada's
GROOVES = ("kick=x...x...", "snare=x...", "snare=x...")
GENRES, KEYS, METERS = ("Rock", "jazz"), ("C minor", "D major", None), ("4/4", "3/4")


def draw_vectors(count, seed=0):
    """Variations of one groove, float32 (count, DIMENSIONS): all alike to some degree."""
    rng = np.random.default_rng(seed)
    groove = rng.random(DIMENSIONS) < 0.3
    return (groove + 0.5 * rng.random((count, DIMENSIONS)) * rng.random((count, 1))).astype(np.float32)


def name_pattern(number):
    return make_id("pattern", number)


def name_track(number):
    return make_id("track", number)


def add_patterns(lake, numbers, vectors):
    tracks = [
        {
            "corpus": "even" if number % 2 == 0 else "odd",
            "track_id": name_track(number),
            "title": f"Song {number}",
            "detected_genre": GENRES[number % 2],
            "privacy_setting": "private" if number == PRIVATE else "public",
            "user_id": "ada",
        }
        for number in numbers
    ]
    sections = [
        {"corpus": "c", "section_id": make_id("section", number), "track_id": name_track(number), "start_s": 2.0}
        | {"end_s": 10.0, "section_label": "verse"}
        for number in numbers
    ]
    patterns = [
        {
            "corpus": "even" if number % 2 == 0 else "odd",
            "pattern_id": name_pattern(number),
            "section_id": make_id("section", number),
            "track_id": name_track(number),
            "instrument_type": "drums",
            "tempo_bpm": 60.0 + number,
            "groove": GROOVES[number % 3],
            "time_signature": METERS[number % 5 == 0],
            "key_signature": KEYS[number % 3],
            "fingerprint": vector.tolist(),
        }
        for number, vector in zip(numbers, vectors, strict=True)
    ]
    with lake.transaction("test") as change:
        change.insert("tracks", TRACKS.make_rows(tracks))
        change.insert("sections", SECTIONS.make_rows(sections))
        change.insert("patterns", PATTERNS.make_rows(patterns))


@pytest.fixture(scope="module")
def lake(_empty_lake, tmp_path_factory):
    with Lake.open(shutil.copytree(_empty_lake, tmp_path_factory.mktemp("search") / "lake")) as opened:
        add_patterns(opened, range(COUNT), draw_vectors(COUNT))
        groups = [
            {"track_id": name_track(number), "source_song_id": name_track(COPIES[0]), "relation": "same"}
            for number in COPIES
        ]
        with opened.transaction("test") as change:
            change.insert("song_groups", SONG_GROUPS.make_rows(groups))
        refresh_indexes(opened, IndexParams(flat_below=50, neighbours=NeighbourParams(least=0.6)))
        yield opened


@pytest.fixture(scope="module")
def reader(lake):
    with connect(lake.folder) as connection:
        yield connection


def find(reader, lake, number=0, **options):
    """The numbers of the patterns found, the best first, with their scores."""
    names = {name_pattern(number): number for number in range(COUNT)}
    frame = search_frame(reader, lake.folder, pattern_id=name_pattern(number), **options)
    return [(names[pattern], score) for pattern, score in zip(frame.pattern_id, frame.similarity_score, strict=True)]


def expect(number=0, min_similarity=0.7, limit=20, keep=lambda other: True, own=False):
    vectors = draw_vectors(COUNT).astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    grids = vectors.reshape(COUNT, 3, 32)
    scores = np.max(
        [np.roll(grids, 2 * halves, axis=2).reshape(COUNT, -1) @ vectors[number] for halves in range(16)], axis=0
    )
    chosen = [
        other
        for other in sorted(range(COUNT), key=lambda other: (-round(scores[other], 6), name_pattern(other)))
        if scores[other] >= min_similarity and other != number and keep(other) and (own or other != PRIVATE)
    ]
    copies = [other for other in chosen if other in COPIES]
    chosen = [other for other in chosen if other not in copies[1:]]
    return [(other, pytest.approx(scores[other], abs=1e-5)) for other in chosen[:limit]]


def test_the_nearest_patterns_come_first(reader, lake):
    assert find(reader, lake) == expect()


def test_one_call_gives_a_data_frame(reader, lake):
    frame = catalog.find_patterns(lake.folder, pattern_id=name_pattern(0), genres=["jazz"], limit=3)
    expected = expect(limit=3, keep=lambda other: other % 2 == 1)
    assert frame.pattern_id.tolist() == [name_pattern(number) for number, _ in expected]
    assert frame.similarity_score.tolist() == [score for _, score in expected]


def test_all_regimes_give_the_same_answer_with_the_same_scores(reader, lake):
    def ask(**options):
        return search_patterns(reader, lake.folder, pattern_id=name_pattern(3), **options).to_dict()

    exact, precomputed = ask(), ask(exact_below=10)
    indexed = ask(exact_below=10, tempo=(0, 1000))
    regimes = [answer["query_info"]["regime"] for answer in (exact, precomputed, indexed)]
    assert regimes == ["exact", "precomputed", "index"]
    assert exact["results"] == precomputed["results"] == indexed["results"]


@pytest.mark.parametrize("options", [{"min_similarity": 0.5}, {"limit": 30}, {"user_id": "ada"}, {"genres": ["jazz"]}])
def test_what_nightly_did_not_compute_is_asked_of_the_index(reader, lake, options):
    answer = search_patterns(reader, lake.folder, pattern_id=name_pattern(3), exact_below=10, **options)
    assert answer.query_info["regime"] == "index"


@pytest.mark.parametrize("exact_below", [10, 10_000])
def test_a_groove_that_is_counted_in_two_ways_is_found_by_either(reader, lake, exact_below):
    vectors = draw_vectors(COUNT)
    alone = [
        search_frame(reader, lake.folder, vector=vectors[number], exact_below=exact_below, limit=COUNT)
        for number in (3, 8)
    ]
    both = search_frame(reader, lake.folder, vector=vectors[[3, 8]], exact_below=exact_below, limit=COUNT)
    best = {}
    for frame in alone:
        for pattern, score in zip(frame.pattern_id, frame.similarity_score, strict=True):
            best[pattern] = max(score, best.get(pattern, -1.0))
    assert dict(zip(both.pattern_id, both.similarity_score, strict=True)) == pytest.approx(best, abs=1e-6)
    assert both.shift_beats.between(0, 7.5).all()


def test_basses_are_searched_apart_from_drums(_empty_lake, tmp_path):
    with Lake.open(shutil.copytree(_empty_lake, tmp_path / "lake")) as opened:
        vectors = draw_vectors(4)
        add_patterns(opened, range(4), vectors)
        opened.connection.execute("UPDATE patterns SET instrument_type = 'bass' WHERE tempo_bpm < 62")
        found = search_frame(opened.connection, opened.folder, vector=vectors[3], instrument="bass")
    assert set(found.pattern_id) == {name_pattern(0), name_pattern(1)}
    for score, why in zip(found.similarity_score, found.why, strict=True):
        assert list(why) == ["rhythm", "pitch"]
        assert sum(why.values()) == pytest.approx(score, abs=1e-3)


def test_an_instrument_without_patterns_is_named(reader, lake):
    with pytest.raises(BadQuery, match="drums and bass, not of kazoo"):
        search_frame(reader, lake.folder, vector=draw_vectors(1)[0], instrument="kazoo")


def test_the_parts_of_the_instruments_add_up_to_the_score(reader, lake):
    frame = search_frame(reader, lake.folder, pattern_id=name_pattern(3))
    for score, why in zip(frame.similarity_score, frame.why, strict=True):
        assert sum(why.values()) == pytest.approx(score, abs=1e-3)


@pytest.mark.parametrize("beats", [3, 4.5])
def test_a_groove_is_found_from_another_beat(reader, lake, beats):
    late = shift_beats(draw_vectors(COUNT)[7:8])[0, int(2 * beats)]
    frame = search_frame(reader, lake.folder, vector=late, limit=1)
    assert frame.pattern_id.tolist() == [name_pattern(7)]
    assert frame.similarity_score[0] == pytest.approx(1, abs=1e-6)
    assert (beats + frame.shift_beats[0]) % 8 == 0


def test_the_macro_gives_the_same_answer_in_sql(reader, lake):
    rows = reader.execute(
        f"SELECT pattern_id::VARCHAR, similarity_score FROM similar_patterns('{name_pattern(3)}', max_results := 7)"
    ).fetchall()
    found = search_frame(reader, lake.folder, pattern_id=name_pattern(3), limit=7)
    assert [pattern for pattern, _ in rows] == found.pattern_id.tolist()
    assert [score for _, score in rows] == pytest.approx(found.similarity_score.tolist(), abs=1e-6)


@pytest.mark.parametrize("exact_below", [10, 10_000])
@pytest.mark.parametrize(
    ("filters", "keep"),
    [
        ({"tempo": (80, 130)}, lambda other: 20 <= other <= 70),
        ({"genres": ["rock"]}, lambda other: other % 2 == 0),
        ({"genres": ["ROCK", "Jazz"]}, lambda other: True),
        ({"key": "c MINOR"}, lambda other: other % 3 == 0),
        ({"time_signature": "3/4"}, lambda other: other % 5 == 0),
        ({"corpus": "odd"}, lambda other: other % 2 == 1),
        ({"corpus": "odd", "key": "C minor"}, lambda other: other % 6 == 3),
        ({"privacy": "public"}, lambda other: True),
        ({"privacy": "public", "user_id": "ada"}, lambda other: True),
        ({"user_id": "ada"}, None),
    ],
)
def test_filters_work_inside_the_search(reader, lake, filters, keep, exact_below):
    expected = expect(keep=keep) if keep else expect(own=True)
    assert find(reader, lake, exact_below=exact_below, **filters) == expected


@pytest.mark.parametrize("exact_below", [10, 10_000])
def test_only_ones_own_private_patterns_are_found_where_private_ones_are_wanted(reader, lake, exact_below):
    options = {"min_similarity": -1, "limit": 500, "exact_below": exact_below, "privacy": "private"}
    assert [number for number, _ in find(reader, lake, user_id="ada", **options)] == [PRIVATE]
    assert find(reader, lake, user_id="bob", **options) == []


@pytest.mark.parametrize("exact_below", [10, 10_000])
def test_private_patterns_of_others_never_appear(reader, lake, exact_below):
    options = {"min_similarity": -1, "limit": 500, "exact_below": exact_below}
    assert PRIVATE in [number for number, _ in find(reader, lake, user_id="ada", **options)]
    for stranger in (None, "bob"):
        assert len(found := find(reader, lake, user_id=stranger, **options)) == COUNT - 3
        assert PRIVATE not in [number for number, _ in found]


def test_private_patterns_are_unknown_to_others(reader, lake):
    assert find(reader, lake, PRIVATE, user_id="ada") == expect(PRIVATE)
    with pytest.raises(UnknownId, match=name_pattern(PRIVATE)):
        find(reader, lake, PRIVATE, user_id="bob")


def test_the_macro_knows_no_private_pattern(reader):
    everything = "min_similarity := -1, max_results := 500"
    rows = reader.execute(f"SELECT pattern_id::VARCHAR FROM similar_patterns('{name_pattern(0)}', {everything})")
    assert name_pattern(PRIVATE) not in {pattern for (pattern,) in rows.fetchall()}
    assert not reader.execute(f"FROM similar_patterns('{name_pattern(PRIVATE)}', {everything})").fetchall()


def test_copies_of_a_song_are_folded_into_one_hit(reader, lake):
    answer = search_patterns(reader, lake.folder, pattern_id=name_pattern(0), min_similarity=-1, limit=500).to_dict()
    sections = {song["source_song_id"]: song["sections"] for song in answer["results"]}
    (section,) = sections[name_track(COPIES[0])]
    assert {section["track_id"], *section["copies"]} == {name_track(number) for number in COPIES}
    assert answer["total_matches"] == sum(map(len, sections.values())) == COUNT - 3
    best = [song["sections"][0]["similarity_score"] for song in answer["results"]]
    assert best == sorted(best, reverse=True)


@pytest.mark.parametrize("exact_below", [10, 10_000])
def test_as_many_are_found_as_are_asked_for_however_many_copies_there_are(_empty_lake, tmp_path, exact_below):
    with Lake.open(shutil.copytree(_empty_lake, tmp_path / "lake")) as lake:
        add_patterns(lake, range(60), np.repeat(draw_vectors(10), 6, axis=0))
        groups = [
            {"track_id": name_track(number), "source_song_id": name_track(number - number % 6), "relation": "same"}
            for number in range(60)
        ]
        with lake.transaction("test") as change:
            change.insert("song_groups", SONG_GROUPS.make_rows(groups))
        refresh_indexes(lake, IndexParams(flat_below=50))
        options = {"min_similarity": -1, "limit": 9, "exact_below": exact_below}
        for filters in ({}, {"tempo": (60, 121)}):
            frame = search_frame(lake.connection, lake.folder, pattern_id=name_pattern(0), **options, **filters)
            assert len(frame) == 9
            assert not frame.source_song_id.duplicated().any()
            assert name_track(0) not in frame.source_song_id.tolist()


def test_a_section_says_what_it_is(reader, lake):
    answer = search_patterns(reader, lake.folder, pattern_id=name_pattern(0), tempo=(63, 63)).to_dict()
    ((section,),) = [song["sections"] for song in answer["results"]]
    assert section["similarity_score"] == expect(keep=lambda other: other == 3)[0][1]
    assert section == section | {
        "song_id": make_id("section", 3),
        "section": "verse",
        "tempo": 63.0,
        "key": "C minor",
        "genre": "jazz",
        "time_signature": "4/4",
        "title": "Song 3",
        "preview": f"midime preview {name_pattern(3)} -o {name_pattern(3)}.ogg",
    }


def test_a_vector_finds_its_pattern_at_any_scale(reader, lake):
    frame = search_frame(reader, lake.folder, vector=1000 * draw_vectors(COUNT)[7], limit=1)
    assert frame.pattern_id.tolist() == [name_pattern(7)]
    assert frame.similarity_score[0] == pytest.approx(1, abs=1e-6)


def test_the_answer_says_how_it_was_found(reader, lake):
    info = search_patterns(reader, lake.folder, pattern_id=name_pattern(0), genres=["jazz"]).query_info
    assert info["filters"] == {"genres": ["jazz"]}
    assert (info["regime"], info["candidates"], info["index"]["fresh"]) == ("exact", COUNT // 2, True)


@pytest.mark.parametrize(("exact_below", "regime"), [(10_000, "exact"), (10, "precomputed")])
def test_nothing_similar_is_an_empty_answer_that_says_how_similar_the_nearest_is(reader, lake, exact_below, regime):
    question = {"pattern_id": name_pattern(0), "min_similarity": 0.9999, "exact_below": exact_below}
    answer = search_patterns(reader, lake.folder, **question).to_dict()
    info = answer["query_info"]
    assert (answer["total_matches"], answer["results"], info["regime"]) == (0, [], regime)
    nearest = expect(limit=1)[0][1]
    assert info["nearest"] == nearest
    said, number = info["reason"].split(f"the nearest of {COUNT - 2} has a similarity of ")
    assert said == "No pattern is as similar as 0.9999: "
    assert nearest.expected - 0.001 < float(number.rstrip(".")) <= info["nearest"]


def test_filters_that_exclude_everything_are_named(reader, lake):
    answer = search_patterns(reader, lake.folder, pattern_id=name_pattern(0), genres=["polka"], tempo=(60, 200))
    reason = "No pattern of drums passes the filters (tempo 60 to 200, genre polka)."
    assert (answer.query_info["reason"], answer.query_info["nearest"]) == (reason, None)
    frame = answer.to_frame()
    assert frame.empty
    assert frame.attrs["query_info"]["reason"] == reason


@pytest.mark.parametrize(
    ("asked", "whose"), [({"pattern_id": name_pattern(0)}, " of another song"), ({"vector": [1.0] * 96}, "")]
)
def test_a_lake_with_nothing_to_compare_says_so(_empty_lake, tmp_path, asked, whose):
    with Lake.open(shutil.copytree(_empty_lake, tmp_path / "lake")) as lake:
        if "pattern_id" in asked:
            add_patterns(lake, [0], draw_vectors(1))
        answer = search_patterns(lake.connection, lake.folder, **asked)
        assert answer.query_info["reason"] == f"The lake holds no pattern of drums{whose} that could be like it."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "not by both or neither"),
        ({"vector": [1.0], "pattern_id": name_pattern(0)}, "not by both or neither"),
        ({"vector": [1.0, 2.0]}, "96 numbers"),
        ({"vector": [0.0] * 96}, "empty"),
        ({"vector": [float("nan")] * 96}, "not finite"),
        ({"pattern_id": name_pattern(0), "limit": 0}, "at least 1"),
        ({"pattern_id": name_pattern(0), "min_similarity": 7}, "cosine"),
        ({"pattern_id": name_pattern(0), "tempo": (140, 80)}, "140:80 is empty"),
        ({"pattern_id": name_pattern(0), "tempo": (float("nan"), 80)}, "is empty"),
        ({"pattern_id": name_pattern(0), "genres": ["", " "]}, "names none"),
        ({"pattern_id": name_pattern(0), "privacy": "secret"}, "public or private, not secret"),
        ({"pattern_id": name_pattern(0), "privacy": "private"}, "say who asks"),
    ],
)
def test_questions_that_make_no_sense_are_refused(reader, lake, options, message):
    with pytest.raises(BadQuery, match=message):
        search_patterns(reader, lake.folder, **options)


@pytest.mark.parametrize("pattern", ["-", "no-uuid", make_id("pattern", "elsewhere")])
def test_unknown_patterns_are_named(reader, lake, pattern):
    with pytest.raises(UnknownId, match=pattern):
        search_patterns(reader, lake.folder, pattern_id=pattern)


def test_an_empty_pattern_says_so(_empty_lake, tmp_path):
    with Lake.open(shutil.copytree(_empty_lake, tmp_path / "lake")) as lake:
        add_patterns(lake, range(2), np.array([np.zeros(DIMENSIONS), np.ones(DIMENSIONS)]))
        with pytest.raises(UnknownId, match="is empty"):
            search_patterns(lake.connection, lake.folder, pattern_id=name_pattern(0))


def test_without_a_good_index_everything_is_compared(_empty_lake, tmp_path):
    with Lake.open(shutil.copytree(_empty_lake, tmp_path / "lake")) as lake:
        add_patterns(lake, range(20), draw_vectors(20))

        def ask():
            question = {"vector": draw_vectors(1)[0], "exact_below": 10, "min_similarity": -1, "limit": 50}
            answer = search_patterns(lake.connection, lake.folder, **question)
            return answer.query_info["regime"], answer.total_matches, answer.query_info.get("advice", "")

        regime, matches, advice = ask()
        assert (regime, matches) == ("exact", 20)
        assert "midime nightly" in advice
        refresh_indexes(lake)
        assert ask() == ("index", 20, "")
        add_patterns(lake, [30], draw_vectors(1, seed=1))
        assert ask()[:2] == ("exact", 21)
        refresh_indexes(lake)
        assert ask() == ("index", 21, "")
        for path in (lake.folder / "index").iterdir():
            path.write_bytes(b"damaged")
        search._OPEN.clear()
        assert ask()[:2] == ("exact", 21)


def test_the_most_used_groove_leads(reader):
    answer = reader.execute("SELECT groove, sum(patterns) FROM common_grooves GROUP BY ALL ORDER BY 2 DESC").fetchall()
    public = [GROOVES[number % 3] for number in range(COUNT) if number != PRIVATE]
    assert answer == [(groove, public.count(groove)) for groove in ("snare=x...", "kick=x...x...")]


def test_copies_count_as_one_song(reader):
    (songs,) = reader.execute("SELECT sum(songs) FROM common_grooves WHERE groove = 'snare=x...'").fetchone()
    assert songs == sum(GROOVES[number % 3] == "snare=x..." for number in range(COUNT) if number != PRIVATE) - 1

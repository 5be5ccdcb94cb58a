"""Each view of the runs equals a recount, in Python, of the base tables."""

import json
import math
import statistics
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import pytest

from catalog.index import find_index, is_fresh
from catalog.lake import Lake
from catalog.lost_runs import close_lost_runs
from catalog.matching.alignment import CHROMAPRINT
from catalog.matching.peak_keys import PEAKS
from catalog.tables import BY_NAME, RUNS, make_id
from catalog.views import load_questions, load_views
from tests.nights import Night, write_nightly, write_nights

ALGORITHMS = (CHROMAPRINT.algorithm, PEAKS.algorithm)
MORNING = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def month(month_lake):
    """The lake after thirty calm nights and a bad one, with its base tables as lists of rows."""
    return month_lake, {name: month_lake.query(f"FROM {name}").to_pylist() for name in BY_NAME}


def ask(lake: Lake, sql: str) -> list[dict]:
    return lake.query(sql).to_pylist()


def test_every_view_says_its_question():
    assert len(load_questions()) == len(load_views())
    for name, question in load_questions().items():
        assert "?" in question, name


def test_a_view_comes_after_those_it_asks(month):
    names = [row["view_name"] for row in ask(month[0], "SELECT view_name FROM duckdb_views() WHERE NOT internal")]
    assert {"alarms", "run_history", "songs"} <= set(names)


def test_the_runs_are_reconciled(month):
    lake, base = month
    found = {row["run_id"]: row for row in ask(lake, "FROM run_history")}
    assert len(found) == len(base["runs"])
    for run in base["runs"]:
        parts = ("new", "unchanged", "duplicate", "rejected", "failed")
        assert found[run["run_id"]]["files_unaccounted"] == run["files_seen"] - sum(run[f"files_{p}"] for p in parts)
        assert found[run["run_id"]]["wall_s"] == (run["ended_at"] - run["started_at"]).total_seconds()


def test_a_run_knows_its_corpora(month):
    lake, base = month
    expected = {
        (run["run_id"], source.rsplit("/", 1)[1])
        for run in base["runs"]
        for source in json.loads(run["parameters"]).get("sources", [])
    }
    assert {(row["run_id"], row["corpus"]) for row in ask(lake, "FROM run_corpora")} == expected


@pytest.mark.parametrize(
    ("parameters", "corpus"),
    [
        ({"sources": ["/music/rock/"], "corpus": None}, "rock"),
        ({"sources": ["/music/rock"], "corpus": "mine"}, "mine"),
    ],
)
def test_a_run_that_found_nothing_new_still_knows_its_corpus(lake, parameters, corpus):
    row = {"run_id": make_id("run", 1), "flow": "ingest", "parameters": json.dumps(parameters), "started_at": MORNING}
    with lake.transaction("test") as change:
        change.insert("runs", RUNS.make_rows([row]))
    assert [row["corpus"] for row in ask(lake, "FROM run_corpora")] == [corpus]


def test_the_freshness_of_a_corpus(month):
    lake, base = month
    for row in ask(lake, "FROM corpus_freshness"):
        mine = {
            name: [x for x in base[name] if x["corpus"] == row["corpus"]]
            for name in ("tracks", "files", "rejects", "patterns")
        }
        assert (row["tracks"], row["files"], row["files_not_in"], row["patterns"]) == tuple(map(len, mine.values()))
        assert row["audio_h"] == pytest.approx(sum(track["duration_s"] for track in mine["tracks"]) / 3600)
        assert row["last_new_at"] == max(track["upload_date"] for track in mine["tracks"])
        assert row["source_bytes"] == sum(file["size_bytes"] for file in mine["files"])


def test_the_speed_of_a_run_and_its_usual_speed(month):
    lake, base = month
    runs = sorted((run for run in base["runs"] if run["flow"] == "ingest"), key=lambda run: run["started_at"])
    before = defaultdict(list)
    found = {row["run_id"]: row for row in ask(lake, "FROM run_throughput")}
    for run in runs:
        wall_s = (run["ended_at"] - run["started_at"]).total_seconds()
        speed = run["audio_s"] / wall_s
        row = found.pop(run["run_id"])
        assert row["realtime_ratio"] == pytest.approx(speed)
        assert row["tracks_per_hour"] == pytest.approx(run["files_new"] / wall_s * 3600)
        earlier = before[run["parameters"]]
        if earlier:
            assert row["relative_speed"] == pytest.approx(speed / statistics.median(earlier[-10:]))
        else:
            assert row["relative_speed"] is None
        earlier.append(speed)
    assert found == {}


def test_the_seconds_of_a_stage(month):
    lake, base = month
    lengths = {track["track_id"]: track["duration_s"] for track in base["tracks"]}
    seconds, audio = defaultdict(list), defaultdict(float)
    for row in base["track_stages"]:
        for corpus in (row["corpus"], None):
            seconds[row["run_id"], corpus, row["stage"]].append(row["seconds"])
            audio[row["run_id"], corpus, row["stage"]] += lengths[row["track_id"]]
    whole = Counter()
    for (run, corpus, _), mine in seconds.items():
        whole[run, corpus] += sum(mine)
    found = ask(lake, "FROM stage_seconds")
    assert len(found) == len(seconds)
    for row in found:
        mine = seconds[row["run_id"], row["corpus"], row["stage"]]
        assert row["p50_s"] == pytest.approx(statistics.median(mine))
        assert row["share"] == pytest.approx(sum(mine) / whole[row["run_id"], row["corpus"]])
        assert row["seconds_per_audio_hour"] == pytest.approx(
            sum(mine) / audio[row["run_id"], row["corpus"], row["stage"]] * 3600
        )
    slow = {(row["corpus"], row["stage"]) for row in found if row["slow"] and row["corpus"]}
    assert slow == {("live", "separate")}


def test_the_failures_by_reason(month):
    lake, base = month
    expected = Counter((row["run_id"], row["corpus"], row["reason"], row["stage"]) for row in base["rejects"])
    found = ask(lake, "FROM failures_by_reason")
    assert {(r["run_id"], r["corpus"], r["reason"], r["stage"]): r["files"] for r in found} == expected
    assert {row["verdict"] for row in found} == {"rejected", "failed"}
    places = {row["uri"].removeprefix("file://").replace("%20", " ") for row in base["rejects"]}
    assert {file for row in found for file in row["examples"]} <= places


def test_the_retries(month):
    lake, base = month
    expected = Counter(
        (row["corpus"], row["reason"], row["attempts"]) for row in base["rejects"] if row["attempts"] > 1
    )
    assert {(r["corpus"], r["reason"], r["attempts"]): r["files"] for r in ask(lake, "FROM retries")} == expected


def test_the_space_of_the_tables(month):
    lake, base = month
    expected = Counter()
    for row in base["data_files"]:
        expected[row["table_name"]] += row["size_bytes"]
    found = Counter()
    for row in ask(lake, "FROM storage_by_table"):
        found[row["table_name"]] += row["size_bytes"]
        partitioned = BY_NAME[row["table_name"]].partitioned
        assert (row["corpus"] is None) != partitioned
    assert found == expected


def test_the_space_of_everything(lake):
    files = {"a": 100, "b": 200, "c": None}
    stems = [
        {
            "corpus": corpus,
            "track_id": make_id("track", corpus),
            "stem": "bass",
            "uri": f"{corpus}.flac",
            "size_bytes": size,
        }
        for corpus, size in files.items()
    ]
    index = {"index_version": "bass-1", "instrument_type": "bass", "uri": "index/bass", "size_bytes": 7}
    with lake.transaction("test") as change:
        change.insert("stems", BY_NAME["stems"].make_rows([*stems, stems[0] | {"stem": "drums", "uri": None}]))
        change.insert("index_versions", BY_NAME["index_versions"].make_rows([index]))
    found = {(row["kind"], row["corpus"]): row for row in ask(lake, "FROM storage_by_kind")}
    assert {corpus: found["stems", corpus]["size_bytes"] for corpus in files} == {"a": 100, "b": 200, "c": 0}
    assert [found["stems", corpus]["files_without_size"] for corpus in files] == [0, 0, 1]
    assert found["search indexes", None]["size_bytes"] == 7
    tables = sum(row["size_bytes"] for (kind, _), row in found.items() if kind == "tables")
    (total,) = ask(lake, "FROM lake_totals")
    assert (total["table_bytes"], total["total_bytes"]) == (tables, tables + 307)


def test_the_duplicates_by_corpus(month):
    lake, base = month
    found = ask(lake, "FROM duplicates_found")
    assert {row["corpus"]: row["tracks"] for row in found} == Counter(track["corpus"] for track in base["tracks"])
    assert all(row["tracks_undecided"] == row["tracks"] == row["songs"] for row in found)


def test_the_distribution_of_the_tempo(month):
    lake, base = month
    run_of = {row["track_id"]: row["run_id"] for row in base["track_stages"] if row["stage"] == "beats"}
    expected = Counter()
    for track in base["tracks"]:
        tempo = track["tempo_bpm"]
        low = None if tempo is None else min(200, int(max(tempo, 40) // 20) * 20)
        value = {None: "none", 40: "below 60", 200: "200 and more"}.get(low, f"{low}–{(low or 0) + 20}")
        expected[run_of[track["track_id"]], value] += 1
    found = ask(lake, "FROM value_distributions WHERE measure = 'tempo_bpm'")
    assert {(row["run_id"], row["value"]): row["tracks"] for row in found} == expected


@pytest.mark.parametrize("measure", ["detected_key", "detected_genre", "time_signature"])
def test_the_distribution_of_a_name(month, measure):
    lake, base = month
    found = Counter()
    for row in ask(lake, f"FROM value_distributions WHERE measure = '{measure}'"):
        found[row["value"]] += row["tracks"]
    assert found == Counter(track[measure] or "none" for track in base["tracks"])


def test_the_drift_is_the_population_stability_index(month):
    lake, _ = month
    newest = ask(lake, "FROM value_drift WHERE drifted")
    assert [(row["corpus"], row["measure"]) for row in newest] == [("loops", "tempo_bpm")]
    (row,) = newest
    counts = defaultdict(Counter)
    for value in ask(
        lake,
        "FROM value_distributions JOIN runs USING (run_id)"
        " WHERE corpus = 'loops' AND measure = 'tempo_bpm' ORDER BY started_at DESC",
    ):
        counts[value["run_id"]][value["value"]] = value["tracks"]
    now, *earlier = counts.values()
    before = sum(earlier[:10], Counter())
    values = now | before
    share = {v: (now[v] + 0.5) / (now.total() + 0.5 * len(values)) for v in values}
    share_before = {v: (before[v] + 0.5) / (before.total() + 0.5 * len(values)) for v in values}
    psi = sum((share[v] - share_before[v]) * math.log(share[v] / share_before[v]) for v in values)
    assert row["psi"] == pytest.approx(psi)
    assert (row["tracks"], row["tracks_before"]) == (now.total(), before.total())


def test_calm_nights_raise_no_alarm_of_drift_or_slowness(month):
    lake, _ = month
    calm = "run_id IN (SELECT run_id FROM runs WHERE started_at < now() - INTERVAL 20 HOUR)"
    assert ask(lake, f"FROM alarms WHERE kind IN ('drift', 'slow stage') AND {calm}") == []
    assert len(ask(lake, f"FROM value_drift WHERE {calm}")) == 609


def test_the_cost_follows_the_price(month):
    lake, base = month
    run_id = base["track_stages"][0]["run_id"]
    seconds = sum(row["seconds"] for row in base["track_stages"] if row["run_id"] == run_id)
    tracks = {row["track_id"] for row in base["track_stages"] if row["run_id"] == run_id}
    audio_s = sum(track["duration_s"] for track in base["tracks"] if track["track_id"] in tracks)
    (row,) = ask(lake, f"FROM cost_per_thousand_hours(price_per_worker_hour := 2.5) WHERE run_id = '{run_id}'")
    assert row["cost"] == pytest.approx(seconds / audio_s * 1000 * 2.5)


def test_the_totals(month):
    lake, base = month
    (row,) = ask(lake, "FROM lake_totals")
    assert (row["tracks"], row["files"], row["files_not_in"], row["patterns"]) == tuple(
        len(base[name]) for name in ("tracks", "files", "rejects", "patterns")
    )


def test_an_index_is_as_fresh_as_the_search_thinks(month):
    lake, _ = month
    (row,) = ask(lake, "FROM index_health")
    assert row["fresh"] is is_fresh(lake.connection, find_index(lake.connection, "drums")) is False
    assert row["patterns"] > row["vectors"]
    assert row["patterns_newer"] == row["patterns"] - row["vectors"]


def test_a_fresh_index_is_called_fresh(lake):
    write_nights(lake, [Night("loops", MORNING)])
    write_nightly(lake, MORNING + timedelta(hours=1))
    (row,) = ask(lake, "FROM index_health")
    assert row["fresh"] is is_fresh(lake.connection, find_index(lake.connection, "drums")) is True
    assert ask(lake, "FROM alarms WHERE kind = 'stale index'") == []


def test_a_running_ingest_says_when_it_ends(lake):
    (run_id,) = write_nights(lake, [Night("loops", MORNING, files=10, faulty=0.0)])
    with lake.transaction("test") as change:
        change.connection.execute("UPDATE runs SET state = 'running', ended_at = NULL, tracks_planned = 40")
    (row,) = ask(lake, "FROM running_ingests")
    assert (row["run_id"], row["tracks_analysed"], row["tracks_left"]) == (run_id, 10, 30)
    elapsed_s = (row["last_commit_at"] - row["started_at"]).total_seconds()
    assert row["left_s"] == pytest.approx(elapsed_s / 10 * 30)


def test_a_run_that_nobody_ended_is_called_silent(lake):
    write_nights(lake, [Night("loops", MORNING - timedelta(hours=9), files=10, faulty=0.0)])
    with lake.transaction("test") as change:
        change.connection.execute("UPDATE runs SET state = 'running', ended_at = NULL")
    (row,) = ask(lake, "FROM alarms WHERE kind = 'silent run'")
    assert "has committed nothing for 9 hours" in row["message"]
    close_lost_runs(lake)
    assert ask(lake, "FROM running_ingests") == ask(lake, "FROM alarms WHERE kind = 'silent run'") == []


def test_a_nightly_that_stopped_coming_is_late(lake):
    for days in range(9, 2, -1):
        write_nightly(lake, MORNING - timedelta(days=days))
    (row,) = ask(lake, "FROM late_runs")
    assert (row["flow"], row["corpus"], row["usual_gap_h"]) == ("nightly", None, 24)
    assert row["late_since"] == MORNING - timedelta(days=3) + timedelta(hours=36)
    (alarm,) = ask(lake, "FROM alarms WHERE kind = 'late run' AND is_open")
    assert "No nightly run has started since" in alarm["message"] and "every 24 hours" in alarm["message"]
    write_nightly(lake, MORNING - timedelta(hours=1))
    assert ask(lake, "FROM late_runs") == []


@pytest.mark.parametrize(
    ("days_ago", "late"),
    [
        ((12, 11, 10, 9, 8, 5, 4), ["loops"]),  # on weekdays: the gap of a weekend is usual, four days are not
        ((10, 9, 8, 7, 6, 3), []),
        ((40, 39, 12, 11.9, 11.8, 4), []),  # whenever somebody thinks of it
        ((60, 59, 58, 57, 56, 55), []),  # given up long ago
    ],
)
def test_only_what_came_regularly_can_be_late(lake, days_ago, late):
    write_nights(lake, [Night("loops", MORNING - timedelta(days=days), files=3) for days in days_ago])
    assert [row["corpus"] for row in ask(lake, "FROM late_runs")] == late


def test_counts_that_do_not_add_up_are_an_alarm(lake):
    write_nights(lake, [Night("loops", MORNING, files=10, faulty=0.0)])
    with lake.transaction("test") as change:
        change.connection.execute("UPDATE runs SET files_seen = files_seen + 3")
    (row,) = ask(lake, "FROM alarms WHERE kind = 'counts'")
    assert "3 of" in row["message"]


def test_an_alarm_closes_when_a_later_run_of_the_corpus_is_well(lake):
    night = Night("loops", MORNING - timedelta(hours=5), files=10, faulty=0.0, message="OSError: disk full")
    write_nights(lake, [night])
    assert [row["is_open"] for row in ask(lake, "FROM alarms WHERE kind = 'failed run'")] == [True]
    write_nights(lake, [Night("live", MORNING - timedelta(hours=4), files=10, faulty=0.0)])
    assert [row["is_open"] for row in ask(lake, "FROM alarms WHERE kind = 'failed run'")] == [True]
    write_nights(lake, [Night("loops", MORNING - timedelta(hours=3), files=10, faulty=0.0)])
    assert [row["is_open"] for row in ask(lake, "FROM alarms WHERE kind = 'failed run'")] == [False]


def test_the_morning_after_a_bad_night(month):
    lake, _ = month
    rows = ask(lake, "FROM alarms WHERE is_open ORDER BY kind, corpus")
    said = {(row["kind"], row["corpus"]): row["message"] for row in rows}
    assert set(said) == {
        ("drift", "loops"),
        ("failed files", "library"),
        ("failed run", "library"),
        ("failed run", None),
        ("slow stage", "live"),
        ("stale index", None),
    }
    assert said["drift", "loops"].startswith("The distribution of tempo_bpm in loops has drifted (PSI")
    assert said["failed run", "library"] == (
        "The ingest run of library failed: 29 of 36 new files were rejected or failed."
    )
    assert "build indexes: OSError: [Errno 28] No space left on device" in said["failed run", None]
    assert "Stage separate took 4.0 times its usual time in live" in said["slow stage", "live"]
    assert "Run: midime nightly" in said["stale index", None]


def test_stages_that_took_no_measurable_time_are_compared_with_nothing(lake):
    track, runs = make_id("track", 1), [make_id("run", day) for day in (1, 2)]
    with lake.transaction("two runs") as change:
        change.insert("tracks", BY_NAME["tracks"].make_rows([{"track_id": track, "corpus": "c", "duration_s": 1.0}]))
        days = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2)]
        rows = [{"run_id": run, "started_at": day} for run, day in zip(runs, days, strict=True)]
        change.insert("runs", BY_NAME["runs"].make_rows(rows))
        stages = [
            {"track_id": track, "corpus": "c", "stage": "midi", "seconds": 0.0, "run_id": runs[0]},
            {"track_id": track, "corpus": "c", "stage": "midi", "seconds": 0.1, "run_id": runs[1]},
        ]
        change.insert("track_stages", BY_NAME["track_stages"].make_rows(stages))
    assert {row["relative_time"] for row in ask(lake, "FROM stage_seconds")} == {None}


def test_a_section_is_one_row_however_many_fingerprints_its_track_has(lake):
    base = {"corpus": "c", "track_id": make_id("track", "two fingerprints")}
    with lake.transaction("test") as change:
        change.insert("tracks", BY_NAME["tracks"].make_rows([base]))
        sections = [base | {"section_id": make_id("section", n), "start_s": n, "end_s": n + 1.0} for n in (0.0, 1.0)]
        change.insert("sections", BY_NAME["sections"].make_rows(sections))
        prints = [base | {"algorithm": name, "items": [place]} for place, name in enumerate(ALGORITHMS)]
        change.insert("fingerprints", BY_NAME["fingerprints"].make_rows(prints))
    found = ask(lake, "SELECT song_id, audio_fingerprint FROM songs ORDER BY song_id")
    expected = sorted(row["section_id"] for row in sections)
    assert [(row["song_id"], row["audio_fingerprint"]) for row in found] == [(section, [0]) for section in expected]

"""The command line: one clear line and exit code 2 for what cannot be served, answers on standard output."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import duckdb
import pytest
import typer
from pydantic import ValidationError

from catalog.connection import load_extensions
from catalog.search import search_patterns
from catalog.tables import TABLES, TRACKS, make_id
from flows.cli import app, main
from flows.settings import Settings
from tasks.commit import Owner, commit_shard
from tasks.music.midi import read_drum_ticks
from tasks.plan import make_plan
from tasks.track import TrackParams, analyse_track, stage_versions
from tests.nights import Night, write_nights

UNKNOWN = "6f0f6a3e-94c2-5d0c-8a55-6d6964696d65"


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code and what it printed."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run_midime(monkeypatch, capfd):
    """Run the command in this process."""

    def run(*arguments: object, lake: Path | None = None) -> Done:
        monkeypatch.setattr(sys, "argv", ["midime", *map(str, arguments)])
        if lake:
            monkeypatch.setenv("MIDIME_LAKE", str(lake))
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(ended.value.code or 0, *capfd.readouterr())

    return run


@pytest.fixture
def refuse(run_midime):
    """The one line that a refused command says."""

    def run(*arguments: object, lake: Path | None = None) -> str:
        done = run_midime(*arguments, lake=lake)
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.strip().splitlines()
        return line

    return run


@pytest.fixture(scope="module")
def analysed(write_track, tmp_path_factory):
    """One track, analysed."""
    path = write_track(tmp_path_factory.mktemp("corpus") / "beat.wav")
    (job,) = make_plan([path], None, None, {}).jobs
    return analyse_track(job, TrackParams(stems=0))


@pytest.fixture
def filled(lake, analysed):
    """A lake with one private track."""
    commit_shard(lake, "c/000", [analysed], make_id("run", 1), Owner("ann", "private"))
    return lake


def first_pattern(lake) -> str:
    return lake.query("SELECT pattern_id FROM patterns LIMIT 1").to_pylist()[0]["pattern_id"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ingest", "nowhere"], "no file or folder nowhere"),
        (["ingest", ".", "--force", "magic"], "no stage magic"),
        (["ingest", ".", "--stems", "5"], "5stems model is not installed"),
        (["ingest", ".", "--workers", "2", "--dask", "tcp://x:1"], "--workers or --dask"),
        (["analyze", "nowhere.mp3"], "no file nowhere.mp3"),
        (["analyze", ".", "--start", "5", "--end", "2"], "before it starts"),
        (["search", UNKNOWN, "--tempo", "fast"], "not of the form"),
        (["search", UNKNOWN, "--instrument", "kazoo"], "no patterns of kazoo"),
        (["sql", "SELECT 1"], "no lake in"),
        (["nightly"], "no lake in"),
        (["verify"], "no lake in"),
        (["purge"], "--track ID or --user ID"),
        (["ingest", ".", "--dask", "nonsense"], "not of the form tcp://host:8786"),
        (["ingest", "."], "cannot be written"),
        (["search", UNKNOWN, "--key", "H moll"], "not of the form"),
        (["preview", UNKNOWN, "-o", "x.xyz"], "does not end in .wav, .flac, .ogg or .mp3"),
        (["preview", UNKNOWN, "-o", "nowhere/x.wav"], "no folder nowhere"),
        (["midi", UNKNOWN, "-o", "nowhere/x.mid"], "no folder nowhere"),
        (["plot", UNKNOWN, "-o", "x.doc"], "does not end in .png, .svg or .pdf"),
        (["dashboard", "-o", "."], "is a directory"),
        (["export", "FROM tracks", "-o", ".", "--as", "csv"], "is a folder"),
        (["export", "FROM tracks", "-o", __file__, "--as", "midi"], "is a file"),
        (["sql"], "Missing argument 'QUERY'. See: midime sql --help"),
        (["sql", "x", "--format", "xml"], "'xml' is not one of 'table', 'csv', 'json'. See: midime sql --help"),
        (["search", "x", "--limit", "0"], "it should be greater than or equal to 1"),
        (["serch"], "No such command 'serch'"),
    ],
)
def test_a_request_that_cannot_be_served_is_one_line(refuse, arguments, message, tmp_path):
    lake = "/dev/null/lake" if arguments == ["ingest", "."] else tmp_path / "none"
    assert message in refuse(*arguments, lake=lake)
    assert not Path(lake).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sql", ""], "no statement"),
        (["sql", "SELECT 1", "--snapshot", "99"], "no snapshot 99"),
        (["search", "nonsense"], "neither a file nor an identifier"),
        (["search", UNKNOWN, "--tempo", "140:80"], "is empty"),
        (["purge", "--user", "nobody", "--yes"], "no track of user nobody"),
    ],
)
def test_an_empty_lake_refuses_in_one_line(refuse, lake, arguments, message):
    assert message in refuse(*arguments, lake=lake.folder)


def test_a_damaged_catalogue_is_one_line(refuse, tmp_path):
    (tmp_path / "catalog.sqlite").write_bytes(b"no database at all, but long enough to be looked at" * 20)
    for command in (["sql", "SELECT 1"], ["nightly"], ["dashboard", "-o", tmp_path / "x.html"]):
        assert f"The lake {tmp_path} cannot be opened" in refuse(*command, lake=tmp_path)


def test_without_a_command_the_help_is_shown(run_midime):
    done = run_midime()
    assert (done.returncode, "Usage: midime" in done.stdout) == (0, True)


def test_a_search_of_an_empty_lake_says_that_it_is(run_midime, lake):
    done = run_midime("search", "kick=x...x...", lake=lake.folder)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "The lake holds no pattern of drums that could be like it.\n"


def test_a_search_without_matches_says_what_to_try(run_midime, filled):
    search = ("search", "kick=x...x...", "--user", "ann")
    done = run_midime(*search, lake=filled.folder)
    assert (done.returncode, done.stdout) == (0, "")
    shown = re.search(r"With --min-similarity (\S+) it is shown", done.stderr.replace("\n", " "))[1]
    assert "1 match in 1 song" in run_midime(*search, "--min-similarity", shown, lake=filled.folder).stderr


def test_a_search_that_had_to_compare_everything_says_so(run_midime, filled, monkeypatch):
    groove = filled.query("SELECT groove FROM patterns").to_pylist()[0]["groove"]
    monkeypatch.setattr("flows.search.search_patterns", partial(search_patterns, exact_below=1))
    done = run_midime("search", groove, "--user", "ann", lake=filled.folder)
    assert "Run: midime nightly" in done.stderr


def test_a_scheduler_that_does_not_answer_is_named(refuse, tmp_path, monkeypatch):
    monkeypatch.setattr("flows.cluster.CONNECT_TIMEOUT_S", 0.5)
    said = refuse("ingest", tmp_path, "--dask", "tcp://127.0.0.1:9", lake=tmp_path / "lake")
    assert "No Dask scheduler answers at tcp://127.0.0.1:9" in said


def test_a_device_that_is_not_there_is_one_line(refuse, tmp_path, monkeypatch):
    monkeypatch.setenv("MIDIME_DEVICE", "cuda")
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    assert "onnxruntime-gpu" in refuse("ingest", tmp_path, lake=tmp_path / "lake")


@pytest.mark.parametrize("command", ["ingest", "analyze"])
def test_a_truncated_checkpoint_is_one_line(refuse, tmp_path, monkeypatch, command):
    (tmp_path / "2stems").mkdir()
    (tmp_path / "2stems/model.index").write_bytes(b"cut")
    monkeypatch.setenv("MODEL_PATH", str(tmp_path))
    said = refuse(command, tmp_path, "--stems", "2", lake=tmp_path / "lake")
    assert "2stems/model.index is no tensor bundle index: expected" in said
    assert not (tmp_path / "lake").exists()


def test_an_archive_that_is_not_spleeters_is_one_line(refuse, tmp_path):
    (tmp_path / "4stems.tar.gz").write_bytes(b"something else")
    assert "none of Spleeter's archives" in refuse("models", "--add", tmp_path / "4stems.tar.gz", lake=tmp_path)


def test_an_unknown_option_is_refused(run_midime):
    assert run_midime("ingest", ".", "--nonsense").returncode == 2


def test_a_wrong_setting_is_named(refuse, tmp_path, monkeypatch):
    monkeypatch.setenv("MIDIME_STEMS", "7")
    assert "setting stems is wrong" in refuse("status", lake=tmp_path)


@pytest.mark.parametrize(("command", "output"), [("search", None), ("midi", "x.mid"), ("preview", "x.wav")])
def test_an_unknown_pattern_is_named(refuse, lake, command, output, tmp_path):
    written = ["-o", tmp_path / output] if output else []
    assert UNKNOWN in refuse(command, UNKNOWN, *written, lake=lake.folder)


def test_a_wrong_query_is_refused(run_midime, lake):
    done = run_midime("sql", "SELEKT 1", lake=lake.folder)
    assert (done.returncode, "syntax error" in done.stderr) == (2, True)


def test_sql_cannot_write(run_midime, lake):
    assert run_midime("sql", "DELETE FROM tracks", lake=lake.folder).returncode == 2


@pytest.mark.parametrize(("form", "expected"), [("csv", "n\n1\n"), ("json", '[\n  {\n    "n": 1\n  }\n]\n')])
def test_sql_answers_in_the_form_asked_for(run_midime, lake, form, expected):
    assert run_midime("sql", "SELECT 1 AS n", "--format", form, lake=lake.folder).stdout == expected


def test_columns_of_the_same_name_are_all_printed(run_midime, lake):
    printed = run_midime("sql", "SELECT 1 AS n, 2 AS n", lake=lake.folder).stdout
    assert "1 │ 2" in printed


def test_tables_explains_every_column(run_midime):
    explained = json.loads(run_midime("tables", "--json").stdout)
    assert {name: set(columns) for name, columns in explained.items()} == {
        table.name: set(table.columns) for table in TABLES
    }


def test_private_patterns_are_for_their_owner(run_midime, refuse, filled, tmp_path):
    pattern = first_pattern(filled)
    refuse("midi", pattern, "-o", tmp_path / "x.mid", lake=filled.folder)
    assert run_midime("midi", pattern, "-o", tmp_path / "x.mid", "--user", "ann", lake=filled.folder).returncode == 0
    assert (tmp_path / "x.mid").read_bytes().startswith(b"MThd")


def test_a_pattern_is_quantised_on_request(run_midime, filled, tmp_path):
    arguments = ("midi", first_pattern(filled), "-o", tmp_path / "x.mid", "--user", "ann", "--quantise")
    assert run_midime(*arguments, lake=filled.folder).returncode == 0
    hits, _ = read_drum_ticks((tmp_path / "x.mid").read_bytes())
    assert len(hits) > 0
    assert (hits.time_s * 4 % 1 == 0).all()


def test_a_preview_is_at_most_fifteen_seconds(run_midime, filled, tmp_path):
    import soundfile

    done = run_midime("preview", first_pattern(filled), "-o", tmp_path / "x.flac", "--user", "ann", lake=filled.folder)
    assert done.returncode == 0
    assert 0 < soundfile.info(tmp_path / "x.flac").duration <= 15


def test_a_file_can_be_searched_for(run_midime, filled):
    path = filled.query("SELECT uri FROM files").to_pylist()[0]["uri"].removeprefix("file://")
    found = json.loads(run_midime("search", path, "--json", "--user", "ann", lake=filled.folder).stdout)
    assert found["total_matches"] == 1
    assert found["results"][0]["sections"][0]["similarity_score"] > 0.95


def test_steps_can_be_searched_for(run_midime, filled):
    steps = "kick=x.......x....... snare=....x.......x... hihat=x.x.x.x.x.x.x.x."
    done = run_midime("search", steps, "--json", "--user", "ann", "--min-similarity", "0.3", lake=filled.folder)
    assert json.loads(done.stdout)["total_matches"] == 1


def test_steps_that_cannot_be_read_are_refused(refuse, filled):
    assert "kazoo" in refuse("search", "kazoo=x...", lake=filled.folder)


def test_a_track_can_be_drawn(run_midime, filled, tmp_path):
    track = filled.query("SELECT track_id FROM tracks").to_pylist()[0]["track_id"]
    assert run_midime("plot", track, "-o", tmp_path / "x.png", lake=filled.folder).returncode == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_patterns_can_be_drawn_side_by_side(run_midime, filled, tmp_path):
    pattern = filled.query("SELECT pattern_id FROM patterns").to_pylist()[0]["pattern_id"]
    assert run_midime("plot", pattern, pattern, "-o", tmp_path / "x.png", lake=filled.folder).returncode == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_pattern_can_be_searched_by_its_groove(run_midime, filled):
    groove = filled.query("SELECT groove FROM patterns").to_pylist()[0]["groove"]
    done = run_midime("search", groove, "--json", "--user", "ann", lake=filled.folder)
    assert json.loads(done.stdout)["results"][0]["sections"][0]["similarity_score"] > 0.9


def test_a_persons_word_on_two_tracks_is_kept_and_explained(run_midime, lake):
    pair = sorted(make_id("track", name) for name in "ab")
    with lake.transaction("test") as change:
        change.insert("tracks", TRACKS.make_rows([{"corpus": "c", "track_id": track} for track in pair]))
    done = run_midime("merge", *pair, "--note", "same tape", "--json", lake=lake.folder)
    assert json.loads(done.stdout)["same_song"]
    told = run_midime("why", *pair, lake=lake.folder).stdout
    assert "They are one song" in told
    assert "same tape" in told


def test_an_unknown_track_cannot_be_drawn(refuse, lake, tmp_path):
    assert UNKNOWN in refuse("plot", UNKNOWN, "-o", tmp_path / "x.png", lake=lake.folder)


def test_purging_a_user_empties_the_lake(run_midime, filled):
    assert run_midime("purge", "--user", "ann", "--yes", lake=filled.folder).returncode == 0
    left = run_midime("sql", "SELECT count(*) AS n FROM tracks", "--format", "csv", lake=filled.folder)
    assert left.stdout == "n\n0\n"


def test_analyze_answers_in_the_promised_shape(run_midime, write_track, tmp_path):
    done = run_midime("analyze", write_track(tmp_path / "a.wav"), "--stems", "none", lake=tmp_path / "none")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["status"]) == (0, "success")
    assert set(answer["data"]) >= {
        "song_id",
        "source_song_id",
        "section",
        "duplicate_detected",
        "duration",
        "midi_data",
        "tempo",
        "time_signature",
        "detected_key",
    }


def test_analyze_says_what_is_wrong_with_a_file(run_midime, tmp_path):
    (tmp_path / "x.mp3").write_bytes(b"no music")
    done = run_midime("analyze", tmp_path / "x.mp3", "--stems", "none", lake=tmp_path / "none")
    assert (done.returncode, json.loads(done.stdout)["reason"]) == (1, "not_audio")


def test_status_tells_without_a_lake(run_midime, tmp_path):
    done = run_midime("status", "--json", lake=tmp_path / "none")
    assert (done.returncode, "no lake" in json.loads(done.stdout)["lake"]) == (0, True)


def test_status_tells_what_is_wrong_and_the_last_runs(run_midime, month_lake):
    health = json.loads(run_midime("status", "--json", lake=month_lake.folder).stdout)
    assert (
        health["alarms"]
        == month_lake.query("SELECT message FROM alarms WHERE is_open ORDER BY severity, raised_at DESC")[
            "message"
        ].to_pylist()
    )
    assert [(run["flow"], run["state"]) for run in health["runs"][:2]] == [
        ("nightly", "failed"),
        ("ingest", "completed"),
    ]
    assert "behind the lake's" in health["index"]
    printed = run_midime("status", lake=month_lake.folder).stdout
    assert f"{len(health['alarms'])} open" in printed and "No space left on device" in printed


def test_the_installed_command_ends_with_its_exit_code(tmp_path):
    command = Path(sys.executable).with_name("midime")
    done = subprocess.run([command, "sql", "SELECT 1", "--lake", tmp_path], capture_output=True, text=True, timeout=120)
    assert (done.returncode, "no lake in" in done.stderr) == (2, True)


def test_a_query_is_exported_as_its_file_name_says(run_midime, filled, tmp_path):
    for suffix, read in (("parquet", "read_parquet"), ("csv", "read_csv")):
        path = tmp_path / f"out.{suffix}"
        done = run_midime("export", "SELECT stage, seconds FROM track_stages", "-o", path, lake=filled.folder)
        assert done.returncode == 0
        rows = duckdb.sql(f"SELECT count(*), count(DISTINCT stage) FROM {read}('{path}')").fetchone()
        assert rows == filled.connection.execute("SELECT count(*), count(DISTINCT stage) FROM track_stages").fetchone()


@pytest.mark.parametrize(("kind", "head"), [("midi", b"MThd"), ("quantised", b"MThd"), ("previews", b"RIFF")])
def test_patterns_are_exported_as_files(run_midime, filled, tmp_path, kind, head):
    arguments = ("export", "SELECT pattern_id FROM patterns", "-o", tmp_path / "out", "--as", kind)
    assert run_midime(*arguments, "--user", "ann", lake=filled.folder).returncode == 0
    (file,) = (tmp_path / "out").iterdir()
    assert (file.stem, file.read_bytes()[:4]) == (first_pattern(filled), head)
    assert run_midime(*arguments, lake=filled.folder).returncode == 2  # they are ann's


@pytest.mark.parametrize(
    ("query", "output", "message"),
    [
        ("SELECT 1", "out.xlsx", "neither with .parquet nor .csv"),
        ("SELEKT 1", "out.csv", "syntax error"),
        ("SELECT 1", "nowhere/out.csv", "no folder"),
    ],
)
def test_an_export_that_cannot_be_written_is_refused(run_midime, lake, query, output, message, tmp_path):
    done = run_midime("export", query, "-o", tmp_path / output, lake=lake.folder)
    assert (done.returncode, message in done.stderr) == (2, True)


def test_the_attach_statement_attaches(run_midime, filled):
    said = run_midime("shell", "--attach", lake=filled.folder).stdout
    with duckdb.connect() as connection:
        load_extensions(connection, "sqlite_scanner", "ducklake")
        connection.execute(said)
        assert connection.execute("SELECT count(*) FROM tracks").fetchone() == (1,)
        with pytest.raises(duckdb.Error, match="read-only"):
            connection.execute("DELETE FROM tracks")


def test_the_shell_answers_at_its_prompt(run_midime, filled, monkeypatch):
    late = "SELECT ('x' || range)::INTEGER FROM range(3);"
    lines = iter([late, "SELECT 40 + 2", "  AS answer;", "nonsense;", "DELETE FROM tracks;", "views", "exit"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    done = run_midime("shell", lake=filled.folder)
    assert (done.returncode, "42" in done.stdout) == (0, True)
    assert "syntax error" in done.stderr and "read-only" in done.stderr
    assert "Conversion Error" in done.stderr
    assert "alarms: What is wrong?" in done.stderr


def test_a_plan_says_what_would_run_stage_by_stage(run_midime, write_track, tmp_path):
    write_track(tmp_path / "new" / "a.wav")
    done = run_midime("plan", tmp_path / "new", "--stems", "none", "--json", lake=tmp_path / "lake")
    answer = json.loads(done.stdout)
    assert (answer["files seen"], answer["to analyse"], answer["hours"]) == (1, 1, None)
    assert {stage["stage"]: stage["tracks"] for stage in answer["stages"]}["beats"] == 1
    assert not (tmp_path / "lake").exists()


def test_a_reason_that_nobody_gives_is_refused(refuse, lake):
    assert refuse("retry", "--reason", "moods", lake=lake.folder).startswith("There is no reason moods: choose all,")


def test_repair_tells_what_it_removed(run_midime, lake):
    (lake.folder / "stems/ab/x").mkdir(parents=True)
    (lake.folder / "stems/ab/x/.1.flac.part").touch()
    write_nights(lake, [Night("loops", datetime(2026, 11, 23, 2, tzinfo=UTC), files=5, faulty=0.0)])
    with lake.transaction("test") as change:
        change.connection.execute("UPDATE runs SET state = 'running', ended_at = NULL")
    lake.close()
    done = run_midime("verify", "--repair", lake=lake.folder)
    assert "1 stem files removed" in done.stderr
    assert "1 run closed as lost" in done.stderr


def test_a_secret_in_the_settings_is_in_no_error(monkeypatch):
    monkeypatch.setenv("MIDIME_ALERT_TO", "mailto://ann:hunter2@example.org")
    monkeypatch.setenv("MIDIME_WORKERS", "many")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "hunter2" not in str(caught.value)
    assert "many" not in str(caught.value)


def test_the_version_names_every_stage(run_midime):
    done = run_midime("--version")
    assert (done.returncode, done.stderr) == (0, "")
    first, *stages = done.stdout.splitlines()
    assert first == f"midime {version('midime')}"
    assert [stage.split()[0] for stage in stages] == list(stage_versions(Settings().track_params()))


def test_the_help_tells_the_default_of_each_option(run_midime):
    for name, command in typer.main.get_command(app).commands.items():
        said = " ".join(run_midime(name, "--help").stdout.replace("│", "").split())
        for parameter in command.params:
            if "default: " in (parameter.help or ""):
                assert parameter.help.split("[", 1)[1].rstrip("]") in said, (name, parameter.name)
    assert "default: data/lake]" in said

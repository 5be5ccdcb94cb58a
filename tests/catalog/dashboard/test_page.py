"""The page as a file: what is in it, and that nothing of it can come from elsewhere or be run."""

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catalog.dashboard import page as module
from catalog.dashboard.page import build_page, publish_page
from catalog.dashboard.panels import PANELS, read_panels
from catalog.tables import REJECTS
from catalog.views import load_questions

NOW = datetime.now(UTC)
VENDOR = Path(module.__file__).parent / "vendor"


def read_json(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="panels">(.*?)</script>', page, re.S)[1])


def test_a_month_of_nights_weighs_less_than_three_megabytes(month_lake):
    page = build_page(read_panels(month_lake.connection), "music")
    assert len(page.encode()) < 3_000_000
    assert len(read_json(page)["panels"]["runs"]["rows"]) == 95


def test_every_panel_asks_views_alone(month_lake):
    for name, sql in PANELS.items():
        asked = set(re.findall(r"(?:FROM|JOIN) (\w+)", sql))
        assert asked <= set(load_questions()), name


def test_the_page_says_what_the_views_say(month_lake):
    panels = read_json(build_page(read_panels(month_lake.connection, now=NOW), "music"))["panels"]
    freshness = [dict(zip(panels["freshness"]["columns"], row, strict=True)) for row in panels["freshness"]["rows"]]
    for row, found in zip(
        month_lake.query("FROM corpus_freshness ORDER BY corpus").to_pylist(), freshness, strict=True
    ):
        assert (row["corpus"], row["tracks"], row["files"]) == (found["corpus"], found["tracks"], found["files"])
        assert found["audio_h"] == pytest.approx(row["audio_h"], rel=1e-5)
        assert found["last_new_at"] == pytest.approx(row["last_new_at"].timestamp() * 1000, abs=1)


def test_a_run_is_named_by_its_place(month_lake):
    panels = read_panels(month_lake.connection, now=NOW)["panels"]
    runs = [row[panels["runs"]["columns"].index("run_id")] for row in panels["runs"]["rows"]]
    expected = month_lake.query(PANELS["throughput"], {"since": NOW - timedelta(days=90)})["run_id"].to_pylist()
    at = panels["throughput"]["columns"].index("run_id")
    assert [runs[row[at]] for row in panels["throughput"]["rows"]] == expected


def test_the_page_reaches_back_as_far_as_asked(month_lake):
    panels = read_panels(month_lake.connection, days=7, now=NOW)["panels"]
    since = NOW - timedelta(days=7)
    expected = month_lake.query("SELECT count(*) AS runs FROM runs WHERE started_at >= ?", [since]).to_pylist()
    assert [{"runs": len(panels["runs"]["rows"])}] == expected != [{"runs": 95}]


def test_a_hostile_name_stays_text(lake):
    uri = "file:///music/%3C/script%3E%3Cscript%3Ealert(1)%3C/script%3E.mp3"
    message = "</script><script>document.title = 'owned'</script>\u2028 &amp; \ud800"
    row = {"corpus": "<b>x</b>", "uri": uri, "reason": "corrupt", "message": message.replace("\ud800", "")}
    with lake.transaction("test") as change:
        change.insert("rejects", REJECTS.make_rows([row | {"rejected_at": NOW, "failed": False, "stage": "decode"}]))
    page = build_page(read_panels(lake.connection), "</title><script>alert(2)</script>")
    assert len(re.findall("<script", page)) == len(module.SCRIPTS) + 1
    found = read_json(page)
    assert found["name"] == "</title><script>alert(2)</script>"
    assert message.replace("\ud800", "") in found["panels"]["files"]["rows"][0]


def test_only_the_scripts_of_the_page_may_run():
    page = build_page({"panels": {}}, "x")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy and "script-src 'unsafe-inline'" not in policy
    assert policy.count("'sha256-") == len(module.SCRIPTS)


def test_nothing_is_loaded_from_elsewhere():
    page = build_page({"panels": {}}, "x")
    markup = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!#)", markup)
    assert not re.search(r"@import|url\(", markup)


def test_the_vendored_files_are_those_of_the_table():
    rows = dict(re.findall(r"^\| `([^`]+)` \|.*`([0-9a-f]{64})` \|$", (VENDOR / "README.md").read_text(), re.M))
    assert rows.keys() == {path.name for path in VENDOR.glob("*.js")}
    for name, sha256 in rows.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == sha256


def test_a_lake_without_rows_has_a_page(lake):
    path = publish_page(lake.connection, lake.folder)
    assert path == lake.folder / "dashboard.html"
    assert read_json(path.read_text(encoding="utf-8"))["panels"]["runs"]["rows"] == []
    assert [path.name for path in lake.folder.glob(".dashboard*")] == []

"""The page as people see it, in a real Chromium: drawn, filtered, readable, and without a word from the console.

Leaves pictures in tests/screenshots.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from catalog.dashboard.page import build_page
from catalog.dashboard.panels import read_panels
from catalog.dashboard.server import serve_page
from catalog.progress import tell_progress
from catalog.tables import REJECTS
from tests.nights import Night, write_nights

SCREENSHOTS = Path(__file__).parents[2] / "screenshots"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CHARTS = ("c-files", "c-speed", "c-failures", "c-stages", "c-drift", "c-values", "c-storage")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

pytestmark = pytest.mark.skipif(BROWSER is None, reason="No Chromium is installed: apt-get install chromium")


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """Open an address; at the end, the console and the network must have been silent."""
    pages, heard = [], []

    def open_(address: str, viewport=DESKTOP, scheme="light", clock=False):
        page = chromium.new_context(viewport=viewport, color_scheme=scheme).new_page()
        pages.append(page)
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: None if request.url.startswith(address) else heard.append(request.url))
        if clock:
            page.clock.install()
        page.goto(address)
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_
    for page in pages:
        page.context.close()
    assert heard == []


@pytest.fixture(scope="module")
def month_file(month_lake, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "dashboard.html"
    path.write_text(build_page(read_panels(month_lake.connection), "music/lake"), encoding="utf-8")
    return path.as_uri()


def count_marks(page, chart: str) -> int:
    return page.locator(f"#{chart} svg :is(rect, circle, path[d])").count()


def keep(page, name: str) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


@pytest.mark.parametrize(
    ("name", "viewport", "scheme"),
    [("desktop", DESKTOP, "light"), ("dark", DESKTOP, "dark"), ("phone", PHONE, "light")],
)
def test_every_chart_is_drawn(open_page, month_file, name, viewport, scheme):
    page = open_page(month_file, viewport, scheme)
    keep(page, name)
    assert {chart: count_marks(page, chart) > 3 for chart in CHARTS} == dict.fromkeys(CHARTS, True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("html").get_attribute("data-theme") == scheme


def test_a_chart_says_what_it_shows_and_in_which_unit(open_page, month_file):
    page = open_page(month_file)
    for chart in CHARTS:
        svg = page.locator(f"#{chart} svg[role=img]")
        assert len(svg.get_attribute("aria-label")) > 20
    for chart, unit in {
        "c-files": "files",
        "c-speed": "× real time",
        "c-stages": "seconds",
        "c-drift": "× limit",
    }.items():
        assert unit in page.locator(f"#{chart} svg").text_content()
    assert page.locator("table:not(:has(caption))").count() == 0


def test_the_morning_after_a_bad_night_says_what_is_wrong(open_page, month_file, month_lake):
    page = open_page(month_file)
    alarms = month_lake.query("FROM alarms WHERE is_open").to_pylist()
    wrong = sum(alarm["severity"] == "alarm" for alarm in alarms)
    assert page.locator("#status h1").text_content() == f"{wrong} things are wrong"
    said = page.locator("#status > .alarms span").all_text_contents()
    assert sorted(said) == sorted(alarm["message"] for alarm in alarms)


def test_the_numbers_are_those_of_the_views(open_page, month_file, month_lake):
    page = open_page(month_file)
    (total,) = month_lake.query("FROM lake_totals").to_pylist()
    shown = dict(
        zip(
            page.locator("#totals span").all_text_contents(), page.locator("#totals b").all_text_contents(), strict=True
        )
    )
    assert shown["tracks"] == f"{total['tracks']:,}"
    assert shown["hours of audio"] == f"{total['audio_h']:.1f}"
    assert shown["files not in"] == f"{total['files_not_in']:,}"
    newest = month_lake.query("FROM run_history WHERE flow = 'ingest' ORDER BY started_at DESC LIMIT 1").to_pylist()[0]
    row = page.locator("#t-runs tbody tr", has_text="ingest").first.locator("td").all_text_contents()
    kinds = ("seen", "new", "unchanged", "duplicate", "rejected", "failed")
    assert row[4:10] == [str(newest[f"files_{kind}"]) for kind in kinds]
    (cost,) = month_lake.query(
        "SELECT sum(worker_h) / sum(audio_h) * 1000 AS hours FROM cost_per_thousand_hours()"
        " WHERE started_at > now() - INTERVAL 30 DAY"
    )["hours"].to_pylist()
    assert page.locator("#worker-hours").text_content() == f"{cost:.0f}"
    page.locator("#price").fill("2")
    page.locator("#price").press("Enter")
    assert float(page.locator("#cost-sum").text_content()) == pytest.approx(2 * cost, rel=0.001)


def test_the_corpus_filters_everything(open_page, month_file, month_lake):
    page = open_page(month_file)
    page.locator("#corpus").select_option("loops")
    assert set(page.locator("#t-runs tbody td:nth-child(3)").all_text_contents()) == {"loops", ""}
    (row,) = month_lake.query("FROM corpus_freshness WHERE corpus = 'loops'").to_pylist()
    shown = page.locator("#t-corpora tbody tr td").all_text_contents()
    assert shown[:2] == ["loops", str(row["tracks"])]
    totals = page.locator("#totals b").all_text_contents()
    assert totals[:2] + totals[3:5] == [
        str(row["tracks"]),
        f"{row['audio_h']:.1f}",
        str(row["patterns"]),
        str(row["files_not_in"]),
    ]
    sums = month_lake.query(
        "SELECT reason, sum(files)::INT AS files FROM failures_by_reason WHERE corpus = 'loops'"
        " AND last_at > now() - INTERVAL 30 DAY GROUP BY reason"
    ).to_pylist()
    drawn = page.locator("#c-failures svg g[aria-label=text] text").all_text_contents()
    assert sorted(drawn) == sorted(str(row["files"]) for row in sums)
    assert "live" not in page.locator("#status > .alarms").text_content()


def test_the_period_filters_the_runs(open_page, month_file, month_lake):
    page = open_page(month_file)
    page.get_by_text("7 days", exact=True).click()
    since = "started_at > now() - INTERVAL 7 DAY"
    (runs,) = month_lake.query(f"SELECT count(*) AS n FROM run_history WHERE {since}")["n"].to_pylist()
    rest = int(re.search(r"\d+", page.locator("#t-runs summary").text_content())[0])
    assert page.locator("#t-runs tbody tr").count() + rest == runs


def test_the_measure_can_be_chosen(open_page, month_file):
    page = open_page(month_file)
    page.locator("#measure").select_option("detected_key")
    assert "E minor" in page.locator("#c-values svg").text_content()
    assert page.locator("#measure").input_value() == "detected_key"


def test_the_theme_can_be_switched(open_page, month_file):
    page = open_page(month_file)
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_a_hostile_name_is_shown_and_not_run(open_page, lake, tmp_path):
    name = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
    row = {"corpus": name, "uri": f"file:///{name}", "stage": "decode", "reason": "corrupt", "message": name}
    with lake.transaction("test") as change:
        rejected = row | {"failed": False, "attempts": 1, "rejected_at": datetime.now(UTC)}
        change.insert("rejects", REJECTS.make_rows([rejected]))
    path = tmp_path / "dashboard.html"
    path.write_text(build_page(read_panels(lake.connection), name), encoding="utf-8")
    page = open_page(path.as_uri())
    assert page.locator("#t-files code").text_content() == f"/{name}"
    assert page.locator("img").count() == 0


@pytest.mark.parametrize(("name", "viewport"), [("empty", DESKTOP), ("empty-phone", PHONE)])
def test_a_lake_without_runs_says_how_to_begin_and_nothing_else(open_page, lake, tmp_path, name, viewport):
    path = tmp_path / "dashboard.html"
    path.write_text(build_page(read_panels(lake.connection), "new"), encoding="utf-8")
    page = open_page(path.as_uri(), viewport)
    keep(page, name)
    assert page.locator("#status h1").text_content() == "Nothing has been ingested yet"
    assert "midime ingest" in page.locator("#status code").first.text_content()
    for panel in (*CHARTS, "t-runs", "t-failures", "t-files", "t-stages", "t-index", "t-corpora"):
        assert len(page.locator(f"#{panel} .empty").text_content()) > 4, panel
    assert page.locator("table").count() == page.locator("select:not(#corpus)").count() == 0


def test_the_first_morning_has_readable_axes(open_page, lake, tmp_path):
    write_nights(lake, [Night("loops", datetime.now(UTC) - timedelta(minutes=1), files=10, faulty=0.0)])
    path = tmp_path / "dashboard.html"
    path.write_text(build_page(read_panels(lake.connection), "new"), encoding="utf-8")
    page = open_page(path.as_uri())
    keep(page, "first-morning")
    days = page.locator("#c-files svg [aria-label='x-axis tick label'] text").all_text_contents()
    assert len(days) >= 7
    assert page.locator("#c-speed svg [aria-label='x-axis tick label'] text").all_text_contents() == days


def test_a_page_that_nobody_wrote_anew_says_so_first(open_page, lake, tmp_path):
    write_nights(lake, [Night("loops", datetime.now(UTC), files=10, faulty=0.0)])
    path = tmp_path / "dashboard.html"
    panels = read_panels(lake.connection, now=datetime.now(UTC) - timedelta(days=3))
    path.write_text(build_page(panels, "old"), encoding="utf-8")
    page = open_page(path.as_uri())
    assert page.locator("#status h1").text_content() == "1 thing is wrong"
    assert "was written 3 days ago" in page.locator("#status > .alarms li").first.text_content()


def test_an_alarm_leads_to_what_it_is_about(open_page, month_file):
    page = open_page(month_file)
    page.locator("#status .alarms a", has_text="drift").click()
    assert page.evaluate("location.hash") == "#h-drift"
    for target in page.locator("#status .alarms a").evaluate_all("links => links.map((link) => link.hash)"):
        assert page.locator(target).count() == 1


def test_a_served_page_follows_a_running_ingest_track_by_track(open_page, lake, monkeypatch):
    monkeypatch.setattr("catalog.progress.STEP_S", 0.0)
    (run_id,) = write_nights(lake, [Night("loops", datetime.now(UTC), files=10, faulty=0.0)])
    with lake.transaction("test") as change:
        change.connection.execute("UPDATE runs SET state = 'running', ended_at = NULL, tracks_planned = 40")
    with serve_page(lake.folder) as address:
        with tell_progress(lake.folder, run_id) as teller:
            page = open_page(address, clock=True)
            assert "10 of 40 tracks" in page.locator("#running").text_content()
            teller.count(analysed=11)  # nothing is committed
            with page.expect_response("**/panels.json"):
                page.clock.fast_forward(6_000)
            page.locator("#running", has_text="11 of 40 tracks").wait_for()
        with page.expect_response("**/panels.json"):
            page.clock.fast_forward(6_000)
        page.locator("#status h1", has_text="1 thing is wrong").wait_for()
        assert "The ingest run of loops was lost" in page.locator("#status .alarms").text_content()
        assert page.locator("#running").is_hidden()


@pytest.mark.end_to_end
def test_a_served_page_follows_an_ingest_to_its_end(open_page, lake, write_track, tmp_path):
    for place in range(6):
        write_track(tmp_path / "loops" / f"{place}.wav", 0.2 + 0.1 * place)
    settings = {"MIDIME_SHARD_FILES": "1", "MIDIME_STEMS": "none", "MIDIME_WORKERS": "1"}
    command = [Path(sys.executable).with_name("midime"), "ingest", tmp_path / "loops", "--lake", lake.folder, "--json"]
    with subprocess.Popen(command, env=os.environ | settings, stdout=subprocess.DEVNULL) as ingest:
        while not lake.query("FROM running_ingests WHERE tracks_planned = 6").num_rows:
            assert ingest.poll() is None
            time.sleep(0.1)
        with serve_page(lake.folder) as address:
            page = open_page(address)
            assert re.search(r"Ingesting loops – [0-5] of 6 tracks", page.locator("#running").text_content())
            page.locator("#totals b", has_text="6").first.wait_for(timeout=120_000)
            page.locator("#running").wait_for(state="hidden", timeout=120_000)
            assert page.locator("#status .alarms").all_text_contents() == []
            assert page.locator("#status h1").text_content() == "All good"
            assert "6 new" in page.locator("#status p").text_content()
    assert ingest.returncode == 0

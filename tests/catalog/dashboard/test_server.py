"""The page as it is served: fresh after every commit, and nothing but the page."""

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime

import pytest

from catalog.dashboard.server import serve_page
from tests.nights import Night, write_nights


@pytest.fixture
def address(lake):
    with serve_page(lake.folder) as found:
        yield found


def ask(url: str, mark: str | None = None):
    return urllib.request.urlopen(urllib.request.Request(url, headers={"If-None-Match": mark} if mark else {}))


def test_a_commit_shows_without_a_restart(lake, address):
    before = ask(address + "panels.json")
    assert json.load(before)["panels"]["runs"]["rows"] == []
    write_nights(lake, [Night("loops", datetime.now(UTC), files=3, faulty=0.0)])
    after = ask(address + "panels.json", before.headers["ETag"])
    assert len(json.load(after)["panels"]["runs"]["rows"]) == 1


def test_what_has_not_changed_is_not_sent_again(address):
    mark = ask(address + "panels.json").headers["ETag"]
    with pytest.raises(urllib.error.HTTPError) as answer:
        ask(address + "panels.json", mark)
    assert answer.value.code == 304


def test_the_page_is_html_that_no_cache_keeps(address):
    answer = ask(address)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.read().startswith(b"<!doctype html>")


@pytest.mark.parametrize("path", ["catalog.sqlite", "../catalog.sqlite", "tables/"])
def test_nothing_else_is_served(address, path):
    with pytest.raises(urllib.error.HTTPError) as answer:
        ask(address + path)
    assert answer.value.code == 404

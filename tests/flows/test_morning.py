"""The morning drill: after one night with four faults, everybody who asks is told all four in the same words."""

import json
import re
import threading
from datetime import UTC, datetime, timedelta
from http.server import HTTPServer

import pytest
from prefect.testing.utilities import prefect_test_harness

from flows.ingest import ingest
from flows.nightly import nightly
from flows.settings import Settings
from flows.status import read_status
from tasks import nightly as stations
from tasks.commit import TooManyRejects
from tests.flows.receivers import WebhookReceiver
from tests.nights import Night, calm_month, write_nightly, write_nights

pytestmark = pytest.mark.end_to_end


@pytest.fixture(autouse=True)
def prefect():
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def webhook():
    """Its address, and what has been sent to it."""
    with HTTPServer(("127.0.0.1", 0), WebhookReceiver) as server:
        server.heard = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"json://127.0.0.1:{server.server_address[1]}/", server.heard
        server.shutdown()


def test_a_night_of_four_faults_is_told_to_everybody(lake, webhook, tmp_path, monkeypatch):
    address, heard = webhook
    monkeypatch.setenv("MIDIME_ALERT_TO", address)
    now = datetime.now(UTC)
    write_nights(lake, calm_month(now - timedelta(hours=30), nights=15))
    write_nightly(lake, now - timedelta(hours=28))

    # A poisoned corpus, by the real ingest; a slow stage and tempi twice as fast, by rows; an index that fails.
    (tmp_path / "library").mkdir()
    for number in range(12):
        (tmp_path / "library" / f"{number}.mp3").write_bytes(b"no music at all %d" % number)
    with pytest.raises(TooManyRejects):
        ingest([str(tmp_path / "library")], lake=str(lake.folder), stems="none")
    slow = Night("live", now - timedelta(hours=3), 36, slower={"separate": 4.0})
    drifted = Night("loops", now - timedelta(hours=2), 36, tempo_ratio=2.0)
    write_nights(lake, [slow, drifted], seed=1)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stations, "refresh_indexes", fail)
    with pytest.raises(OSError, match="No space left"):
        nightly(lake=str(lake.folder))

    said = [
        "The ingest run of library failed: 12 of 12 new files were rejected or failed",
        r"Stage separate took (3\.[5-9]|4\.[0-5]) times its usual time in live: \d+ s for an hour of audio",
        "The distribution of tempo_bpm in loops has drifted",
        r"The nightly run failed: build indexes: OSError: \[Errno 28\] No space left on device",
        "The index of drums patterns is stale",
    ]
    alarms = lake.query("SELECT message FROM alarms WHERE is_open AND severity = 'alarm'")["message"].to_pylist()
    assert [sum(bool(re.match(words, alarm)) for alarm in alarms) for words in said] == [1] * len(alarms)
    page = (lake.folder / "dashboard.html").read_text(encoding="utf-8")
    mail = json.loads(heard[-1])
    assert mail["title"] == f"MiDiMe: {len(said)} alarms in {lake.folder.name}"
    for alarm in alarms:
        assert alarm in mail["message"]
        assert json.dumps(alarm, ensure_ascii=False).strip('"') in page
        assert alarm in read_status(Settings(lake=lake.folder))["alarms"]

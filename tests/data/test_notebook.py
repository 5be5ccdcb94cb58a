"""The notebook runs from its first cell to its last, and every cell that shows something shows what it says."""

import ast
import base64
import json
import re
from pathlib import Path

import av
import matplotlib
import pytest

from catalog.lake import Lake
from catalog.tables import BY_NAME, make_id
from tasks.commit import Owner, commit_shard
from tasks.plan import make_plan
from tasks.track import TrackParams, analyse_track

NOTEBOOK = Path(__file__).parents[2] / "data" / "first_look.ipynb"


def run_cell(source: str, names: dict) -> object:
    """Run a cell as a notebook does; what its last line is worth."""
    *body, last = ast.parse(source).body
    exec(compile(ast.Module(body, []), str(NOTEBOOK), "exec"), names)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)
    exec(compile(ast.Module([last], []), str(NOTEBOOK), "exec"), names)
    return None


@pytest.fixture(scope="module")
def shown(write_track, tmp_path_factory):
    """What each cell shows, by its name, over a lake with one real track and a bass; and the names that they leave."""
    folder = tmp_path_factory.mktemp("notebook")
    (job,) = make_plan([write_track(folder / "music" / "beat.wav")], None, None, {}).jobs
    with Lake.open(folder / "lake") as lake:
        commit_shard(lake, "c/000", [analyse_track(job, TrackParams(stems=0))], make_id("run", 1), Owner())
        with lake.transaction("a bass line, whose steps are one row and not five") as change:
            (drums,) = lake.query("FROM patterns").to_pylist()
            bass = {"instrument_type": "bass", "pattern_id": make_id("pattern", "bass"), "steps": [1.0] * 32, "bars": 2}
            change.insert("patterns", BY_NAME["patterns"].make_rows([drums | bass]))
    names: dict = {}
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    matplotlib.use("agg")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield {cell["id"]: run_cell("".join(cell["source"]), names) for cell in cells}, names
    names["lake"].close()
    matplotlib.pyplot.close("all")


def test_it_reads_and_asks(shown):
    results, _ = shown
    assert results["open"].loc[0, ["tracks", "files", "files_not_in"]].tolist() == [1, 1, 0]
    assert len(results["tracks"]) == 1
    assert 0 < results["tracks"].loc[0, "tempo_confidence"] <= 1


def test_it_draws_the_beat_that_is_there(shown):
    _, names = shown
    kick, snare, hihat, _, _ = names["grid"]
    assert set(kick.argsort()[-2:]) == {0, 8} and set(snare.argsort()[-2:]) == {4, 12}
    assert min(hihat[::2]) > max(hihat[1::2])


def test_it_plays_a_preview(shown):
    results, _ = shown
    kind, sound = re.fullmatch(
        r'<audio controls src="data:audio/(\w+);base64,([^"]+)"></audio>', results["hear"]._repr_html_()
    ).groups()
    (path := results["hear"].path.with_name("heard.mp3")).write_bytes(base64.b64decode(sound))
    with av.open(str(path)) as heard:
        assert (kind, heard.streams[0].type) == ("mpeg", "audio")
        assert 0 < heard.duration / av.time_base <= 15.1


def test_it_carries_no_answers_of_a_lake():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert [cell["id"] for cell in cells if cell.get("outputs")] == []

import hashlib
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

import tasks.models.registry
from tasks.errors import BadCheckpoint
from tasks.models.registry import SPLEETER_ARCHIVES, add_archive, list_models
from tasks.models.spleeter import checkpoint_sha256, find_checkpoint, packaged_checkpoint


def test_two_stems_come_with_the_install():
    model = next(model for model in list_models() if model.name == "spleeter-2stems")
    assert model.path.is_dir()
    assert model.licence == "MIT"
    assert len(model.sha256) == 64
    assert model.how_to_install == ""


def test_missing_model_says_how_to_add_it(tmp_path):
    model = next(model for model in list_models(tmp_path) if model.name == "spleeter-5stems")
    assert model.path is None
    assert model.sha256 == ""
    fetch, add = model.how_to_install.splitlines()
    assert fetch.endswith("/v1.4.0/5stems.tar.gz")
    assert add == f"MODEL_PATH={tmp_path} midime models --add 5stems.tar.gz"


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """The packaged checkpoint as Spleeter publishes it, with a hash that is known."""
    path = tmp_path / "download"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for file in sorted(packaged_checkpoint().iterdir()):
            tar.add(file, f"./{file.name}")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(tasks.models.registry, "SPLEETER_ARCHIVES", (replace(SPLEETER_ARCHIVES[0], sha256=sha256),))
    return path


def test_archive_is_put_in_its_place(archive, tmp_path):
    place = add_archive(archive, tmp_path / "models")
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["2stems"]
    assert checkpoint_sha256(place) == checkpoint_sha256(packaged_checkpoint())
    assert find_checkpoint(2, tmp_path / "models") == place


def test_archive_takes_the_place_of_what_was_there(archive, tmp_path):
    (tmp_path / "models/2stems").mkdir(parents=True)
    (tmp_path / "models/2stems/model.index").write_bytes(b"old")
    place = add_archive(archive, tmp_path / "models")
    assert (place / "model.index").stat().st_size > 3
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["2stems"]


def test_archive_with_another_hash_is_refused_and_leaves_nothing(archive, tmp_path):
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(BadCheckpoint, match=r"download is none of Spleeter's archives: its SHA-256 is .*, expected"):
        add_archive(archive, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_archive_of_another_content_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "download"
    path.write_bytes(b"not a tar")
    archive = replace(SPLEETER_ARCHIVES[1], sha256=hashlib.sha256(b"not a tar").hexdigest())
    monkeypatch.setattr(tasks.models.registry, "SPLEETER_ARCHIVES", (archive,))
    with pytest.raises(BadCheckpoint, match="cannot be unpacked"):
        add_archive(path, tmp_path / "models")
    assert not list((tmp_path / "models").iterdir())


def test_nothing_leads_out_of_the_folder(archive, tmp_path, monkeypatch):
    with tarfile.open(archive, "w") as tar:
        for file in packaged_checkpoint().glob("model.[di]*"):
            tar.add(file, f"../../{file.name}")
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(tasks.models.registry, "SPLEETER_ARCHIVES", (replace(SPLEETER_ARCHIVES[0], sha256=sha256),))
    place = add_archive(archive, tmp_path / "a/models")
    assert len(list(place.iterdir())) == 2
    assert not list(tmp_path.glob("**/model.meta"))
    assert {path.name for path in tmp_path.iterdir()} == {"a", "download"}


def test_folder_of_added_models_comes_first(tmp_path):
    (tmp_path / "2stems").mkdir()
    (tmp_path / "2stems" / "model.index").write_bytes(b"")
    model = next(model for model in list_models(tmp_path) if model.name == "spleeter-2stems")
    assert model.path == tmp_path / "2stems"
    assert model.source.endswith("2stems.tar.gz")


@pytest.mark.parametrize("name", ["drums", "pulse"])
def test_every_network_of_our_own_has_a_card_with_its_hash(name):
    model = next(model for model in list_models() if model.path and model.path.name == f"{name}.onnx")
    card = Path(tasks.models.registry.__file__).with_name(f"{name}.md").read_text(encoding="utf-8")
    assert model.sha256 in card

from pathlib import Path

import pytest

import tasks.models.registry
from tasks.models.registry import SPLEETER_ARCHIVES, list_models, spleeter_instructions


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
    assert model.archive_sha256 in model.how_to_install
    assert f"{tmp_path}/5stems" in model.how_to_install


def test_instructions_check_the_hash_before_unpacking():
    lines = spleeter_instructions(SPLEETER_ARCHIVES[1]).splitlines()
    assert [line.split()[0] for line in lines] == ["curl", "echo", "mkdir"]
    assert "sha256sum -c" in lines[1]


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

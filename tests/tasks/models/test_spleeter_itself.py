"""The stems against Spleeter 2.4.2 run on the spot. `make reference` brings Spleeter along."""

import runpy
import subprocess
from pathlib import Path

import pytest

from tasks.audio import read_audio
from tasks.models.spleeter import load_separator
from tests.benchmarks.bench_separation import REFERENCE, error_db, run_spleeter, separate_in_blocks

SAMPLE = Path(__file__).parents[3] / "data/sample"
SONGS = ("kart_grand_prix.mp3", "mountain_idyll.mp3", "ravenbridge_mansion.ogg")


@pytest.fixture
def spleeter_python(request):
    python = request.config.getoption("--spleeter")
    if python is None:
        pytest.skip("needs Spleeter 2.4.2 in an environment of its own: make reference")
    return Path(python)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SONGS)
def test_stems_are_those_of_spleeter_itself(spleeter_python, name):
    (path,) = SAMPLE.rglob(name)
    samples = read_audio(path).samples
    reference = run_spleeter(spleeter_python, samples)
    stems = separate_in_blocks(load_separator(2, threads=2), samples)
    for stem, part in stems.items():
        error = error_db(part, reference[stem])
        print(f"{name}: {stem}: {error:.1f} dB")
        assert error < -80


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("stems", [4, 5])
def test_more_stems_of_a_checkpoint_that_tensorflow_wrote_are_those_of_spleeter(spleeter_python, tmp_path, stems):
    """Weights at random: the published ones cannot be shipped. Layout, names and networks are Spleeter's own."""
    folder = tmp_path / f"{stems}stems"
    subprocess.run([spleeter_python, REFERENCE.with_name("checkpoint.py"), str(stems), folder], check=True)
    samples = runpy.run_path(str(REFERENCE))["reference_signal"](12)
    reference = run_spleeter(spleeter_python, samples, folder)
    separator = load_separator(stems, model_path=tmp_path, threads=2, cache_path=tmp_path / "cache")
    assert set(separator.backends.values()) == {f"spleeter-{stems}stems"}
    parts = separate_in_blocks(separator, samples)
    assert len(parts) == stems
    for stem, part in parts.items():
        error = error_db(part, reference[stem])
        print(f"{stems} stems: {stem}: {error:.1f} dB")
        assert error < -80

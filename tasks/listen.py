"""One pass over a track's samples: everything that listens to them, block by block. Deciding is in tasks/track.py.

What stays of a track is a few numbers a frame (activations, chroma, a coarse spectrogram), so that three hours take
hardly more memory than three minutes.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.audio import FlacWriter, round_to_16_bits
from tasks.fold import Played
from tasks.models.drums import DrumTranscriber
from tasks.models.pulse import PulseStream
from tasks.models.spleeter import Separator
from tasks.music.chromaprint import AcousticFingerprint, ChromaprintStream
from tasks.music.key import Chroma, ChromaStream
from tasks.music.notes import NO_NOTES, PitchStream, detect_notes
from tasks.music.onsets import FluxStream, Onsets, OnsetStream
from tasks.music.peaks import PeakStream
from tasks.music.pulse import Pulse
from tasks.music.quality import Levels, LevelStream
from tasks.music.signals import MEL_BANDS, SAMPLE_RATE_HZ, LogMel, MelStream, PoolStream
from tasks.stored import StoredStems
from tasks.watch import StageWatch

MIX, DRUMS, BASS = "mix", "drums", "bass"
PART_SAMPLES = 10 * SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Stem:
    """One separated stem: its level, its file relative to the lake with its hash, and what made it."""

    stem: str
    uri: str | None
    sha256: str | None
    size_bytes: int | None
    backend: str
    rms_db: float | None
    duration_s: float


@dataclass(frozen=True)
class Heard:
    """What one pass over the samples left.

    Attributes:
        duration_s: Of what was decoded.
        pulse: Of the mixture.
        drum_pulse: Of the drum stem; None without one.
        flux: Of the drum stem, or of the mixture where there is none; float32 (frames,) at HOP_S.
        spectrum: The coarse spectrogram of the mixture.
        onsets: By stem, or of the mixture where there are no stems.
        played: What the drums and the bass play.
        chroma, fingerprint, peaks, levels: Of the mixture.
        stems: What was separated.
    """

    duration_s: float
    pulse: Pulse
    drum_pulse: Pulse | None
    flux: np.ndarray
    spectrum: LogMel
    onsets: dict[str, Onsets]
    played: Played
    chroma: Chroma
    fingerprint: AcousticFingerprint
    peaks: AcousticFingerprint
    levels: Levels
    stems: list[Stem]


def listen(
    blocks: Iterable[np.ndarray],
    watch: StageWatch,
    transcriber: DrumTranscriber,
    separator: Separator | StoredStems | None = None,
    stem_folder: Path | None = None,
    lake: Path | None = None,
) -> Heard:
    """Let every station hear the blocks of a track.

    Args:
        blocks: Stereo at SAMPLE_RATE_HZ, float32 (2, n) each.
        watch: Where times are kept.
        transcriber: Of drums.
        separator: Of stems, or the stems of an earlier run; without one all stations hear the mixture.
        stem_folder: Where the stems are written, relative to the lake; None keeps none.
        lake: The folder of the lake.
    """
    with StemBench(watch, separator, stem_folder, lake) as bench:
        stations = Stations(watch, transcriber, bench)
        for block in blocks:
            stations.push(block)
        return stations.finish()


class Stations:
    """The stations that hear the mixture, and those that hear the drums with it."""

    def __init__(self, watch: StageWatch, transcriber: DrumTranscriber, bench: "StemBench"):
        self.watch, self.bench = watch, bench
        self.ear = Ear(watch, ("pulse",) if bench.drums else tuple(STREAMS))
        self.streams = {"key": ChromaStream(), "chromaprint": ChromaprintStream()}
        self.streams |= {"peaks": PeakStream(), "quality": LevelStream()}
        self.spectrum = PoolStream()
        self.hits = transcriber.stream(separated=bool(bench.drums))
        self.samples = 0

    def push(self, block: np.ndarray) -> None:
        self.samples += block.shape[1]
        for stage, stream in self.streams.items():
            with self.watch.on(stage):
                stream.push(block)
        self.bench.push(block)
        self._hear_frames(self.ear.push(block))

    def finish(self) -> Heard:
        stems = self.bench.finish()
        self._hear_frames(self.ear.finish())
        with self.watch.on("drums"):
            hits = self.hits.finish()
        heard = {}
        for stage, stream in self.streams.items():
            with self.watch.on(stage):
                heard[stage] = stream.finish()
        drums = self.bench.drums
        return Heard(
            duration_s=self.samples / SAMPLE_RATE_HZ,
            pulse=self.ear.heard["pulse"],
            drum_pulse=drums.heard["pulse"] if drums else None,
            flux=(drums or self.ear).heard["flux"],
            spectrum=self.spectrum.finish(),
            onsets={stem: ear.heard["onsets"] for stem, ear in (self.bench.ears or {MIX: self.ear}).items()},
            played=Played(
                hits=hits,
                faint_hits=self.hits.faint_hits,
                struck=(drums or self.ear).heard["onsets"],
                bass=self.bench.bass.notes if self.bench.bass else NO_NOTES,
            ),
            chroma=heard["key"],
            fingerprint=heard["chromaprint"],
            peaks=heard["peaks"],
            levels=heard["quality"],
            stems=stems,
        )

    def _hear_frames(self, mixture: LogMel) -> None:
        with self.watch.on("sections"):
            self.spectrum.push(mixture)
        with self.watch.on("drums"):
            self.hits.push(mixture, self.bench.drums.drain() if self.bench.drums else mixture)


STREAMS = {"onsets": OnsetStream, "pulse": PulseStream, "flux": FluxStream}
STAGES = {"onsets": "onsets", "pulse": "beats", "flux": "beats"}


class Ear:
    """Listens to the spectrogram of one sound as its blocks pass.

    Attributes:
        heard: After `finish`, the results by the names that were asked for.
    """

    def __init__(self, watch: StageWatch, names: tuple[str, ...]):
        self.watch = watch
        self.mel = MelStream()
        self.streams = {name: STREAMS[name]() for name in names}
        self.heard: dict[str, Onsets | Pulse | np.ndarray] = {}

    def push(self, block: np.ndarray) -> LogMel:
        """Take a block; give the frames that are new."""
        with self.watch.on("onsets"):
            self.mel.push(block)
            frames = self.mel.drain()
        return self._hear(frames)

    def finish(self) -> LogMel:
        """Give the last frames; from now on the results are known."""
        with self.watch.on("onsets"):
            frames = self.mel.finish()
        self._hear(frames)
        for name, stream in self.streams.items():
            with self.watch.on(STAGES[name]):
                self.heard[name] = stream.finish()
        return frames

    def _hear(self, frames: LogMel) -> LogMel:
        for name, stream in self.streams.items():
            with self.watch.on(STAGES[name]):
                stream.push(frames)
        return frames


class DrumEar(Ear):
    """Keeps the frames of the drum stem until they are called for: the transcriber hears them with the mixture's."""

    def __init__(self, watch: StageWatch):
        super().__init__(watch, tuple(STREAMS))
        self._waiting: list[np.ndarray] = []

    def drain(self) -> LogMel:
        """The frames since the last call."""
        waiting, self._waiting = self._waiting, []
        return LogMel(np.concatenate([np.zeros((MEL_BANDS, 0), np.float32), *waiting], axis=1))

    def _hear(self, frames: LogMel) -> LogMel:
        self._waiting.append(frames.values)
        return super()._hear(frames)


class BassEar(Ear):
    """Follows the pitch of the bass stem beside its onsets.

    Attributes:
        notes: After `finish`, what the bass plays.
    """

    def __init__(self, watch: StageWatch):
        super().__init__(watch, ("onsets",))
        self.pitch = PitchStream()
        self.notes = NO_NOTES

    def push(self, block: np.ndarray) -> LogMel:
        with self.watch.on("notes"):
            self.pitch.push(block)
        return super().push(block)

    def finish(self) -> LogMel:
        frames = super().finish()
        with self.watch.on("notes"):
            self.notes = detect_notes(self.pitch.finish(), self.heard["onsets"])
        return frames


class StemBench:
    """Separates the blocks, listens to each stem and writes it; the files appear together at the end, or not at all.

    The stems are heard in the 16 bits in which they are stored and in parts of one length, so that a later run which
    reads them hears the same.

    Attributes:
        ears: What listens to each stem, by its name.
        drums, bass: Those of the two stems; None where they are not separated.
    """

    def __init__(
        self, watch: StageWatch, separator: Separator | StoredStems | None, folder: Path | None, lake: Path | None
    ):
        self.watch = watch
        self.separator = separator
        self.separation = separator.stream() if separator else None
        stems = separator.stems if separator else ()
        makers = {DRUMS: DrumEar, BASS: BassEar}
        self.ears = {stem: makers[stem](watch) if stem in makers else Ear(watch, ("onsets",)) for stem in stems}
        self.drums, self.bass = self.ears.get(DRUMS), self.ears.get(BASS)
        self.power = dict.fromkeys(stems, 0.0)
        self.samples = 0
        self._waiting = {stem: np.zeros((2, 0), np.float32) for stem in stems}
        self.lake, self.folder = lake, folder if stems else None
        self.files = ExitStack()
        self.writers: dict[str, FlacWriter] = {}

    def __enter__(self) -> "StemBench":
        if self.folder:
            (self.lake / self.folder).mkdir(parents=True, exist_ok=True)
            self.writers = {stem: self.files.enter_context(FlacWriter(self.lake / self.folder)) for stem in self.power}
        return self

    def __exit__(self, *error: object) -> None:
        self.files.__exit__(*error)

    def push(self, block: np.ndarray) -> None:
        if self.separation:
            with self.watch.on("separate"):
                parts = self.separation.push(block)
            self._take(parts)

    def finish(self) -> list[Stem]:
        """Give the stems their files; from now on what their ears heard is known."""
        if not self.separation:
            return []
        with self.watch.on("separate"):
            parts = self.separation.finish()
        self._take(parts)
        for stem, ear in self.ears.items():
            ear.push(self._waiting.pop(stem))
            ear.finish()
        with self.watch.on("separate"):
            return self._store()

    def _take(self, parts: dict[str, np.ndarray]) -> None:
        self.samples += next(iter(parts.values())).shape[1]
        for stem, part in parts.items():
            with self.watch.on("separate"):
                part = round_to_16_bits(part)
                self.power[stem] += float(np.square(part, dtype=np.float64).sum())
                if stem in self.writers:
                    self.writers[stem].push(part)
                waiting = np.concatenate([self._waiting[stem], part], axis=1)
            while waiting.shape[1] >= PART_SAMPLES:
                self.ears[stem].push(waiting[:, :PART_SAMPLES])
                waiting = waiting[:, PART_SAMPLES:]
            self._waiting[stem] = waiting

    def _store(self) -> list[Stem]:
        """Give the files their names, each with a part of its hash: what another version wrote stays as it is."""
        hashes = {stem: writer.finish() for stem, writer in self.writers.items()}
        for stem, writer in self.writers.items():
            writer.commit(self.lake / self.folder / _file_name(stem, hashes[stem]))
        return [self._describe(stem, hashes.get(stem)) for stem in self.power]

    def _describe(self, stem: str, sha256: str | None) -> Stem:
        uri = (self.folder / _file_name(stem, sha256)).as_posix() if sha256 else None
        mean_square = self.power[stem] / max(1, 2 * self.samples)
        return Stem(
            stem=stem,
            uri=uri,
            sha256=sha256,
            size_bytes=(self.lake / uri).stat().st_size if uri else None,
            backend=self.separator.backends[stem],
            rms_db=round(10 * float(np.log10(mean_square)), 2) if mean_square > 0 else None,
            duration_s=self.samples / SAMPLE_RATE_HZ,
        )


def _file_name(stem: str, sha256: str) -> str:
    return f"{stem}.{sha256[:12]}.flac"

"""One track through the chain: from a file to everything the lake will know of it.

Runs on a Dask worker and needs no Prefect there. The track is decoded once, in blocks that pass through every station
that listens (separation, spectrograms, chroma, fingerprint, levels), so memory does not grow with its samples; then the
stations that decide (onsets, beats, drums, key, sections, patterns) read the frames. What the rows look like is in
tasks/rows.py.
"""

import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tasks import audio
from tasks.audio import AudioInfo, DecodeLimits, FlacWriter, decode_blocks, probe_audio
from tasks.errors import OutOfMemory, StageFailed, TrackError, TrackTimeout
from tasks.models import drums, pulse, spleeter
from tasks.models.drums import load_transcriber
from tasks.models.pulse import hear_rhythm
from tasks.models.spleeter import load_separator
from tasks.music import chromaprint, key, midi, onsets, patterns, quality, sections, vectors
from tasks.music.beats import Rhythm
from tasks.music.chromaprint import AcousticFingerprint, ChromaprintStream
from tasks.music.drums import Hits
from tasks.music.key import Chroma, ChromaStream, Key, detect_key
from tasks.music.midi import write_drum_midi
from tasks.music.onsets import Onsets, OnsetStream, detect_onsets
from tasks.music.patterns import Pattern, fold_pattern
from tasks.music.quality import Levels, LevelStream
from tasks.music.sections import Sections, detect_sections
from tasks.music.signals import SAMPLE_RATE_HZ, LogMel, MelStream
from tasks.music.vectors import drum_vector
from tasks.plan import Fault, TrackJob

VERSIONS = {
    "decode": audio.VERSION,
    "separate": spleeter.VERSION,
    "chromaprint": chromaprint.VERSION,
    "quality": quality.VERSION,
    "onsets": onsets.VERSION,
    "beats": pulse.VERSION,
    "drums": drums.VERSION,
    "key": key.VERSION,
    "sections": sections.VERSION,
    "patterns": f"{patterns.VERSION}+{vectors.VERSION}",
    "midi": midi.VERSION,
}
BACKENDS = {"decode": "pyav", "chromaprint": "libchromaprint", "drums": drums.BACKEND, "beats": pulse.BACKEND}
MIX, DRUMS = "mix", "drums"


@dataclass(frozen=True)
class TrackParams:
    """What a worker has to know.

    Attributes:
        lake: The lake's folder, where stems are kept; None keeps none.
        stems: Stems to separate: 2, 4 or 5; 0 for none.
        model_path: Folder of checkpoints beside those that are installed.
        device: cpu or cuda.
        threads: Threads of the networks.
        max_duration_s: Longest audio that is taken.
        timeout_s: Longest time that one track may take.
    """

    lake: str | None = None
    stems: int = 4
    model_path: str | None = None
    device: str = "cpu"
    threads: int = 1
    max_duration_s: float = 6 * 3600
    timeout_s: float = 3600


def stage_versions(params: TrackParams) -> dict[str, str]:
    """The version of each stage that these parameters run."""
    if params.stems:
        return VERSIONS | {"separate": f"{spleeter.VERSION}/{params.stems}"}
    return {stage: version for stage, version in VERSIONS.items() if stage != "separate"}


@dataclass(frozen=True)
class Stem:
    """One separated stem: its level, its file relative to the lake, and what made it."""

    stem: str
    uri: str | None
    backend: str
    rms_db: float | None
    duration_s: float


@dataclass(frozen=True)
class SectionPattern:
    """The drum pattern of the section with this index, as played (MIDI) and as a vector."""

    section: int
    pattern: Pattern
    fingerprint: np.ndarray
    midi: bytes


@dataclass(frozen=True)
class StageRun:
    """What one stage took."""

    stage: str
    stage_version: str
    backend: str
    seconds: float
    peak_rss_mb: float


@dataclass(frozen=True)
class Analysis:
    """Everything that was heard in a track."""

    info: AudioInfo
    duration_s: float
    levels: Levels
    quality_score: float
    fingerprint: AcousticFingerprint
    stems: list[Stem]
    onsets: dict[str, Onsets]
    rhythm: Rhythm
    hits: Hits
    key: Key
    sections: Sections
    patterns: list[SectionPattern]
    stages: list[StageRun]


@dataclass(frozen=True)
class TrackResult:
    """The end of a job: an analysis or a fault."""

    job: TrackJob
    analysis: Analysis | None = None
    fault: Fault | None = None


def analyse_track(job: TrackJob, params: TrackParams) -> TrackResult:
    """Take one content through the chain; whatever goes wrong with it becomes a fault."""
    watch = StageWatch(params.timeout_s)
    try:
        return TrackResult(job, analyse_file(Path(job.file.path), params, track_id=job.track_id, watch=watch))
    except TrackError as error:
        fault = error
    except MemoryError:
        fault = OutOfMemory("The track needed more memory than there is.")
    except Exception as error:  # the one place: an unknown fault of a stage costs this track alone
        fault = StageFailed(f"{type(error).__name__} in stage {watch.stage}: {error}")
    versions = stage_versions(params)
    return TrackResult(job, fault=Fault.of(fault, watch.stage, versions.get(watch.stage, "")))


def analyse_file(
    path: Path,
    params: TrackParams,
    start_s: float = 0.0,
    end_s: float | None = None,
    track_id: str | None = None,
    watch: "StageWatch | None" = None,
) -> Analysis:
    """Analyse a file or a part of it.

    Args:
        path: The audio file.
        params: What to compute; stems are written only when there is a `track_id` to file them under.
        start_s, end_s: The part, in seconds; all of it by default.
        track_id: The identifier that the stems belong to.
        watch: Where times are kept.

    Raises:
        TrackError: The file cannot be taken.
        ModelNotInstalled: The networks for these stems are not here.
    """
    watch = watch or StageWatch(params.timeout_s)
    heard = _listen(path, params, start_s, end_s, track_id, watch)
    with watch.on("onsets"):
        found = heard.stem_onsets or {MIX: detect_onsets(heard.mixture)}
    mixture, drum_stem = heard.mixture, heard.drum_stem
    with watch.on("beats"):
        rhythm = hear_rhythm(mixture, drum_stem)
    with watch.on("drums"):
        hits = load_transcriber(params.threads).transcribe(mixture, drum_stem)
    with watch.on("key"):
        detected_key = detect_key(heard.chroma)
    with watch.on("sections"):
        parts = detect_sections(mixture, heard.chroma, rhythm.time_s, rhythm.beat_in_bar, heard.duration_s)
    folded = _fold_sections(hits, rhythm, parts, watch)
    with watch.on("quality"):
        quality_score = quality.score_quality(heard.levels)
    return Analysis(
        info=heard.info,
        duration_s=heard.duration_s,
        levels=heard.levels,
        quality_score=quality_score,
        fingerprint=heard.fingerprint,
        stems=heard.stems,
        onsets=found,
        rhythm=rhythm,
        hits=hits,
        key=detected_key,
        sections=parts,
        patterns=folded,
        stages=watch.runs(stage_versions(params), BACKENDS | {"separate": heard.backend}),
    )


@dataclass
class StageWatch:
    """Keeps the time of each stage, knows the one that is running, and ends a track that takes too long."""

    timeout_s: float = 3600
    stage: str = "decode"
    _seconds: dict[str, float] = field(default_factory=dict)
    _peak_rss_mb: dict[str, float] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)

    @contextmanager
    def on(self, stage: str) -> Iterator[None]:
        """Count the time inside towards a stage.

        Raises:
            TrackTimeout: The track has had its time.
        """
        self.stage = stage
        before = time.monotonic()
        if before - self._started > self.timeout_s:
            raise TrackTimeout(f"The track took longer than {self.timeout_s:g} s.")
        yield
        self._seconds[stage] = self._seconds.get(stage, 0.0) + time.monotonic() - before
        self._peak_rss_mb[stage] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def runs(self, versions: dict[str, str], backends: dict[str, str]) -> list[StageRun]:
        return [
            StageRun(
                stage,
                version,
                backends.get(stage, "midime"),
                round(self._seconds.get(stage, 0.0), 4),
                round(self._peak_rss_mb.get(stage, 0.0), 1),
            )
            for stage, version in versions.items()
        ]


@dataclass(frozen=True)
class _Heard:
    """What one pass over the samples left."""

    info: AudioInfo
    duration_s: float
    mixture: LogMel
    drum_stem: LogMel | None
    stem_onsets: dict[str, Onsets]
    chroma: Chroma
    fingerprint: AcousticFingerprint
    levels: Levels
    stems: list[Stem]
    backend: str


def _listen(
    path: Path, params: TrackParams, start_s: float, end_s: float | None, track_id: str | None, watch: StageWatch
) -> _Heard:
    with watch.on("decode"):
        info = probe_audio(path)
        blocks = decode_blocks(path, start_s, end_s, limits=DecodeLimits(max_duration_s=params.max_duration_s))
    mel, chroma, prints, levels = MelStream(), ChromaStream(), ChromaprintStream(), LevelStream()
    samples = 0
    with _StemBench(params, track_id, watch) as bench:
        while True:
            with watch.on("decode"):
                block = next(blocks, None)
            if block is None:
                break
            samples += block.shape[1]
            with watch.on("onsets"):
                mel.push(block)
            with watch.on("key"):
                chroma.push(block)
            with watch.on("chromaprint"):
                prints.push(block)
            with watch.on("quality"):
                levels.push(block)
            bench.push(block)
        with watch.on("onsets"):
            mixture = mel.finish()
        with watch.on("key"):
            chroma_frames = chroma.finish()
        with watch.on("chromaprint"):
            fingerprint = prints.finish()
        with watch.on("quality"):
            measured = levels.finish()
        stems = bench.finish()
    return _Heard(
        info=info,
        duration_s=samples / SAMPLE_RATE_HZ,
        mixture=mixture,
        drum_stem=bench.drum_stem,
        stem_onsets=bench.onsets,
        chroma=chroma_frames,
        fingerprint=fingerprint,
        levels=measured,
        stems=stems,
        backend=bench.backend,
    )


class _StemBench:
    """Separates the blocks, measures each stem and writes it; the files appear together at the end, or not at all."""

    def __init__(self, params: TrackParams, track_id: str | None, watch: StageWatch):
        self.watch = watch
        self.backend = ""
        self.separation = None
        self.drum_stem: LogMel | None = None
        self.onsets: dict[str, Onsets] = {}
        self.samples = 0
        self.folder = Path("stems") / track_id[:2] / track_id if track_id and params.lake else None
        self.lake = Path(params.lake) if params.lake else None
        self.files = ExitStack()
        self.writers: dict[str, FlacWriter] = {}
        if params.stems:
            with watch.on("separate"):
                models = Path(params.model_path) if params.model_path else None
                separator = load_separator(params.stems, models, params.threads, params.device)
                self.separation = separator.stream()
            self.backends = separator.backends
            self.backend = ", ".join(sorted(set(separator.backends.values())))
            self.power = dict.fromkeys(separator.stems, 0.0)
            # The drums' spectrogram is wanted whole, for beats and hits; of the other stems only the onsets.
            self.streams = {stem: OnsetStream() for stem in separator.stems if stem != DRUMS}
            self.drum_mel = MelStream() if DRUMS in separator.stems else None

    def __enter__(self) -> "_StemBench":
        if self.separation and self.folder:
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
        """Give the stems their files; from now on their onsets and the spectrogram of the drums are known."""
        if not self.separation:
            return []
        with self.watch.on("separate"):
            parts = self.separation.finish()
        self._take(parts)
        with self.watch.on("separate"):
            for stem, writer in self.writers.items():
                writer.commit(self.lake / self.folder / f"{stem}.flac")
        with self.watch.on("onsets"):
            self.onsets = {stem: stream.finish() for stem, stream in self.streams.items()}
            if self.drum_mel:
                self.drum_stem = self.drum_mel.finish()
                self.onsets[DRUMS] = detect_onsets(self.drum_stem)
        return [self._describe(stem) for stem in self.power]

    def _take(self, parts: dict[str, np.ndarray]) -> None:
        for stem, part in parts.items():
            if not part.shape[1]:
                continue
            with self.watch.on("onsets"):
                (self.drum_mel if stem == DRUMS else self.streams[stem]).push(part)
            with self.watch.on("separate"):
                self.power[stem] += float(np.square(part, dtype=np.float64).sum())
                if stem in self.writers:
                    self.writers[stem].push(part)
        self.samples += next(iter(parts.values())).shape[1]

    def _describe(self, stem: str) -> Stem:
        mean_square = self.power[stem] / max(1, 2 * self.samples)
        return Stem(
            stem=stem,
            uri=(self.folder / f"{stem}.flac").as_posix() if self.folder else None,
            backend=self.backends[stem],
            rms_db=round(10 * float(np.log10(mean_square)), 2) if mean_square > 0 else None,
            duration_s=self.samples / SAMPLE_RATE_HZ,
        )


def _fold_sections(hits: Hits, rhythm: Rhythm, parts: Sections, watch: StageWatch) -> list[SectionPattern]:
    folded = []
    for index, (start_s, end_s) in enumerate(zip(parts.start_s, parts.end_s, strict=True)):
        with watch.on("patterns"):
            pattern = fold_pattern(
                hits, rhythm.time_s, rhythm.beat_in_bar, float(start_s), float(end_s), rhythm.time_signature
            )
        if pattern is None:
            continue
        with watch.on("patterns"):
            fingerprint = drum_vector(pattern.steps, pattern.steps_per_bar)
        with watch.on("midi"):
            file = write_drum_midi(
                hits,
                rhythm.time_s,
                rhythm.beat_in_bar,
                float(start_s),
                float(end_s),
                rhythm.tempo_bpm,
                rhythm.time_signature,
            )
        folded.append(SectionPattern(index, pattern, fingerprint, file))
    return folded

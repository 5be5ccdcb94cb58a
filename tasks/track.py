"""One track through the chain: from a file to everything the lake will know of it.

Runs on a Dask worker and needs no Prefect there. The track is decoded once, in blocks that pass through every station
that listens (tasks/listen.py); then the stations that decide (beats, key, sections, patterns) read what was heard. What
the rows look like is in tasks/rows.py.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tasks import audio
from tasks.audio import AudioInfo, DecodeLimits, decode_blocks, probe_audio
from tasks.errors import DiskFull, OutOfMemory, StageFailed, TrackError, UnusableModel
from tasks.fold import Played, SectionPattern, fold_sections
from tasks.listen import Stem, listen
from tasks.models import drums, pulse, spleeter
from tasks.models.drums import load_transcriber
from tasks.models.pulse import combine_pulses
from tasks.models.runtime import lacks_memory
from tasks.models.spleeter import Separator, check_separator, load_separator
from tasks.music import (
    basslines,
    beatchroma,
    chromaprint,
    feel,
    key,
    midi,
    notes,
    onsets,
    patterns,
    peaks,
    quality,
    sections,
    vectors,
)
from tasks.music.beats import Rhythm
from tasks.music.chromaprint import AcousticFingerprint
from tasks.music.drums import Hits, drop_stray_hits
from tasks.music.key import Key, detect_key
from tasks.music.onsets import Onsets
from tasks.music.quality import Levels
from tasks.music.sections import Sections, detect_sections
from tasks.plan import Fault, TrackJob
from tasks.stages import follow
from tasks.stored import StoredStems
from tasks.watch import StageRun, StageWatch
from tasks.worklog import LogLine

VERSIONS = {
    "decode": audio.VERSION,
    "separate": spleeter.VERSION,
    "chromaprint": chromaprint.VERSION,
    "peaks": peaks.VERSION,
    "quality": quality.VERSION,
    "onsets": onsets.VERSION,
    "beats": pulse.VERSION,
    "drums": drums.VERSION,
    "notes": notes.VERSION,
    "key": key.VERSION,
    "beatchroma": beatchroma.VERSION,
    "sections": sections.VERSION,
    "patterns": f"{patterns.VERSION}+{vectors.VERSION}+{basslines.VERSION}+{feel.VERSION}",
    "midi": midi.VERSION,
}
SURE_LOOP = 0.5  # confidence in the tempo of a loop from which it is as good as a pulse
SHORTEST_S = 2.0  # of what is heard as drums: one hit alone is none
BACKENDS = {"decode": "pyav", "chromaprint": "libchromaprint", "drums": drums.BACKEND, "beats": pulse.BACKEND}


@dataclass(frozen=True)
class TrackParams:
    """What a worker has to know.

    Attributes:
        lake: The lake's folder, where stems are kept; None keeps none.
        stems: Stems to separate: 2, 4 or 5; 0 for none.
        model_path: Folder of checkpoints beside those that are installed.
        cache_path: Folder of converted checkpoints; in the user's cache by default.
        device: Where the networks of the separation run, cpu or cuda; all others run on the processor.
        threads: Threads of the networks.
        max_duration_s: Longest audio that is taken.
        timeout_s: Longest time that one track may take.
        memory_mb: Most memory that the process of a worker may hold, beside what a session on a GPU takes of it; None
            for no limit but the cluster's.
    """

    lake: str | None = None
    stems: int = 4
    model_path: str | None = None
    cache_path: str | None = None
    device: str = "cpu"
    threads: int = 1
    max_duration_s: float = 6 * 3600
    timeout_s: float = 3600
    memory_mb: int | None = None


def check_models(params: TrackParams) -> None:
    """Refuse before any work starts what no track could be separated with.

    Raises:
        UnusableModel: The networks are not here, are damaged, or the device is not.
    """
    if params.stems:
        check_separator(params.stems, _path(params.model_path), params.device, _path(params.cache_path))


def stage_versions(params: TrackParams) -> dict[str, str]:
    """The version of each stage that these parameters run."""
    idle = {0: ("separate", "notes"), 2: ("notes",)}.get(params.stems, ())  # without a bass stem, no bass is heard
    versions = VERSIONS | {"separate": f"{spleeter.VERSION}/{params.stems}"}
    return {stage: version for stage, version in versions.items() if stage not in idle}


@dataclass(frozen=True)
class Analysis:
    """Everything that was heard in a track."""

    info: AudioInfo
    duration_s: float
    levels: Levels
    quality_score: float
    fingerprint: AcousticFingerprint
    peaks: AcousticFingerprint
    beat_chroma: AcousticFingerprint
    stems: list[Stem]
    onsets: dict[str, Onsets]
    rhythm: Rhythm
    played: Played
    key: Key
    sections: Sections
    patterns: list[SectionPattern]
    stages: list[StageRun]

    def best_pattern(self, instrument: str) -> SectionPattern | None:
        """The pattern of an instrument with the highest quality."""
        return _best(self.patterns, instrument)

    def count_otherwise(self, instrument: str) -> list[SectionPattern]:
        """The best pattern of an instrument for each other way to count, the likeliest first: `Rhythm.others`."""
        watch = StageWatch()
        found = [
            _best(fold_sections(self.played, rhythm, self.sections, watch), instrument) for rhythm in self.rhythm.others
        ]
        return [pattern for pattern in found if pattern]


@dataclass(frozen=True)
class TrackResult:
    """The end of a job: an analysis or a fault, and what the worker's log said meanwhile."""

    job: TrackJob
    analysis: Analysis | None = None
    fault: Fault | None = None
    log: list[LogLine] = field(default_factory=list)


def analyse_track(job: TrackJob, params: TrackParams) -> TrackResult:
    """Take one content through the chain; whatever goes wrong with it becomes a fault.

    Raises:
        DiskFull: There is no room for its stems.
        UnusableModel: The networks are not here, are damaged, or the device is not.
    """
    watch = StageWatch(params.timeout_s)
    try:
        job, stored = _find_stems(job, params)
        return TrackResult(
            job, analyse_file(Path(job.file.path), params, track_id=job.track_id, watch=watch, stored=stored)
        )
    except TrackError as error:
        fault = error
    except (DiskFull, UnusableModel):
        raise
    except Exception as error:  # the one place: an unknown fault of a stage costs this track alone
        if lacks_memory(error):
            fault = OutOfMemory("The track needed more memory than there is.")
        else:
            logging.getLogger(__name__).exception("Stage %s failed.", watch.stage)
            fault = StageFailed(f"{type(error).__name__} in stage {watch.stage}: {error}")
    versions = stage_versions(params)
    return TrackResult(job, fault=Fault.of(fault, watch.stage, versions.get(watch.stage, ""), vars(params)))


def analyse_file(
    path: Path,
    params: TrackParams,
    start_s: float = 0.0,
    end_s: float | None = None,
    track_id: str | None = None,
    watch: StageWatch | None = None,
    stored: StoredStems | None = None,
) -> Analysis:
    """Analyse a file or a part of it.

    Args:
        path: The audio file.
        params: What to compute; stems are written only when there is a `track_id` to file them under.
        start_s, end_s: The part, in seconds; all of it by default.
        track_id: The identifier that the stems belong to.
        watch: Where times are kept.
        stored: The stems of an earlier run, to be heard instead of separating again.

    Raises:
        TrackError: The file cannot be taken.
        UnusableModel: The networks are not here, are damaged, or the device is not.
    """
    watch = watch or StageWatch(params.timeout_s)
    with watch.on("decode"):
        info = probe_audio(path)
        blocks = decode_blocks(path, start_s, end_s, limits=DecodeLimits(max_duration_s=params.max_duration_s))
    separator = stored
    if params.stems and not stored:
        with watch.on("separate"):
            models, cache = _path(params.model_path), _path(params.cache_path)
            separator = load_separator(params.stems, models, params.threads, params.device, cache)
    with watch.on("drums"):
        transcriber = load_transcriber(params.threads)
    kept = track_id is not None and params.lake is not None and not stored
    heard = listen(
        _watched(blocks, watch),
        watch,
        transcriber,
        separator,
        Path("stems") / track_id[:2] / track_id if kept else None,
        Path(params.lake) if kept else None,
    )
    with watch.on("beats"):
        rhythm = combine_pulses(heard.pulse, heard.drum_pulse, heard.flux, heard.chroma, onsets=heard.played.struck)
    with watch.on("key"):
        detected_key = detect_key(heard.chroma)
    with watch.on("beatchroma"):
        beat_chroma = beatchroma.fold_beats(heard.chroma, rhythm.time_s)
    with watch.on("sections"):
        parts = detect_sections(heard.spectrum, heard.chroma, rhythm.time_s, rhythm.beat_in_bar, heard.duration_s)
    with watch.on("drums"):
        played = replace(heard.played, hits=settle_hits(heard.played.hits, rhythm, heard.duration_s))
    folded = list(fold_sections(played, rhythm, parts, watch))
    with watch.on("quality"):
        quality_score = quality.score_quality(heard.levels)
    return Analysis(
        info=info,
        duration_s=heard.duration_s,
        levels=heard.levels,
        quality_score=quality_score,
        fingerprint=heard.fingerprint,
        peaks=heard.peaks,
        beat_chroma=beat_chroma,
        stems=heard.stems,
        onsets=heard.onsets,
        rhythm=rhythm,
        played=played,
        key=detected_key,
        sections=parts,
        patterns=folded,
        stages=watch.runs(stage_versions(params), BACKENDS | {"separate": _backend(separator)}),
    )


def settle_hits(hits: Hits, rhythm: Rhythm, duration_s: float) -> Hits:
    """Leave out hits that too few others bear out where no pulse does either: noise sounds like drums, too.

    Silence before and after them is no evidence against them.
    """
    groove = rhythm.groove or rhythm
    is_sure = len(rhythm.time_s) > 0 or (len(groove.time_s) > 0 and groove.tempo_confidence >= SURE_LOOP)
    if is_sure or not len(hits):
        return hits
    return drop_stray_hits(hits, min(duration_s, max(SHORTEST_S, float(np.ptp(hits.time_s)))))


def _best(patterns: Iterable[SectionPattern], instrument: str) -> SectionPattern | None:
    found = [pattern for pattern in patterns if pattern.instrument_type == instrument]
    return max(found, key=lambda pattern: pattern.quality_score, default=None)


def _path(name: str | None) -> Path | None:
    return Path(name) if name else None


def _watched(blocks: Iterator[np.ndarray], watch: StageWatch) -> Iterator[np.ndarray]:
    """The blocks, each one's decoding counted."""
    while True:
        with watch.on("decode"):
            block = next(blocks, None)
        if block is None:
            return
        yield block


def _find_stems(job: TrackJob, params: TrackParams) -> tuple[TrackJob, StoredStems | None]:
    """The stems that the job can be run from; without them, the job with the stages that follow from separating."""
    if job.stages is None or not params.stems or "separate" in job.stages:
        return job, None
    stored = StoredStems.open(Path(params.lake), job.stems) if params.lake else None
    return (job, stored) if stored else (replace(job, stages=follow({*job.stages, "separate"})), None)


def _backend(separator: Separator | StoredStems | None) -> str:
    return ", ".join(sorted(set(separator.backends.values()))) if separator else ""

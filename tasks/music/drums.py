"""Drum hits: the vocabulary of drums, and the picking of hits from activations.

The only place that holds General MIDI drum numbers. The network that makes the activations is in tasks/models/drums.py.
"""

from dataclasses import dataclass, replace

import numpy as np

from tasks.music.signals import HOP_S

VERSION = "peaks-5"

KICK_NOTES = (36, 35)
SNARE_NOTES = (38, 40)
HIHAT_NOTES = (42, 44, 46)
TOM_NOTES = (45, 41, 43, 47, 48, 50)
CRASH_NOTES = (49, 57, 52, 55)
RIDE_NOTES = (51, 59, 53)

# In the order of hits at the same time. The first note of each is the one written.
NOTES_OF_INSTRUMENT = {
    "kick": KICK_NOTES,
    "snare": SNARE_NOTES,
    "hihat": HIHAT_NOTES,
    "tom": TOM_NOTES,
    "crash": CRASH_NOTES,
    "ride": RIDE_NOTES,
}
INSTRUMENTS = tuple(NOTES_OF_INSTRUMENT)
CYMBALS = ("hihat", "crash", "ride")


def midi_note_of(instrument: str) -> int:
    """The General MIDI note that stands for an instrument, 36 for the kick."""
    return NOTES_OF_INSTRUMENT[instrument][0]


def instrument_of(midi_note: int) -> str | None:
    """The instrument of a General MIDI drum note; None for those that are not transcribed."""
    return next((name for name, notes in NOTES_OF_INSTRUMENT.items() if midi_note in notes), None)


@dataclass(frozen=True)
class Hits:
    """Drum hits in ascending time; hits at the same time in the order of their instruments.

    Attributes:
        time_s: float64 (n,), seconds from the start of the signal.
        instrument: str (n,), names from `NOTES_OF_INSTRUMENT`.
        velocity: int64 (n,), 1 to 127.
        confidence: float32 (n,), 0 to 1.
    """

    time_s: np.ndarray
    instrument: np.ndarray
    velocity: np.ndarray
    confidence: np.ndarray

    def __len__(self) -> int:
        return len(self.time_s)


NO_HITS = Hits(np.zeros(0), np.zeros(0, "U5"), np.zeros(0, np.int64), np.zeros(0, np.float32))


@dataclass(frozen=True)
class PeakParams:
    """How activations become hits.

    Attributes:
        thresholds: The least activation that is a hit, one for each instrument.
        min_gap_s: The least time between two hits of one instrument.
    """

    thresholds: tuple[float, ...] = (0.5,) * len(INSTRUMENTS)
    min_gap_s: float = 0.04


def pick_hits(
    activations: np.ndarray,
    velocities: np.ndarray | None = None,
    instruments: tuple[str, ...] = INSTRUMENTS,
    params: PeakParams = PeakParams(),
    hop_s: float = HOP_S,
) -> Hits:
    """Take the peaks of the activations as hits, at times between the frames.

    A peak is above its instrument's threshold and the greatest value within `min_gap_s` on both sides. A parabola
    through the peak and its neighbours gives the time. The confidence is 0.5 at the threshold and 1 at an activation
    of 1.

    Args:
        activations: float (instruments, frames), 0 to 1.
        velocities: float (instruments, frames), 0 to 1, read at the peaks; the activations where None.
        instruments: The names of the rows.
        params: Thresholds and the least gap.
        hop_s: Seconds between frames.

    Returns:
        Hits; none where nothing reaches its threshold.
    """
    loudness = activations if velocities is None else velocities
    frames, rows = [np.zeros(0, int)], [np.zeros(0, int)]
    for row, threshold in enumerate(params.thresholds):
        peaks = _peaks(activations[row], threshold, max(1, round(params.min_gap_s / hop_s)))
        frames.append(peaks)
        rows.append(np.full(len(peaks), row))
    frame, row = np.concatenate(frames), np.concatenate(rows)
    time_s = np.maximum((frame + _parabola_offset(activations, row, frame)) * hop_s, 0.0)
    order = np.lexsort((row, time_s))
    frame, row, time_s = frame[order], row[order], time_s[order]

    threshold = np.asarray(params.thresholds)[row]
    confidence = 0.5 + 0.5 * (activations[row, frame] - threshold) / np.maximum(1.0 - threshold, 1e-6)
    return Hits(
        time_s=time_s,
        instrument=np.asarray(instruments)[row],
        velocity=np.clip(np.rint(127.0 * loudness[row, frame]), 1, 127).astype(np.int64),
        confidence=np.clip(confidence, 0.0, 1.0).astype(np.float32),
    )


def pick_faint_hits(
    activations: np.ndarray,
    velocities: np.ndarray,
    instruments: tuple[str, ...] = INSTRUMENTS,
    least: float = 0.15,
    params: PeakParams = PeakParams(),
    hop_s: float = HOP_S,
) -> Hits:
    """Take all peaks of the activations for what may be hits, far below their thresholds too.

    Where a groove is played again and again, what returns is played, however faint, and what does not was chance: the
    mean over its bars (tasks/music/patterns.py) tells.

    Args:
        activations, velocities: float (instruments, frames), 0 to 1.
        instruments: The names of the rows.
        least: The least activation.
        params: The least gap; its thresholds do not count.
        hop_s: Seconds between frames.

    Returns:
        Hits whose confidence is their activation.
    """
    every = replace(params, thresholds=(least,) * len(instruments))
    found = pick_hits(activations, velocities, instruments, every, hop_s)
    return replace(found, confidence=least + (1 - least) * (2 * found.confidence - 1))


def expect_hits(faint: Hits) -> Hits:
    """Each hit with the velocity that is to be expected: its own, times the chance that it is one. Not rounded."""
    return replace(faint, velocity=faint.velocity * faint.confidence)


def _peaks(activation: np.ndarray, threshold: float, gap: int) -> np.ndarray:
    """Frames whose value is the greatest within `gap` frames; of equal neighbours the first."""
    from scipy.ndimage import maximum_filter1d

    highest = activation == maximum_filter1d(activation, 2 * gap + 1, mode="constant", cval=-np.inf)
    peaks = np.flatnonzero(highest & (activation >= threshold))
    return peaks[np.diff(peaks, prepend=-gap - 1) > gap]


def _parabola_offset(activations: np.ndarray, row: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Where the vertex lies from each peak, in frames within ±0.5; 0 at the first and the last frame."""
    last = activations.shape[1] - 1
    before = activations[row, np.maximum(frame - 1, 0)].astype(np.float64)
    at = activations[row, frame].astype(np.float64)
    after = activations[row, np.minimum(frame + 1, last)].astype(np.float64)
    bend = before - 2.0 * at + after
    offset = np.divide(0.5 * (before - after), bend, out=np.zeros_like(bend), where=bend < 0)
    return np.where((frame == 0) | (frame == last), 0.0, np.clip(offset, -0.5, 0.5))


@dataclass(frozen=True)
class StrayParams:
    """When hits are too few to be drums.

    Attributes:
        window_s: How far before or after a hit others may bear it out.
        least_evidence_per_s: The evidence that there must be in that window; a hit of confidence c adds 2c - 1.
        drums_from_db: Where the drum stem is no more than this below the mixture, there are drums, few or faint as
            their hits may be.
    """

    window_s: float = 6.0
    least_evidence_per_s: float = 0.6
    drums_from_db: float = -9.0


def drop_stray_hits(
    hits: Hits, duration_s: float, presence_db: np.ndarray | None = None, params: StrayParams = StrayParams()
) -> Hits:
    """Leave out hits that too few others bear out, before or after them: music without drums has a few here and there.

    Args:
        hits: Hits of all instruments of a signal.
        duration_s: Length of the signal; the windows of a shorter one are no longer than it.
        presence_db: float (n,), `measure_presence` around each hit; None where the drums were not separated.
        params: Window, evidence and presence.

    Returns:
        The hits that stay, in their order.
    """
    window_s = min(params.window_s, max(duration_s, 1.0))
    evidence = np.concatenate([[0.0], np.cumsum(2.0 * hits.confidence.astype(np.float64) - 1.0)])
    here = np.arange(len(hits))
    first = np.searchsorted(hits.time_s, hits.time_s - window_s, side="left")
    last = np.searchsorted(hits.time_s, hits.time_s + window_s, side="right")
    before, after = evidence[here + 1] - evidence[first], evidence[last] - evidence[here]
    kept = np.maximum(before, after) >= params.least_evidence_per_s * window_s
    if presence_db is not None:
        kept |= presence_db >= params.drums_from_db
    return Hits(hits.time_s[kept], hits.instrument[kept], hits.velocity[kept], hits.confidence[kept])


def measure_presence(
    mixture_energy: np.ndarray, drum_energy: np.ndarray, time_s: np.ndarray, window_s: float = StrayParams().window_s
) -> np.ndarray:
    """How much of the sound is the drum stem, around some moments.

    Args:
        mixture_energy, drum_energy: float (frames,) at HOP_S.
        time_s: float (n,), seconds.
        window_s: How far before and after each moment counts.

    Returns:
        float64 (n,), the level of the drum stem beside that of the mixture in dB; very low where all is silent.
    """
    edges = np.rint((time_s[:, None] + [-window_s, window_s]) / HOP_S).astype(int)
    first, last = np.clip(edges, 0, len(mixture_energy)).T
    sums = [np.concatenate([[0.0], np.cumsum(energy, dtype=np.float64)]) for energy in (mixture_energy, drum_energy)]
    mixture, drums = (total[last] - total[first] for total in sums)
    return 10 * np.log10((drums + 1e-12) / (mixture + 1e-6))


@dataclass(frozen=True)
class LoneParams:
    """When cymbals are doubted because they are on their own.

    Attributes:
        window_s: How far before or after a cymbal a kick or a snare bears it out.
        share: What is left of the confidence of one that none does.
    """

    window_s: float = 8.0
    share: float = 0.5


def doubt_lone_cymbals(hits: Hits, params: LoneParams = LoneParams()) -> Hits:
    """Lower the confidence of cymbals with no kick and no snare around them: what hisses or clicks may be a mouth.

    Args:
        hits: Hits of all instruments of a signal.
        params: Window and share.

    Returns:
        The same hits, each with its confidence.
    """
    is_cymbal = np.isin(hits.instrument, CYMBALS)
    bearing_out = np.isin(hits.instrument, ("kick", "snare"))
    others_s = np.concatenate([[-np.inf], hits.time_s[bearing_out], [np.inf]])
    after = np.searchsorted(others_s, hits.time_s)
    distance_s = np.minimum(hits.time_s - others_s[after - 1], others_s[after] - hits.time_s)
    is_alone = is_cymbal & (distance_s > params.window_s)
    return replace(hits, confidence=np.where(is_alone, params.share * hits.confidence, hits.confidence))

"""The notes of one voice, such as a bass: when each begins and ends, and its pitch. Drum hits are in drums.py.

The pitch of every frame is the lag at which a low copy of the sound repeats itself. Notes begin at onsets and where the
pitch moves for good; what does not repeat itself (drums that leaked into the stem, breath, noise) is no note.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from tasks.music.onsets import Onsets
from tasks.music.signals import HOP_S, SAMPLE_RATE_HZ, FrameStream

VERSION = "yin-segments-1"
DECIMATION = 21
LOW_RATE_HZ = SAMPLE_RATE_HZ / DECIMATION  # 2100 Hz, so that a hop is 21 samples
HOP_SAMPLES = round(HOP_S * LOW_RATE_HZ)
TAPS = 16 * DECIMATION + 1
LOWEST_HZ, HIGHEST_HZ = 30.0, 400.0  # the low B of a five-stringed bass, and the top of its neck
LONGEST_LAG = int(LOW_RATE_HZ / LOWEST_HZ) + 1
SHORTEST_LAG = int(LOW_RATE_HZ / HIGHEST_HZ)
WINDOW_SAMPLES = 126  # 60 ms: two periods of the lowest note
FFT_SAMPLES = 256
SPECTRUM_SAMPLES = 1024
SOUNDING_PARTIALS = 3
LEAST_FUNDAMENTAL = 0.05  # of the strongest partial's power


@dataclass(frozen=True)
class Notes:
    """Notes of one voice in ascending time; none begins before the last one ends.

    Attributes:
        time_s: float64 (n,), seconds from the start of the signal.
        duration_s: float64 (n,).
        midi_note: int64 (n,), 60 is C4.
        velocity: int64 (n,), 1 to 127: the level of the note beside the others of the track.
        confidence: float32 (n,), 0 to 1: how purely the sound repeats itself, and how well its pitch is in tune.
    """

    time_s: np.ndarray
    duration_s: np.ndarray
    midi_note: np.ndarray
    velocity: np.ndarray
    confidence: np.ndarray

    def __len__(self) -> int:
        return len(self.time_s)

    def select(self, chosen: np.ndarray) -> "Notes":
        """Those where `chosen`, bool (n,), is True."""
        return Notes(*(values[chosen] for values in vars(self).values()))


NO_NOTES = Notes(np.zeros(0), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))


@dataclass(frozen=True)
class PitchTrack:
    """What one voice does in each frame; frame i is centred at i · HOP_S seconds.

    Attributes:
        pitch: float32 (frames,), in semitones, 60 is C4; of what does not repeat itself it means nothing.
        periodicity: float32 (frames,), 1 for a sound that repeats itself exactly, 0 for one that does not.
        level_db: float32 (frames,), of the sound below half of LOW_RATE_HZ; -120 for silence.
    """

    pitch: np.ndarray
    periodicity: np.ndarray
    level_db: np.ndarray


@dataclass(frozen=True)
class NoteParams:
    """When a stretch of sound is a note.

    Attributes:
        least_periodicity: A frame with less belongs to no note.
        least_level_db: A softer frame belongs to no note, nor one that is `range_db` below the loudest of the track.
        smooth_frames: Width of the median that removes single frames with another pitch.
        moved_semitones, moved_s: The pitch has moved when it stays that far from the note's for so long.
        least_duration_s, least_confidence: With less it is no note.
        context_s, least_coverage: Notes count where they sound for that share of the time around them: a voice that
            plays goes on, what leaks into its stem comes now and then.
        onset_before_s, onset_after_s: Where an onset may lie beside the first frame of the note that it begins.
        velocity_per_db: From the level beside the median of all notes, which is velocity 80.
    """

    least_periodicity: float = 0.75
    least_level_db: float = -60.0
    range_db: float = 30.0
    smooth_frames: int = 5
    moved_semitones: float = 0.7
    moved_s: float = 0.05
    least_duration_s: float = 0.08
    least_confidence: float = 0.75
    context_s: float = 10.0
    least_coverage: float = 0.3
    onset_before_s: float = 0.07
    onset_after_s: float = 0.03
    velocity_per_db: float = 3.0


@dataclass
class PitchStream:
    """Follows the pitch of one voice as its blocks arrive.

    Reference:
        de Cheveigné & Kawahara, "YIN, a fundamental frequency estimator for speech and music", JASA 111 (2002).
    """

    _frames: FrameStream = field(
        default_factory=lambda: FrameStream(WINDOW_SAMPLES + LONGEST_LAG, HOP_SAMPLES), init=False
    )
    _tail: np.ndarray = field(default_factory=lambda: np.zeros(TAPS // 2, np.float32), init=False)
    _parts: list[np.ndarray] = field(default_factory=list, init=False)

    def push(self, block: np.ndarray) -> None:
        """Take samples float32 (channels, n) at SAMPLE_RATE_HZ; channels are averaged."""
        self._measure(self._frames.push(self._decimate(block.mean(axis=0))))

    def finish(self) -> PitchTrack:
        """The pitch of everything pushed; the stream is spent."""
        self._measure(self._frames.push(self._decimate(np.zeros(TAPS // 2, np.float32))))
        self._measure(self._frames.finish())
        return PitchTrack(*np.concatenate([np.zeros((3, 0), np.float32), *self._parts], axis=1))

    def _decimate(self, samples: np.ndarray) -> np.ndarray:
        from scipy.signal import upfirdn

        known = np.concatenate([self._tail, samples])
        count = max(0, (len(known) - TAPS) // DECIMATION + 1)
        self._tail = known[count * DECIMATION :]
        if not count:
            return np.zeros(0, np.float32)
        return upfirdn(_low_pass(), known, down=DECIMATION)[_FIRST : _FIRST + count]

    def _measure(self, frames: np.ndarray) -> None:
        if len(frames):
            self._parts.append(measure_pitch(frames))


def measure_pitch(frames: np.ndarray) -> np.ndarray:
    """Pitch, periodicity and level of frames (n, WINDOW_SAMPLES + LONGEST_LAG) at LOW_RATE_HZ, float32 (3, n)."""
    window = frames[:, :WINDOW_SAMPLES]
    product = np.fft.rfft(window, FFT_SAMPLES).conj() * np.fft.rfft(frames, FFT_SAMPLES)
    alike = np.fft.irfft(product, FFT_SAMPLES)[:, : LONGEST_LAG + 1]
    energy = np.cumsum(np.pad(frames.astype(np.float64) ** 2, ((0, 0), (1, 0))), axis=1)
    moved = energy[:, WINDOW_SAMPLES : WINDOW_SAMPLES + LONGEST_LAG + 1] - energy[:, : LONGEST_LAG + 1]
    difference = np.maximum(moved[:, :1] + moved - 2 * alike, 0.0)
    lags = np.arange(1, LONGEST_LAG + 1)
    relative = difference[:, 1:] * lags / np.maximum(np.cumsum(difference[:, 1:], axis=1), 1e-12)

    lag = _find_sounding(frames, _choose_lags(relative))
    rows = np.arange(len(frames))
    before, here, after = (relative[rows, lag - 1 + side] for side in (-1, 0, 1))
    bend = before - 2 * here + after
    exact = lag + np.clip(np.where(bend > 0, (before - after) / np.maximum(2 * bend, 1e-12), 0.0), -0.5, 0.5)
    pitch = 69 + 12 * np.log2(LOW_RATE_HZ / exact / 440.0)
    level_db = 10 * np.log10(np.maximum(moved[:, 0] / WINDOW_SAMPLES, 1e-12))
    return np.stack([pitch, np.clip(1.0 - here, 0.0, 1.0), level_db]).astype(np.float32)


def detect_notes(track: PitchTrack, onsets: Onsets, params: NoteParams = NoteParams()) -> Notes:
    """Cut the pitch of a voice into notes.

    Args:
        track: The voice.
        onsets: Of the same signal.
        params: When a stretch of sound is a note.

    Returns:
        The notes; none for silence, noise and drums without a pitch.
    """
    if not len(track.pitch):
        return NO_NOTES
    pitch = _smooth(track.pitch, params.smooth_frames)
    floor_db = max(params.least_level_db, float(track.level_db.max()) - params.range_db)
    sounding = (track.periodicity >= params.least_periodicity) & (track.level_db >= floor_db)
    struck = np.unique(np.rint(onsets.time_s / HOP_S).astype(int))
    found = []
    for start, end in _find_runs(sounding):
        inside = struck[(struck > start) & (struck < end)]
        for first, last in zip([start, *inside], [*inside, end], strict=True):
            found += _split_at_moves(pitch, first, last, params)
    kept = [(first, last) for first, last in found if (last - first) * HOP_S >= params.least_duration_s - 1e-9]
    return _drop_strays(_describe(kept, pitch, track, onsets, params), len(pitch), params) if kept else NO_NOTES


def _split_at_moves(pitch: np.ndarray, start: int, end: int, params: NoteParams) -> list[tuple[int, int]]:
    """The stretches between which the pitch has moved for good."""
    least = max(1, round(params.moved_s / HOP_S))
    parts, first = [], start
    while first < end:
        settled = np.median(pitch[first : min(first + 2 * least, end)])
        away = np.abs(pitch[first:end] - settled) > params.moved_semitones
        runs = [(begin, stop) for begin, stop in _find_runs(away) if stop - begin >= least]
        last = first + runs[0][0] if runs and runs[0][0] > 0 else end
        parts.append((first, last))
        first = last
    return parts


def _describe(
    parts: list[tuple[int, int]], pitch: np.ndarray, track: PitchTrack, onsets: Onsets, params: NoteParams
) -> Notes:
    first, last = np.array(parts).T
    middle = [slice(start + (end - start) // 4, end) for start, end in parts]
    heard = np.array([np.median(pitch[part]) for part in middle])
    pure = np.array([np.median(track.periodicity[part]) for part in middle])
    level_db = np.array([track.level_db[start:end].max() for start, end in parts])
    time_s = _snap(first * HOP_S, onsets.time_s, params)
    end_s = np.minimum(last * HOP_S, np.append(time_s[1:], np.inf))
    velocity = np.rint(80 + params.velocity_per_db * (level_db - np.median(level_db)))
    out_of_tune = 2 * np.abs(heard - np.rint(heard))
    return Notes(
        time_s=time_s,
        duration_s=end_s - time_s,
        midi_note=np.rint(heard).astype(np.int64),
        velocity=np.clip(velocity, 1, 127).astype(np.int64),
        confidence=np.clip(pure * (1 - out_of_tune / 2), 0, 1).astype(np.float32),
    )


def _drop_strays(notes: Notes, frames: int, params: NoteParams) -> Notes:
    """Without the notes that are not sure, and then those that too few others surround."""
    sure = notes.select(notes.confidence >= params.least_confidence)
    middle_s = sure.time_s + sure.duration_s / 2
    start_s = np.maximum(middle_s - params.context_s / 2, 0.0)
    end_s = np.minimum(middle_s + params.context_s / 2, frames * HOP_S)
    sounded_s = np.append(0.0, np.cumsum(sure.duration_s))
    covered_s = sounded_s[np.searchsorted(middle_s, end_s)] - sounded_s[np.searchsorted(middle_s, start_s)]
    return sure.select(covered_s >= params.least_coverage * (end_s - start_s))


def _snap(time_s: np.ndarray, onset_s: np.ndarray, params: NoteParams) -> np.ndarray:
    """Times moved to the nearest onset that can have begun them, in ascending order."""
    if not len(onset_s):
        return time_s
    after = np.clip(np.searchsorted(onset_s, time_s), 0, len(onset_s) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(onset_s[before] - time_s) <= np.abs(onset_s[after] - time_s), before, after)
    away_s = time_s - onset_s[nearest]
    snapped = np.where((away_s <= params.onset_before_s) & (away_s >= -params.onset_after_s), onset_s[nearest], time_s)
    late = np.append(False, np.diff(snapped) <= 0)
    return np.where(late, time_s, snapped)


def _choose_lags(relative: np.ndarray) -> np.ndarray:
    """For each row the lag of the first dip that is nearly as deep as the deepest, from SHORTEST_LAG on."""
    searched = relative[:, SHORTEST_LAG - 1 : -1]
    dips = np.full(searched.shape, np.inf)
    inner = searched[:, 1:-1]
    low = (inner <= searched[:, :-2]) & (inner < searched[:, 2:])
    dips[:, 1:-1][low] = inner[low]
    deep = dips <= np.maximum(dips.min(axis=1, keepdims=True) + 0.05, 0.1)
    has_dip = np.isfinite(dips).any(axis=1)
    return np.where(has_dip, deep.argmax(axis=1), searched.argmin(axis=1)) + SHORTEST_LAG


def _find_sounding(frames: np.ndarray, lag: np.ndarray) -> np.ndarray:
    """Lags without subharmonics: the octave or twelfth above, where that sounds and the lag's own tone does not.

    Two notes that overlap repeat themselves together at a pitch that neither has.
    """
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(frames.shape[1]), SPECTRUM_SAMPLES)) ** 2
    partials = np.arange(1, SOUNDING_PARTIALS + 1)
    bins = np.rint(partials * SPECTRUM_SAMPLES / lag[:, None]).astype(int)
    power = spectrum[np.arange(len(frames))[:, None], np.minimum(bins, spectrum.shape[1] - 1)]
    power[lag[:, None] < partials * SHORTEST_LAG] = 0.0
    silent = power[:, 0] < LEAST_FUNDAMENTAL * power.max(axis=1)
    return np.where(silent, np.rint(lag / (power.argmax(axis=1) + 1)).astype(int), lag)


def _find_runs(chosen: np.ndarray) -> list[tuple[int, int]]:
    """First and last + 1 of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], chosen.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _smooth(values: np.ndarray, frames: int) -> np.ndarray:
    from scipy.ndimage import median_filter

    return median_filter(values, frames, mode="nearest")


@lru_cache(maxsize=1)
def _low_pass() -> np.ndarray:
    from scipy.signal import firwin

    return firwin(TAPS, 0.8 * LOW_RATE_HZ / 2, fs=SAMPLE_RATE_HZ).astype(np.float32)


_FIRST = (TAPS - 1) // DECIMATION  # outputs of the filter before it is filled

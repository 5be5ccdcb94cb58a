"""Two constellations of spectral peaks laid over each other, whatever the speed, tempo and pitch of the second.

A proposal is a line t₁ = ratio · t₂ + offset with a shift of pitch (see peak_keys.py); it is confirmed peak by peak
along that line.

Reference:
    Sonnleitner & Widmer, "Robust quad-based audio fingerprinting", IEEE/ACM TASLP 24(3), 2016, for confirming by the
    peaks themselves.
"""

from dataclasses import dataclass

import numpy as np

from catalog.matching.evidence import Match

PITCH_BITS = 9  # of an item; the others count its frame
STEPS_A_SEMITONE = 9
HOP_S = 256 / 11_025
METHOD = "peaks"
VERSION = "peaks-sixes-1"


@dataclass(frozen=True)
class ConstellationParams:
    """How alike two constellations have to be.

    Attributes:
        near_frames, near_steps: How far a peak may lie from where the line expects it.
        min_pairs: Fewer peaks near the line that both have prove nothing.
        max_missing: Share of missing peaks below which a stretch speaks for equal audio.
        min_evidence: Peaks found beyond that share, summed over the stretch, that confirm it.
        min_pitches: With fewer semitones among the peaks that both have, a stretch says nothing: it is a tone.
    """

    near_frames: float = 2.5
    near_steps: float = 2.5
    min_pairs: int = 12
    max_missing: float = 0.7
    min_evidence: float = 10.0
    min_pitches: int = 6


@dataclass(frozen=True)
class Constellation:
    """The peaks of a track in the order of time.

    Attributes:
        frame: float64 (n,), in hops.
        pitch: float64 (n,), in steps of a ninth of a semitone.
    """

    frame: np.ndarray
    pitch: np.ndarray

    @classmethod
    def from_items(cls, items: np.ndarray) -> "Constellation":
        items = np.asarray(items, np.uint32)
        return cls(
            (items >> np.uint32(PITCH_BITS)).astype(np.float64),
            (items & np.uint32((1 << PITCH_BITS) - 1)).astype(np.float64),
        )

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def usable(self) -> bool:
        """Whether there are enough peaks at enough pitches to recognise a recording by."""
        pitches = len(np.unique(self.pitch // STEPS_A_SEMITONE))
        return len(self) >= ConstellationParams.min_pairs and pitches >= ConstellationParams.min_pitches

    @property
    def length_s(self) -> float:
        """From the first to the last peak; 0 without one."""
        return float(self.frame[-1] - self.frame[0]) * HOP_S if len(self) else 0.0


@dataclass(frozen=True)
class Line:
    """Where the peaks of a second constellation lie in the first: frame₁ = ratio · frame₂ + offset."""

    ratio: float
    offset: float
    pitch_steps: float


@dataclass(frozen=True)
class Overlay:
    """The stretch that two constellations share along a line.

    Attributes:
        line: The line.
        overlap_s: Length of the stretch in the first.
        score: Share of the peaks in it that both have, the smaller of the two shares.
        evidence: Peaks found beyond what is allowed to miss.
    """

    line: Line
    overlap_s: float = 0.0
    score: float = 0.0
    evidence: float = 0.0

    def to_match(self, tracks: tuple[str, str], first: Constellation, second: Constellation) -> Match:
        """The evidence for two tracks, in the order of the two constellations."""
        return Match.between(
            tracks,
            (first.length_s, second.length_s),
            method=METHOD,
            method_version=VERSION,
            score=self.score,
            overlap_s=self.overlap_s,
            offset_s=self.line.offset * HOP_S,
            speed_ratio=self.line.ratio,
            pitch_semitones=-self.line.pitch_steps / STEPS_A_SEMITONE,
        )


def confirm_line(
    first: Constellation, second: Constellation, line: Line, params: ConstellationParams = ConstellationParams()
) -> Overlay | None:
    """What two constellations share along a line, after fitting it to their peaks; None where it proves nothing."""
    for near in (2.0, 1.0, 1.0):
        mine, theirs = _pair(first, second, line, near * params.near_frames * 2, params.near_steps * near)
        if len(mine) < params.min_pairs:
            return None
        line = _fit(first, second, mine, theirs, line)
    overlay = _measure(first, second, line, params)
    return overlay if overlay.evidence >= params.min_evidence else None


def _pair(
    first: Constellation, second: Constellation, line: Line, near_frames: float, near_steps: float
) -> tuple[np.ndarray, np.ndarray]:
    """The peaks of the second that the first has, and the nearest one there."""
    frame, pitch = line.ratio * second.frame + line.offset, second.pitch + line.pitch_steps
    start = np.searchsorted(first.frame, frame - near_frames)
    end = np.searchsorted(first.frame, frame + near_frames, side="right")
    best = np.full(len(second), -1)
    distance = np.full(len(second), np.inf)
    for move in range(int((end - start).max(initial=0))):
        place = np.minimum(start + move, len(first) - 1)
        far = np.hypot((first.frame[place] - frame) / near_frames, (first.pitch[place] - pitch) / near_steps)
        better = (start + move < end) & (far < distance) & (np.abs(first.pitch[place] - pitch) <= near_steps)
        best, distance = np.where(better, place, best), np.where(better, far, distance)
    found = np.flatnonzero(best >= 0)
    return found, best[found]


def _fit(first: Constellation, second: Constellation, own: np.ndarray, theirs: np.ndarray, line: Line) -> Line:
    """The line through paired peaks."""
    x, y = second.frame[own], first.frame[theirs]
    centre = x.mean()
    spread = np.sum((x - centre) ** 2)
    if spread > 0:
        # Seen from the line that there is, so that peaks which are paired by chance pull it nowhere.
        left = y - (line.ratio * x + line.offset)
        slope = np.sum((x - centre) * (left - left.mean())) / spread
        ratio = line.ratio + slope
        offset = line.offset + left.mean() - slope * centre
    else:
        ratio, offset = line.ratio, line.offset
    return Line(float(ratio), float(offset), float(np.mean(first.pitch[theirs] - second.pitch[own])))


def _measure(first: Constellation, second: Constellation, line: Line, params: ConstellationParams) -> Overlay:
    """The stretch along a line in which most peaks are found."""
    low, high = _common_band(first, second, line)
    pitch = second.pitch + line.pitch_steps
    frame = line.ratio * second.frame + line.offset
    inside = (pitch >= low) & (pitch <= high) & (frame >= first.frame[0] - 2) & (frame <= first.frame[-1] + 2)
    found = np.zeros(len(second), bool)
    own, theirs = _pair(first, second, line, params.near_frames, params.near_steps)
    found[own] = True
    gains = np.where(inside, np.where(found, params.max_missing, params.max_missing - 1.0), 0.0)
    sums = np.concatenate([[0.0], np.cumsum(gains)])
    rise = sums - np.minimum.accumulate(sums)
    last = int(np.argmax(rise))
    start = last - int(np.argmin(sums[last::-1]))  # the last minimum: what lies outside the first does not count
    if last <= start:
        return Overlay(line)
    paired = found[start:last]
    if len(np.unique(second.pitch[start:last][paired] // STEPS_A_SEMITONE)) < params.min_pitches:
        return Overlay(line)
    begin, end = frame[start], frame[last - 1]
    counted = inside[start:last]
    share = float(found[start:last][counted].mean())
    there = (first.frame >= begin) & (first.frame <= end) & (first.pitch >= low) & (first.pitch <= high)
    back = float(np.isin(np.flatnonzero(there), theirs).mean()) if there.any() else 0.0
    return Overlay(line, float(end - begin) * HOP_S, min(share, back), float(rise[last]))


def _common_band(first: Constellation, second: Constellation, line: Line) -> tuple[float, float]:
    """The range of pitch in which both have peaks: a telephone leaves no others."""
    own = np.percentile(second.pitch + line.pitch_steps, (2, 98))
    theirs = np.percentile(first.pitch, (2, 98))
    return max(own[0], theirs[0]), min(own[1], theirs[1])

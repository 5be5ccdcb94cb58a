"""The feel of a section: how its halved beats swing, and how far its notes lie from the grid of the beats.

Beats are heard some milliseconds late or early, evenly through a track, and where a drummer's metronome was nobody can
hear. So the grid is laid through the notes that lead: those of the drums that fall on the beats.
"""

from dataclasses import dataclass

import numpy as np

from tasks.music.patterns import count_steps

VERSION = "grid-feel-2"


@dataclass(frozen=True)
class Feel:
    """How the notes of a section lie on its beats; None where they are too few to tell.

    Attributes:
        swing_ratio: Length of the first half of a beat over the second: 1 = straight, 2 = a full triplet.
        microtiming_ms: Mean distance from the grid; more than 0 = behind it. Of the drums themselves it says how late
            they are between the beats, of others how far they lie behind the drums.
        microtiming_spread_ms: Standard deviation of that distance.
    """

    swing_ratio: float | None = None
    microtiming_ms: float | None = None
    microtiming_spread_ms: float | None = None


@dataclass(frozen=True)
class FeelParams:
    """What is needed to tell a feel.

    Attributes:
        fewest_beats: In the section.
        fewest_notes: On the grid, for its distances.
        fewest_offbeats: Between the beats, for the swing; and not under `offbeats_a_beat` of the beats.
        offbeats_a_beat: See there.
        offbeat_from, offbeat_to: The part of a beat where its second half may begin; between the quarters of the beat.
        offbeat_spread: Most standard deviation of these places for them to be one, in beats.
        reach: How far from its place on the grid a note is counted, in steps; others divide the beat otherwise.
        share_on_grid: Fewer of the notes on the grid, and the grid is not theirs: there is no feel.
        smoothing_beats: Beats through which a parabola is laid for each beat: what is heard of one beat is a few
            milliseconds off, the pulse of its neighbours is not.
    """

    fewest_beats: int = 8
    fewest_notes: int = 16
    fewest_offbeats: int = 6
    offbeats_a_beat: float = 0.2
    offbeat_from: float = 0.42
    offbeat_to: float = 0.71
    offbeat_spread: float = 0.04
    reach: float = 0.3
    share_on_grid: float = 0.7
    smoothing_beats: int = 13


def measure_feel(
    note_s: np.ndarray,
    beat_time_s: np.ndarray,
    beat_in_bar: np.ndarray,
    start_s: float,
    end_s: float,
    time_signature: str | None = None,
    leading_s: np.ndarray | None = None,
    params: FeelParams = FeelParams(),
) -> Feel:
    """Lay the notes or hits of one instrument on the steps of the beats, off-beats where they swing.

    Args:
        note_s: float (n,), seconds, of the track.
        beat_time_s: float (beats,), the beats of the track in ascending order.
        beat_in_bar: int (beats,), 1 on the downbeat.
        start_s, end_s: The section.
        time_signature: Such as "4/4"; beats of 6/8 and 7/8 have no halves that could swing.
        leading_s: float (m,), the notes whose median distance from the beats is where the grid begins; None takes those
            that are measured.
        params: What is needed.

    Returns:
        The feel; all None where the section has not beats enough.
    """
    inside = (beat_time_s >= start_s) & (beat_time_s < end_s)
    if inside.sum() < params.fewest_beats:
        return Feel()
    beat_s = _smooth(beat_time_s, params.smoothing_beats)[inside]
    place = _place(note_s, beat_s)
    steps = _steps_of(time_signature, beat_in_bar)
    leading = place if leading_s is None or not len(leading_s) else _place(leading_s, beat_s)
    begin, own_begin = (_find_begin(places, params.reach / steps) for places in (leading, place))
    offbeat = _find_offbeat((place - own_begin) % 1.0, len(beat_s), params) if steps == 4 else None
    grid = np.arange(steps + 1) / steps
    if offbeat is not None:
        grid = np.array([0.0, offbeat / 2, offbeat, (1.0 + offbeat) / 2, 1.0])
    swing_ratio = None if offbeat is None else offbeat / (1.0 - offbeat)

    part = (place - begin) % 1.0
    distance = part - grid[np.abs(part[:, None] - grid).argmin(axis=1)]
    counted = np.abs(distance) <= params.reach / steps
    if not len(place) or counted.mean() < params.share_on_grid:
        return Feel()
    if counted.sum() < params.fewest_notes:
        return Feel(swing_ratio)
    interval_s = np.diff(beat_s)[np.clip(place.astype(int), 0, len(beat_s) - 2)]
    late_ms = 1000.0 * (distance * interval_s)[counted]
    return Feel(swing_ratio, float(late_ms.mean()), float(late_ms.std()))


def _steps_of(time_signature: str | None, beat_in_bar: np.ndarray) -> int:
    """Steps that a beat is divided into."""
    beats = int(np.max(beat_in_bar))
    return max(1, count_steps(time_signature, beats) // beats)


def _smooth(time_s: np.ndarray, beats: int) -> np.ndarray:
    """Beats on the parabola through their neighbours, so that a change of tempo stays."""
    from scipy.signal import savgol_filter

    beats = min(beats, len(time_s) - 1 + len(time_s) % 2)
    return savgol_filter(time_s, beats, 2)


def _place(note_s: np.ndarray, beat_s: np.ndarray) -> np.ndarray:
    """The notes of the section in beats from the first beat on; a little less than 0 just before it."""
    first_s = beat_s[1] - beat_s[0]
    note_s = note_s[(note_s >= beat_s[0] - first_s / 8) & (note_s < beat_s[-1])]
    early = note_s < beat_s[0]
    return np.where(early, (note_s - beat_s[0]) / first_s, np.interp(note_s, beat_s, np.arange(len(beat_s))))


def _find_begin(place: np.ndarray, reach: float) -> float:
    """Where the notes on the beats fall, in beats; 0 without any."""
    late = (place + 0.5) % 1.0 - 0.5
    on_beat = late[np.abs(late) <= reach]
    return float(np.median(on_beat)) if len(on_beat) else 0.0


def _find_offbeat(part: np.ndarray, beats: int, params: FeelParams) -> float | None:
    """Where the second half of a beat begins, as the median of what falls around there; None where that is not one."""
    between = part[(part >= params.offbeat_from) & (part <= params.offbeat_to)]
    if len(between) < max(params.fewest_offbeats, params.offbeats_a_beat * beats):
        return None
    return float(np.median(between)) if between.std() <= params.offbeat_spread else None

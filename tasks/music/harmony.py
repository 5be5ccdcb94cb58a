"""How much the harmony changes at each beat: chords change on the first beat of a bar more often than inside it."""

import numpy as np

from tasks.music.key import Chroma, KeyParams

VERSION = "chroma-change-1"
MOST_DEVIATIONS = 2.0


def measure_harmonic_change(chroma: Chroma, time_s: np.ndarray) -> np.ndarray:
    """Compare the pitch classes of the beat before each beat with those of the beat that it begins.

    Args:
        chroma: Of the whole track.
        time_s: float (beats,), ascending, seconds.

    Returns:
        float64 (beats,): one less the cosine of the two, in standard deviations from the mean of all beats, at most
        `MOST_DEVIATIONS` either way; zeros for music without lasting pitches and for fewer than three beats.

    Reference:
        Papadopoulos & Peeters, "Joint estimation of chords and downbeats from an audio signal", IEEE Transactions on
        Audio, Speech, and Language Processing 19(1), 2011.
    """
    if len(time_s) < 3 or chroma.tonality < KeyParams.min_tonality:
        return np.zeros(len(time_s))
    interval_s = np.diff(time_s)
    borders_s = np.concatenate([[time_s[0] - interval_s[0]], time_s, [time_s[-1] + interval_s[-1]]])
    of_beat = _sum_between(chroma, borders_s)
    before, after = of_beat[:, :-1], of_beat[:, 1:]
    norm = np.linalg.norm(before, axis=0) * np.linalg.norm(after, axis=0)
    change = np.where(norm > 1e-9, 1.0 - (before * after).sum(axis=0) / np.maximum(norm, 1e-9), 0.0)
    spread = change.std()
    if spread < 1e-9:
        return np.zeros(len(time_s))
    return np.clip((change - change.mean()) / spread, -MOST_DEVIATIONS, MOST_DEVIATIONS)


def _sum_between(chroma: Chroma, borders_s: np.ndarray) -> np.ndarray:
    """Chroma between neighbouring borders, (12, borders - 1); a frame counts by its share that lies between them."""
    running = np.cumsum(np.pad(chroma.values.astype(np.float64), ((0, 0), (1, 0))), axis=1)
    edge_s = (np.arange(running.shape[1]) - 0.5) * chroma.hop_s
    return np.diff([np.interp(borders_s, edge_s, row) for row in running], axis=1)

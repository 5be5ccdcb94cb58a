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
    of_beat = chroma.sum_between(borders_s)
    before, after = of_beat[:, :-1], of_beat[:, 1:]
    norm = np.linalg.norm(before, axis=0) * np.linalg.norm(after, axis=0)
    change = np.where(norm > 1e-9, 1.0 - (before * after).sum(axis=0) / np.maximum(norm, 1e-9), 0.0)
    spread = change.std()
    if spread < 1e-9:
        return np.zeros(len(time_s))
    return np.clip((change - change.mean()) / spread, -MOST_DEVIATIONS, MOST_DEVIATIONS)

"""What the onsets say of a way to count the music: where between the beats they fall, and after how many they repeat.

The pulse network hears each moment by itself and its surroundings; whether a bar is like the bar before it is measured
here, and how far the beats swing. Which way to count is chosen in beats.py.
"""

from dataclasses import dataclass

import numpy as np

from tasks.music.signals import HOP_S

PHASES = 12  # of a beat in which bars are compared: holds its halves, thirds and quarters
LONGEST_LAG = 10  # beats
FEWEST_BEATS = 12  # for a bar to be compared with another
_FLOOR = 0.1  # of the mean flux: silence between beats is not infinitely silent
_REACH = 3  # frames around a moment in which its onset is looked for


@dataclass(frozen=True)
class Accents:
    """Onsets along a row of beats.

    Attributes:
        beat: float (beats,), the flux at each beat; 1 is the mean of the track.
        in_three: How much more sounds at the thirds of the beats than at their halves, as a logarithm.
        alike: float (LONGEST_LAG + 1,), correlation of each beat's onsets with those as many beats later; NaN for
            lag 0 and for lags that are too long for the track.
    """

    beat: np.ndarray
    in_three: float
    alike: np.ndarray

    def of_bars(self, beat_in_bar: np.ndarray, beats_per_bar: int) -> tuple[float, float, float]:
        """How much stronger downbeats are than other beats (a logarithm), and how much more alike bars are than beats
        of other distances, on average and at the likeliest of these."""
        is_first = beat_in_bar == 1
        stronger = 0.0
        if is_first.any() and not is_first.all():
            stronger = float(_log(self.beat[is_first].mean()) - _log(self.beat[~is_first].mean()))
        lag = np.arange(LONGEST_LAG + 1)
        others = self.alike[(lag % beats_per_bar > 0) & ~np.isnan(self.alike)]
        own = self.alike[beats_per_bar]
        if np.isnan(own) or not len(others):
            return stronger, 0.0, 0.0
        twice = self.alike[2 * beats_per_bar] if 2 * beats_per_bar <= LONGEST_LAG else own
        pair = own if np.isnan(twice) else (own + twice) / 2
        return stronger, float(own - others.mean()), float(pair - others.max())


def normalise_flux(flux: np.ndarray) -> np.ndarray:
    """Flux smoothed over 50 ms, with a mean of 1; silence stays silence."""
    if not len(flux):
        return flux
    smooth = np.convolve(flux, np.array([0.25, 0.5, 1.0, 0.5, 0.25]), "same")
    return smooth / (smooth.mean() + 1e-9)


def measure_accents(flux: np.ndarray, time_s: np.ndarray) -> Accents:
    """Look along a row of beats.

    Args:
        flux: Of `normalise_flux`, float (frames,) at HOP_S.
        time_s: float (beats,), at least two, ascending.
    """
    interval_s = np.diff(time_s)
    halves = _peaks(flux, time_s[:-1] + interval_s / 2).mean()
    thirds = np.mean([_peaks(flux, time_s[:-1] + share * interval_s).mean() for share in (1 / 3, 2 / 3)])
    return Accents(_peaks(flux, time_s), float(_log(thirds) - _log(halves)), _compare_beats(flux, time_s))


def measure_swing(flux: np.ndarray, time_s: np.ndarray) -> float | None:
    """Where between two beats the off-beat falls, as the ratio of the parts before and after it.

    The flux is folded onto the beat; the off-beat is its centre of mass around its peak in the middle of the beat.

    Args:
        flux: Of the drums or of the mixture, float32 (frames,) at HOP_S.
        time_s: float (beats,), ascending.

    Returns:
        The ratio; None with less than 8 beats or where little sounds between them.
    """
    if len(time_s) < 8:
        return None
    steps = 48
    phase = np.arange(steps) / steps
    at_s = time_s[:-1, None] + phase * np.diff(time_s)[:, None]
    folded = flux[np.clip(np.round(at_s / HOP_S).astype(int), 0, len(flux) - 1)].mean(axis=0)
    folded = folded - np.median(folded)
    middle = np.flatnonzero((phase >= 0.4) & (phase <= 0.75))
    peak = middle[folded[middle].argmax()]
    around = np.arange(peak - 2, peak + 3)
    weight = np.maximum(folded[around], 0.0)
    if folded[peak] < 0.1 * folded[[-2, -1, 0, 1, 2]].max() or weight.sum() <= 0:
        return None
    offbeat = float(np.clip((phase[around] * weight).sum() / weight.sum(), 0.4, 0.75))
    return offbeat / (1.0 - offbeat)


def _compare_beats(flux: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """`Accents.alike`: onsets as logarithms over the phases of a beat, less the usual ones of the track."""
    alike = np.full(LONGEST_LAG + 1, np.nan)
    if len(time_s) < FEWEST_BEATS or not len(flux):
        return alike
    at_s = time_s[:-1, None] + np.arange(PHASES) / PHASES * np.diff(time_s)[:, None]
    heard = np.log(flux[np.clip(np.round(at_s / HOP_S).astype(int), 0, len(flux) - 1)] + 3 * _FLOOR)
    heard -= heard.mean(axis=0)
    heard /= np.linalg.norm(heard, axis=1, keepdims=True) + 1e-6
    for lag in range(1, min(LONGEST_LAG + 1, len(heard) - 2)):
        alike[lag] = (heard[lag:] * heard[:-lag]).sum(axis=1).mean()
    return alike


def _peaks(flux: np.ndarray, at_s: np.ndarray) -> np.ndarray:
    """The largest flux near each of these moments; 0 outside the track."""
    if not len(flux):
        return np.zeros(len(at_s))
    around = np.round(at_s / HOP_S).astype(int)[:, None] + np.arange(-_REACH, _REACH + 1)
    inside = (around >= 0) & (around < len(flux))
    return np.where(inside, flux[np.clip(around, 0, len(flux) - 1)], 0.0).max(axis=1)


def _log(strength: float) -> float:
    return float(np.log(strength + _FLOOR))

"""Bars: which beats are downbeats, and how many beats a bar has. The beats themselves come from beats.py."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MeterParams:
    """The bar model.

    Attributes:
        beats_per_bar: The bars that are compared, as beats a bar.
        prior: Their probability before anything is heard; in the order of `beats_per_bar`.
        change_probability: That the meter changes at a bar line.
        skip_probability: That a beat is missing from or added to a bar.
    """

    beats_per_bar: tuple[int, ...] = (3, 4, 5, 7)
    prior: tuple[float, ...] = (0.2, 0.6, 0.1, 0.1)
    change_probability: float = 1e-4
    skip_probability: float = 1e-3


@dataclass(frozen=True)
class Bars:
    """The bars through a row of beats.

    Attributes:
        beat_in_bar: int64 (beats,), 1 = downbeat.
        beats_per_bar: Of the meter that holds for most beats; None without beats.
        confidence: Probability of that meter given the beats, in [0, 1].
    """

    beat_in_bar: np.ndarray
    beats_per_bar: int | None
    confidence: float


def find_bars(downbeat: np.ndarray, params: MeterParams = MeterParams()) -> Bars:
    """Choose meter and phase by Viterbi decoding over (meter, position in the bar).

    Args:
        downbeat: float (beats,), probability in (0, 1) that a beat is a downbeat, judged by its sound alone.
        params: The bars to compare.

    Returns:
        A position for each beat; without beats an empty array, None and 0.
    """
    if not len(downbeat):
        return Bars(np.zeros(0, np.int64), None, 0.0)
    meter = np.repeat(np.arange(len(params.beats_per_bar)), params.beats_per_bar)
    position = np.concatenate([np.arange(beats) for beats in params.beats_per_bar])
    transition = _log_transitions(meter, position, params)
    first = np.log(np.array(params.prior)[meter] / np.array(params.beats_per_bar)[meter])

    odds = np.clip(np.asarray(downbeat, np.float64), 1e-3, 1 - 1e-3)
    observed = np.where(position == 0, np.log(odds)[:, None], np.log1p(-odds)[:, None])
    path = _viterbi(first, transition, observed)
    evidence = _meter_evidence(first, transition, observed, meter)
    chosen = int(np.bincount(meter[path]).argmax())
    return Bars(position[path] + 1, params.beats_per_bar[chosen], float(evidence[chosen]))


def _log_transitions(meter: np.ndarray, position: np.ndarray, params: MeterParams) -> np.ndarray:
    states = len(meter)
    lengths = np.array(params.beats_per_bar)[meter]
    chance = np.zeros((states, states))
    for state in range(states):
        bar = np.flatnonzero(meter == meter[state])
        if position[state] == lengths[state] - 1:
            chance[state, position == 0] += params.change_probability * np.array(params.prior)
            chance[state, bar[0]] += 1.0
        else:
            chance[state, state + 1] += 1.0
        chance[state, bar] += params.skip_probability / lengths[state]
    return np.log(chance / chance.sum(axis=1, keepdims=True) + 1e-300)


def _viterbi(first: np.ndarray, transition: np.ndarray, observed: np.ndarray) -> np.ndarray:
    beats, states = observed.shape
    came_from = np.zeros((beats, states), np.uint8)
    score = first + observed[0]
    for beat in range(1, beats):
        arriving = score[:, None] + transition
        came_from[beat] = arriving.argmax(axis=0)
        score = arriving.max(axis=0) + observed[beat]
    path = np.empty(beats, np.int64)
    path[-1] = score.argmax()
    for beat in range(beats - 1, 0, -1):
        path[beat - 1] = came_from[beat, path[beat]]
    return path


def _meter_evidence(first: np.ndarray, transition: np.ndarray, observed: np.ndarray, meter: np.ndarray) -> np.ndarray:
    """Probability of each meter given the whole piece, when it keeps one meter throughout; (meters,)."""
    evidence = []
    for candidate in range(meter.max() + 1):
        own = meter == candidate
        inside = np.exp(transition[np.ix_(own, own)])
        total, belief = 0.0, np.exp(first[own])
        for row in observed[:, own]:
            belief = belief * np.exp(row)
            total += np.log(belief.sum())
            belief = (belief / belief.sum()) @ inside
        evidence.append(total)
    weight = np.exp(np.array(evidence) - max(evidence))
    return weight / weight.sum()

"""Bars: which beats are downbeats, and how many beats a bar has. The beats themselves come from readings.py."""

from dataclasses import dataclass

import numpy as np

METERS = ("none", "4/4", "3/4", "5/4", "6/8", "7/8")

BEATS_PER_BAR = {"4/4": 4, "3/4": 3, "5/4": 5, "6/8": 2, "7/8": 7}


@dataclass(frozen=True)
class MeterParams:
    """The bar model.

    Attributes:
        network_weight: How much the network's own opinion of the meter counts, in beats' worth of evidence a beat.
        change_probability: That the meter changes at a bar line.
        skip_probability: That a beat is missing from a bar or added to it.
    """

    network_weight: float = 0.3
    change_probability: float = 1e-4
    skip_probability: float = 1e-3


@dataclass(frozen=True)
class Bars:
    """The bars through a row of beats.

    Attributes:
        beat_in_bar: int64 (beats,), 1 = downbeat.
        time_signature: Of the meter that holds for most beats; None without beats.
        confidence: Of that time signature, in [0, 1].
    """

    beat_in_bar: np.ndarray
    time_signature: str | None
    confidence: float


def find_bars(
    downbeat: np.ndarray,
    meter: np.ndarray,
    params: MeterParams = MeterParams(),
    signatures: tuple[str, ...] = tuple(BEATS_PER_BAR),
) -> Bars:
    """Choose meter and phase by Viterbi decoding over (meter, place in the bar).

    Args:
        downbeat: float (beats,), probability that a beat is a downbeat, judged by its sound alone.
        meter: float (len(METERS), beats), probability of each meter there.
        params: How the two are weighed.
        signatures: The meters to choose from.

    Returns:
        A place for each beat; without beats an empty array, None and 0.

    Reference:
        Whiteley, Cemgil & Godsill, "Bayesian modelling of temporal structure in musical audio", ISMIR 2006.
    """
    if not len(downbeat):
        return Bars(np.zeros(0, np.int64), None, 0.0)
    lengths = np.array([BEATS_PER_BAR[name] for name in signatures])
    of_state = np.repeat(np.arange(len(lengths)), lengths)
    place = np.concatenate([np.arange(length) for length in lengths])

    chance = np.clip(downbeat.astype(np.float64), 1e-3, 1 - 1e-3)
    opinion = np.log(np.clip(meter[[METERS.index(name) for name in signatures]], 1e-3, 1.0))
    opinion = opinion - opinion.max(axis=0)
    observed = np.where(place == 0, np.log(chance)[:, None], np.log1p(-chance)[:, None])
    observed += params.network_weight * opinion.T[:, of_state]

    transition = _log_transitions(of_state, place, lengths, params)
    first = -np.log(lengths)[of_state]
    path = _viterbi(first, transition, observed)
    chosen = int(np.bincount(of_state[path]).argmax())
    certain = len(signatures) == 1
    probability = np.ones(1) if certain else _meter_probability(first, transition, observed, of_state)
    return Bars(place[path] + 1, signatures[chosen], float(probability[chosen]))


def _log_transitions(of_state: np.ndarray, place: np.ndarray, lengths: np.ndarray, params: MeterParams) -> np.ndarray:
    """From each state to each: on to the next beat, at the end to the first, rarely elsewhere."""
    chance = np.zeros((len(place), len(place)))
    for state, (meter, beat) in enumerate(zip(of_state, place, strict=True)):
        bar = np.flatnonzero(of_state == meter)
        if beat == lengths[meter] - 1:
            chance[state, place == 0] += params.change_probability
            chance[state, bar[0]] += 1.0
        else:
            chance[state, state + 1] += 1.0
        chance[state, bar] += params.skip_probability / lengths[meter]
    return np.log(chance / chance.sum(axis=1, keepdims=True) + 1e-300)


def _viterbi(first: np.ndarray, transition: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """The likeliest states, (beats,), of observations (beats, states)."""
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


def _meter_probability(
    first: np.ndarray, transition: np.ndarray, observed: np.ndarray, of_state: np.ndarray
) -> np.ndarray:
    """Probability of each meter, (meters,), if one holds throughout; evidence is per beat, not summed.

    Beats of one piece repeat each other, so a long piece is not surer than its average beat by the laws of
    independent trials: the sum of the log-likelihoods counts as that of at most 16 beats.
    """
    evidence = []
    for meter in range(of_state.max() + 1):
        own = of_state == meter
        inside = np.exp(transition[np.ix_(own, own)])
        total, belief = 0.0, np.exp(first[own])
        for row in np.exp(observed[:, own]):
            belief = belief * row
            total += np.log(belief.sum())
            belief = (belief / belief.sum()) @ inside
        evidence.append(total)
    evidence = np.array(evidence) * min(1.0, 16 / len(observed))
    weight = np.exp(evidence - evidence.max())
    return weight / weight.sum()

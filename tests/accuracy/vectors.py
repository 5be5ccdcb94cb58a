"""How well the pattern vector keeps one groove together and different grooves apart, on the Groove MIDI Dataset.

Every performance marked `beat` is folded into its pattern, then played again in other ways: another tempo, loudness,
touch and kit, with timing errors, with missed hits. Cosines between a performance and its own replays should be above
0.9, those between different performances below 0.7. Run as a script, it prints the figures, draws the two distributions
and prints the average groove that tasks/music/vectors.py holds.
"""

import csv
import json
import sys
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import mido
import numpy as np

from catalog.vectors import shift_beats
from tasks.music.drums import INSTRUMENTS, Hits
from tasks.music.midi import read_drum_ticks
from tasks.music.patterns import ROWS, fold_pattern
from tasks.music.vectors import average_grooves, drum_vector, fit_two_bars

# Notes of the Roland TD-11 that the data set was played on, beside General MIDI: the edges of the hi-hat.
TD11_NOTES = {22: 42, 26: 46}


@dataclass(frozen=True)
class Performance:
    """One recording of the data set; hits in quarters from the start, metronome-aligned."""

    name: str
    style: str
    tempo_bpm: float
    time_signature: str
    quarter_hits: Hits

    @property
    def piece(self) -> str:
        """What takes of one piece have in common: the session with its drummer, the style and the tempo."""
        return f"{self.name.rsplit('/', 1)[0]} {self.style} {self.tempo_bpm}"


@dataclass(frozen=True)
class Replay:
    """How a performance is played again: spreads of random changes."""

    jitter_s: float = 0.0
    missed: float = 0.0
    changed: bool = True  # tempo ±20 %, loudness, touch (velocity exponent) and level of each drum


REPLAYS = {
    "identical": Replay(changed=False),
    "tempo, loudness, kit": Replay(),
    "and timing ±5 ms": Replay(jitter_s=0.005),
    "and timing ±10 ms": Replay(jitter_s=0.010),
    "and timing ±10 ms, 5 % missed": Replay(jitter_s=0.010, missed=0.05),
}


def run(train_path: Path, figure_path: Path | None = None) -> dict:
    """Measure both distributions.

    Args:
        train_path: The folder that holds groove/info.csv.
        figure_path: Where to draw the two distributions as PNG; None draws nothing.

    Returns:
        For each way of playing again the 5th percentile of the cosines, the share above 0.9 and the share found at
        rank 1 among all performances; for different performances the share below 0.7, also across styles alone.
    """
    performances = [p for p in load_performances(train_path) if p.quarter_hits.time_s.size]
    patterns = [fold(performance) for performance in performances]
    performances = [p for p, pattern in zip(performances, patterns, strict=True) if pattern]
    vectors = np.array([drum_vector(p.steps, p.steps_per_bar, p.time_signature) for p in patterns if p])

    same, figures = {}, {}
    for name, replay in REPLAYS.items():
        replayed = [fold(play_again(p, replay, seed)) for seed, p in enumerate(performances)]
        again = np.array(
            [drum_vector(p.steps, p.steps_per_bar, p.time_signature) if p else np.zeros(96) for p in replayed]
        )
        scores = compare(again, vectors)
        same[name] = scores.diagonal()
        rank = (scores >= same[name][:, None] - 1e-6).sum(axis=1)
        figures[name] = {
            "cosine_p5": round(float(np.percentile(same[name], 5)), 4),
            "share_above_0.9": round(float(np.mean(same[name] > 0.9)), 4),
            "share_at_rank_1": round(float(np.mean(rank == 1)), 4),
        }
    first, second = np.triu_indices(len(vectors), 1)
    other = compare(vectors, vectors)[first, second]
    styles = np.array([p.style for p in performances])
    across = styles[first] != styles[second]
    if figure_path:
        draw(same["and timing ±10 ms"], other, figure_path)
    return {
        "performances": len(vectors),
        "same": figures,
        "different": {
            "cosine_p95": round(float(np.percentile(other, 95)), 4),
            "share_below_0.7": round(float(np.mean(other < 0.7)), 4),
            "share_below_0.7_other_style": round(float(np.mean(other[across] < 0.7)), 4),
        },
        "against_musicians": compare_measures(performances, [p for p in patterns if p]),
        "fills_against_beats": tell_fills(train_path),
    }


def compare(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosines of all pairs at the best shift by halves of a beat, as a search has them, (n, m)."""
    scores = [shifted @ second.T for shifted in shift_beats(first).transpose(1, 0, 2)]
    return np.max(scores, axis=0)


def compare_measures(performances: list[Performance], patterns: list) -> dict:
    """How well the vector, and two plain measures on the same grids, agree with what musicians call alike.

    Returns:
        For each measure the mean reciprocal rank of another take (same drummer, session, style and tempo), the mean
        share of the ten nearest by other drummers that have the same style, and the rank correlation (Spearman) with
        the distance of five structural features, as GrooveToolbox has them: syncopation, density of low, mid and high
        drums, and the strength of the backbeat.
    """
    from scipy.stats import spearmanr

    grids = np.array([fit_two_bars(p.steps, p.steps_per_bar, p.time_signature) for p in patterns])
    measures = measure_likeness(patterns)
    features = describe_structure(grids)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    distance = np.linalg.norm(features[:, None] - features[None], axis=2)
    drummers = np.array([p.name.split("/")[0] for p in performances])
    takes = np.array([performance.piece for performance in performances])
    styles = np.array([p.style for p in performances])
    first, second = np.triu_indices(len(grids), 1)
    figures = {"with_another_take": int(sum((takes == take).sum() > 1 for take in takes))}
    for name, scores in measures.items():
        reciprocal, shares = [], []
        for number, row in enumerate(scores):
            row = np.where(np.arange(len(row)) == number, -np.inf, row)
            order = np.argsort(-row, kind="stable")[:-1]
            if (takes == takes[number]).sum() > 1:
                reciprocal.append(1 / (1 + np.flatnonzero(takes[order] == takes[number])[0]))
            foreign = order[drummers[order] != drummers[number]][:10]
            shares.append(np.mean(styles[foreign] == styles[number]))
        figures[name] = {
            "another_take_mrr": round(float(np.mean(reciprocal)), 4),
            "style_of_ten_nearest": round(float(np.mean(shares)), 4),
            "structure_correlation": round(float(-spearmanr(scores[first, second], distance[first, second])[0]), 4),
        }
    return figures


def measure_likeness(patterns: list) -> dict[str, np.ndarray]:
    """How alike all pairs of patterns are by the vector and by two plain measures on the same grids, each (n, n)."""
    flat = np.array([fit_two_bars(p.steps, p.steps_per_bar, p.time_signature) for p in patterns]).reshape(
        len(patterns), -1
    )
    played = (flat > 0.1).astype(np.float32)
    unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    vectors = np.array([drum_vector(p.steps, p.steps_per_bar, p.time_signature) for p in patterns])
    return {
        "vector": compare(vectors, vectors),
        "plain cosine": unit @ unit.T,
        "plain Hamming": played @ played.T + (1 - played) @ (1 - played).T,
    }


def tell_fills(train_path: Path, nearest: int = 10) -> dict:
    """How well the nearest patterns of other drummers tell whether a pattern is a fill or a groove.

    Returns:
        How many fills and grooves have a pattern; for each measure the area under the curve of the share of fills among
        the nearest, as if there were as many of each kind: 0.5 is chance, 1 is perfect.
    """
    chosen = [p for kind in ("beat", "fill") for p in load_performances(train_path, kind) if len(p.quarter_hits)]
    fills_from = sum(len(p.quarter_hits) > 0 for p in load_performances(train_path))
    folded = [fold(performance) for performance in chosen]
    kept = [number for number, pattern in enumerate(folded) if pattern]
    is_fill = np.array(kept) >= fills_from
    drummers = np.array([chosen[number].name.split("/")[0] for number in kept])
    figures = {"fills": int(is_fill.sum()), "beats": int((~is_fill).sum())}
    foreign = drummers[:, None] != drummers
    fills_there, beats_there = (foreign @ kind.astype(float) for kind in (is_fill, ~is_fill))
    for name, scores in measure_likeness([folded[number] for number in kept]).items():
        order = np.argsort(-np.where(foreign, scores, -np.inf), axis=1, kind="stable")[:, :nearest]
        near = is_fill[order].sum(axis=1)
        fills, beats = near / fills_there, (nearest - near) / beats_there
        share = fills / (fills + beats)
        more = share[is_fill][:, None] - share[~is_fill]
        figures[name] = round(float((more > 0).mean() + 0.5 * (more == 0).mean()), 4)
    return figures


def describe_structure(grids: np.ndarray) -> np.ndarray:
    """Syncopation, density of low, mid and high drums, and strength of the backbeat of grids (n, ROWS, 32), (n, 5).

    Syncopation is the metrical weight that a hit lacks beside the rest that follows it.

    Reference:
        Longuet-Higgins & Lee, "The rhythmic interpretation of monophonic music", Music Perception 1984.
    """
    level = np.tile([0, -4, -3, -4, -2, -4, -3, -4, -1, -4, -3, -4, -2, -4, -3, -4], 2)
    played = grids[:, :2].max(axis=1) > 0.1
    rest_after = ~np.roll(played, -1, axis=1)
    lacking = np.maximum(np.roll(level, -1) - level, 0)
    syncopation = (played * rest_after * lacking).sum(axis=1)
    backbeat = grids[:, 1, [4, 12, 20, 28]].sum(axis=1) / np.maximum(grids[:, 1].sum(axis=1), 1e-6)
    struck = dict(zip(ROWS, (grids > 0.1).transpose(1, 0, 2), strict=True))
    groups = (struck["kick"], struck["snare"] | struck["tom"], struck["hihat"] | struck["ride"])
    return np.column_stack([syncopation, *(group.sum(axis=1) for group in groups), backbeat])


def load_performances(train_path: Path, kind: str = "beat") -> list[Performance]:
    """The performances of the data set that are grooves, or those that are fills, in the order of info.csv."""
    root = Path(train_path) / "groove"
    with open(root / "info.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["beat_type"] == kind]
    return [
        Performance(
            name=row["id"],
            style=row["style"].split("/")[0],
            tempo_bpm=float(row["bpm"]),
            time_signature=row["time_signature"].replace("-", "/"),
            quarter_hits=read_td11_hits(root / row["midi_filename"]),
        )
        for row in rows
        if (root / row["midi_filename"]).exists()
    ]


def read_td11_hits(path: Path) -> Hits:
    """Hits in quarters of a file of the data set."""
    file = mido.MidiFile(path)
    for message in (message for track in file.tracks for message in track):
        if message.type in ("note_on", "note_off"):
            message.note = TD11_NOTES.get(message.note, message.note)
    buffer = BytesIO()
    file.save(file=buffer)
    return read_drum_ticks(buffer.getvalue())[0]


def fold(performance: Performance):
    """The pattern of a whole performance, its beats those of the metronome."""
    hits = performance.quarter_hits
    quarter_s = 60 / performance.tempo_bpm
    numerator, denominator = map(int, performance.time_signature.split("/"))
    beat_quarters = 4 / denominator
    beats = np.arange(int(np.ceil(hits.time_s.max() / beat_quarters)) + 1 if len(hits) else 0)
    return fold_pattern(
        replace(hits, time_s=hits.time_s * quarter_s),
        beats * beat_quarters * quarter_s,
        beats % numerator + 1,
        start_s=-0.1,
        end_s=len(beats) * beat_quarters * quarter_s,
        time_signature=performance.time_signature,
    )


def play_again(performance: Performance, replay: Replay, seed: int) -> Performance:
    """The same performance with random changes, always the same for one seed."""
    rng = np.random.default_rng(seed)
    hits = performance.quarter_hits
    tempo_bpm, velocity = performance.tempo_bpm, hits.velocity / 127
    if replay.changed:
        tempo_bpm *= rng.uniform(0.8, 1.25)
        velocity = velocity ** rng.uniform(0.7, 1.5) * rng.uniform(0.5, 1.3)
        for instrument in INSTRUMENTS:
            velocity = np.where(hits.instrument == instrument, velocity * rng.uniform(0.6, 1.4), velocity)
    time_s = hits.time_s + rng.normal(0, 1, len(hits)) * replay.jitter_s * tempo_bpm / 60
    order = np.flatnonzero(rng.random(len(hits)) >= replay.missed)
    order = order[np.argsort(time_s[order], kind="stable")]
    changed = Hits(
        time_s[order],
        hits.instrument[order],
        np.clip(np.rint(velocity[order] * 127), 1, 127).astype(int),
        hits.confidence[order],
    )
    return replace(performance, tempo_bpm=tempo_bpm, quarter_hits=changed)


def draw(same: np.ndarray, other: np.ndarray, path: Path) -> None:
    """Draw the cosines of replays and of different performances as two histograms."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    bins = np.linspace(-0.6, 1, 65)
    axes.hist(other, bins, density=True, alpha=0.7, label=f"different performances ({len(other)} pairs)")
    axes.hist(same, bins, density=True, alpha=0.7, label=f"the same, other tempo, kit, level, ±10 ms ({len(same)})")
    for limit in (0.7, 0.9):
        axes.axvline(limit, color="black", linewidth=0.8, linestyle=":")
    axes.set(xlabel="cosine of the pattern vectors", ylabel="density", title="Groove MIDI Dataset")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


def make_average(train_path: Path) -> list[list[float]]:
    """The average groove of the data set, as it stands in tasks/music/vectors.py."""
    patterns = [fold(p) for p in load_performances(train_path) if len(p.quarter_hits)]
    return average_grooves(np.array([fit_two_bars(p.steps, p.steps_per_bar, p.time_signature) for p in patterns if p]))


if __name__ == "__main__":
    train = Path(sys.argv[1])
    print(make_average(train))
    print(json.dumps(run(train, Path(sys.argv[2]) if len(sys.argv) > 2 else None), indent=1))

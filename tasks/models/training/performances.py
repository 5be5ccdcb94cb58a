"""What is played: excerpts of real drummers' MIDI and random patterns, as lists of hits on pieces of a kit."""

import csv
from dataclasses import dataclass
from pathlib import Path

import mido
import numpy as np

from tasks.models.training.kits import PIECES

# Keys of the Roland TD-11 that the drummers of the Groove MIDI Dataset played; 22, 26 and 58 are Roland's own.
PIECE_OF_KEY = {
    36: "kick",
    38: "snare",
    40: "snare_rim",
    37: "stick",
    42: "hihat_closed",
    22: "hihat_closed",
    44: "hihat_pedal",
    46: "hihat_open",
    26: "hihat_open",
    48: "tom_high",
    50: "tom_high",
    45: "tom_mid",
    47: "tom_mid",
    43: "tom_low",
    58: "tom_low",
    49: "crash",
    52: "crash",
    55: "crash",
    57: "crash",
    51: "ride",
    59: "ride",
    53: "ride_bell",
}

# Performances that the development set plays (drums/manifest.csv).
OF_DEVELOPMENT_SET = (
    "drummer1/session1/102_funk_95_beat_4-4.mid",
    "drummer1/session1/146_latin-brazilian-baiao_95_beat_4-4.mid",
    "drummer1/session1/1_funk_80_beat_4-4.mid",
    "drummer1/session1/202_rock-halftime_140_beat_4-4.mid",
    "drummer1/session1/4_jazz-funk_116_beat_4-4.mid",
    "drummer1/session2/111_rock-prog_110_beat_5-4.mid",
    "drummer1/session2/6_rock_102_beat_3-4.mid",
    "drummer1/session3/11_afrobeat_94_beat_4-4.mid",
    "drummer2/session2/1_rock_130_beat_4-4.mid",
    "drummer3/session1/18_rock_120_beat_4-4.mid",
    "drummer3/session2/25_hiphop_92_beat_4-4.mid",
    "drummer9/session1/24_rock_90_beat_4-4.mid",
)


@dataclass(frozen=True)
class Performance:
    """Hits in ascending time: time_s (n,), piece (n,) as indices into PIECES, velocity (n,) 1 to 127."""

    time_s: np.ndarray
    piece: np.ndarray
    velocity: np.ndarray

    def __len__(self) -> int:
        return len(self.time_s)


def load_performances(groove: Path) -> list[Performance]:
    """Every performance of the Groove MIDI Dataset of 8 s and more that no development file plays."""
    with open(groove / "info.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted(
        row["midi_filename"]
        for row in rows
        if float(row["duration"]) >= 8.0
        and row["midi_filename"] not in OF_DEVELOPMENT_SET
        and (groove / row["midi_filename"]).is_file()
    )
    return [_read_performance(groove / name) for name in names]


def _read_performance(path: Path) -> Performance:
    time_s, hits = 0.0, []
    for message in mido.MidiFile(path):
        time_s += message.time
        if message.type == "note_on" and message.velocity and message.note in PIECE_OF_KEY:
            hits.append((time_s, PIECES.index(PIECE_OF_KEY[message.note]), message.velocity))
    return _performance(hits)


def _performance(hits: list[tuple[float, int, int]]) -> Performance:
    table = np.array(sorted(hits), dtype=np.float64).reshape(-1, 3)
    return Performance(table[:, 0], table[:, 1].astype(int), np.clip(table[:, 2], 1, 127).astype(int))


def excerpt(performance: Performance, duration_s: float, rng: np.random.Generator) -> Performance:
    """A random excerpt at a random tempo; some exchange their pieces, so that sounds and not grooves are learned."""
    stretch = rng.uniform(0.8, 1.25)
    time_s = performance.time_s * stretch
    start_s = rng.uniform(0, max(0.1, time_s[-1] - duration_s))
    inside = (time_s >= start_s) & (time_s < start_s + duration_s - 0.05)
    time_s, piece, velocity = time_s[inside] - start_s, performance.piece[inside], performance.velocity[inside]
    if rng.random() < 0.25:
        main = [PIECES.index(name) for name in ("kick", "snare", "hihat_closed", "tom_low", "ride", "crash")]
        exchange = np.arange(len(PIECES))
        exchange[main] = rng.permutation(main)
        piece = exchange[piece]
    if rng.random() < 0.3:  # drummers of an electronic kit play many ghost notes: others do not
        kept = rng.random(len(velocity)) < np.clip(velocity / 45, 0.2, 1)
        time_s, piece, velocity = time_s[kept], piece[kept], velocity[kept]
    return Performance(time_s, piece, velocity)


def move_hihats_to_ride(performance: Performance, duration_s: float, rng: np.random.Generator) -> Performance:
    """The closed and open hi-hats of a part of the time, or of all of it, on the ride and its bell or on a crash."""
    first_s = rng.choice([0.0, rng.uniform(0, duration_s / 2)])
    last_s = rng.choice([duration_s, rng.uniform(duration_s / 2, duration_s)])
    hats = np.isin(performance.piece, [PIECES.index("hihat_closed"), PIECES.index("hihat_open")])
    moved = hats & (performance.time_s >= first_s) & (performance.time_s < last_s)
    piece = performance.piece.copy()
    piece[moved] = PIECES.index("crash" if rng.random() < 0.15 else "ride")
    bells = moved & (rng.random(len(piece)) < rng.choice([0.0, rng.uniform(0, 0.4)]))
    piece[bells & (piece == PIECES.index("ride"))] = PIECES.index("ride_bell")
    return Performance(performance.time_s, piece, performance.velocity)


def random_pattern(duration_s: float, rng: np.random.Generator) -> Performance:
    """Hits on a grid at random: every combination of pieces, machine-like or loose, hard or soft."""
    step_s = 60.0 / rng.uniform(70, 180) / rng.choice([2, 3, 4])
    steps = int((duration_s - 0.1) / step_s)
    chance = {
        "kick": rng.uniform(0.05, 0.4),
        "snare": rng.uniform(0.05, 0.35),
        "hihat_closed": rng.uniform(0.1, 0.9),
        "hihat_open": rng.uniform(0, 0.2),
        "hihat_pedal": rng.uniform(0, 0.15),
        "crash": rng.uniform(0, 0.06),
    }
    for extra in rng.choice([name for name in PIECES if name not in chance], rng.integers(1, 5), replace=False):
        chance[str(extra)] = rng.uniform(0.02, 0.3)
    bar = int(rng.choice([8, 12, 16]))
    loose_s, hard = rng.choice([0.0, rng.uniform(0.002, 0.02)]), rng.uniform(50, 120)
    spread = rng.choice([0.0, rng.uniform(5, 35)])
    hits = []
    for name, probability in chance.items():
        repeats = rng.random() < 0.6
        pattern = rng.random(bar if repeats else max(1, steps)) < probability
        for step in np.flatnonzero(np.resize(pattern, steps)):
            time_s = max(0.0, step * step_s + loose_s * rng.standard_normal())
            hits.append((time_s, PIECES.index(name), hard + spread * rng.standard_normal()))
    return _performance(hits)

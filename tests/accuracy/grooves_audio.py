"""How well a groove is found again through the whole audio path: rendered, coded, separated, transcribed, folded.

Every performance of the Groove MIDI Dataset that is a groove is played by one drum kit, which makes the corpus, and
again by another kit, at another tempo and level, as MP3 at 64 kbit/s, which makes the queries. The kits are those of
the sound font FluidR3, which no network of ours was trained on. Needs `fluidsynth` and the sound font (apt-get install
--no-install-recommends fluidsynth fluid-soundfont-gm). Run as a script with the folder that holds groove/ and, if it is
to be quick, how many performances. What each station loses shows when the truth is put in its place: the hits of the
MIDI file, its beats, or the whole rendering as one section.
"""

import json
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import mido
import numpy as np
import soundfile

from catalog.vectors import shift_beats
from tasks.fold import DRUMS, Played, SectionPattern, fold_sections
from tasks.music.beats import Rhythm
from tasks.music.drums import Hits
from tasks.music.notes import NO_NOTES
from tasks.music.onsets import Onsets
from tasks.music.sections import Sections
from tasks.music.vectors import DIMENSIONS
from tasks.track import Analysis, TrackParams, analyse_file
from tasks.watch import StageWatch
from tests.accuracy.drums import add_up, list_drumless
from tests.accuracy.vectors import TD11_NOTES, Performance, fold, load_performances, measure_likeness

SOUND_FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
KITS = {"standard": 0, "room": 8, "power": 16, "electronic": 24, "TR-808": 25, "jazz": 32, "brush": 40}
CORPUS_KIT = "standard"
LONGEST_S = 20.0
RATE_HZ = 44_100
LOOP_BARS = (2, 1, 2, 4)
LIMIT_S = 600.0
TAIL_QUARTERS = 8  # played beyond the end of what is cut out
SAME_GROOVE = 0.9  # cosine of true patterns from which two takes of a piece are one groove


@dataclass(frozen=True)
class Take:
    """How a performance is rendered; no bit rate leaves it as WAV.

    Attributes:
        bars: The first of its bars that is played and how many, cut like a loop to the sample; None plays it whole.
        music: Stems that are played along, together as loud as the drums, whatever their tempo.
    """

    kit: str = CORPUS_KIT
    speed: float = 1.0
    gain_db: float = 0.0
    mp3_bit_s: int | None = None
    bars: tuple[int, int] | None = None
    music: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Heard:
    """One rendering as it was heard, and as it was played."""

    analysis: Analysis
    played: Hits
    played_beats: tuple[np.ndarray, np.ndarray, str]

    def fold(self, truth: frozenset[str]) -> np.ndarray:
        """Vectors (n, 96) of the sections, with the truth in place of these stations."""
        return store(self._analyse(truth))

    def ask(self, truth: frozenset[str]) -> np.ndarray:
        """Vectors (n, 96) of the best section, as it is counted and as it could be."""
        return ask(self._analyse(truth))

    def _analyse(self, truth: frozenset[str]) -> Analysis:
        """What the product would say of this rendering, had it heard the truth."""
        heard = replace(self.analysis, played=replace(self.analysis.played, bass=NO_NOTES))
        if "hits" in truth:
            times_s, first = np.unique(self.played.time_s, return_index=True)
            struck = Onsets(times_s, np.maximum.reduceat(self.played.velocity, first).astype(np.float32))
            heard = replace(heard, played=Played(self.played, self.played, struck, NO_NOTES))
        if "beats" in truth:
            times, places, meter = self.played_beats
            heard = replace(heard, rhythm=Rhythm(times, places, time_signature=meter))
        if "sections" in truth:
            whole = Sections(np.zeros(1), np.array([heard.duration_s]), np.array(["other"]), np.zeros(1))
            heard = replace(heard, sections=whole)
        watch = StageWatch(LIMIT_S)
        return replace(heard, patterns=list(fold_sections(heard.played, heard.rhythm, heard.sections, watch)))


def store(analysis: Analysis) -> np.ndarray:
    """Vectors (n, 96) of the drums of all sections."""
    return _vectors_of([pattern for pattern in analysis.patterns if pattern.instrument_type == DRUMS])


def ask(analysis: Analysis) -> np.ndarray:
    """Vectors (n, 96) of the best section of the drums, as it is counted and as it could be."""
    best = analysis.best_pattern(DRUMS)
    return _vectors_of([best, *analysis.count_otherwise(DRUMS)] if best else [])


def _vectors_of(patterns: list[SectionPattern]) -> np.ndarray:
    """Vectors (n, 96), but for those that are like nothing."""
    vectors = [pattern.fingerprint for pattern in patterns if pattern.fingerprint.any()]
    return np.array(vectors).reshape(-1, DIMENSIONS)


STATIONS = {
    "as heard": (),
    "true sections": ("sections",),
    "true beats": ("beats",),
    "true hits": ("hits",),
    "true beats and sections": ("beats", "sections"),
    "true hits, beats and sections": ("hits", "beats", "sections"),
}


def run(train_path: Path, count: int | None = None, part: str = "first", workers: int = 2) -> dict:
    """Render, analyse and search.

    Args:
        train_path: The folder that holds groove/.
        count: How many performances, evenly drawn; all by default.
        part: "first" are those, "second" as many of the others; with " loops" after it, a loop of 1, 2 or 4 bars is cut
            from each, and stays WAV; with " in music", the songs of the evaluation set beside the folder play along in
            the queries, less their drums.
        workers: Processes.

    Returns:
        How many performances there were, and at which rank the same performance was found among all, with the truth in
        the place of no station or of some; by kit of the query; the share at rank 1 where other takes of its groove may
        stand before it; and the share of right tempi.
    """
    performances = [p for p in load_performances(train_path) if len(p.quarter_hits)]
    chosen = draw_evenly(np.arange(len(performances)), count)
    if part.startswith("second"):
        chosen = draw_evenly(np.setdiff1d(np.arange(len(performances)), chosen), count)
    performances = drop_repeats([performances[index] for index in chosen])
    first = len(chosen) if part.startswith("second") else 0
    takes = [make_take(first + number) for number in range(len(performances))]
    plain = [Take()] * len(performances)
    if part.endswith("loops"):
        loops = [choose_bars(performance, number) for number, performance in enumerate(performances)]
        takes = [replace(take, mp3_bit_s=None, bars=bars) for take, bars in zip(takes, loops, strict=True)]
        plain = [Take(bars=bars) for bars in loops]
    if part.endswith("in music"):
        songs = list_drumless(Path(train_path).parent / "eval")
        takes = [replace(take, music=songs[number % len(songs)]) for number, take in enumerate(takes)]
    files = [find_midi(train_path, performance.name) for performance in performances]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        corpus = list(pool.map(hear, performances, files, plain))
        queries = list(pool.map(hear, performances, files, takes))
    return compare(corpus, queries, takes, performances)


def draw_evenly(numbers: np.ndarray, count: int | None) -> np.ndarray:
    """So many of the numbers, from the first to the last; all without a count."""
    return numbers if count is None else numbers[np.linspace(0, len(numbers) - 1, count).astype(int)]


def drop_repeats(performances: list[Performance]) -> list[Performance]:
    """Without those that play what one before them plays: the data set holds one recording twice."""
    played = {}
    for performance in performances:
        hits = performance.quarter_hits
        played.setdefault((hits.time_s.tobytes(), tuple(hits.instrument), hits.velocity.tobytes()), performance)
    return list(played.values())


def choose_bars(performance: Performance, number: int) -> tuple[int, int]:
    """The first bar of a loop and how many it has, from the fifth bar on where the performance is long enough."""
    bars_played = performance.quarter_hits.time_s.max() / quarters_per_bar(performance)
    bars = LOOP_BARS[number % len(LOOP_BARS)]
    bars = 1 if bars_played < bars - 0.5 else bars
    return min(4, max(0, int(bars_played - bars))), bars


def quarters_per_bar(performance: Performance) -> float:
    numerator, denominator = map(int, performance.time_signature.split("/"))
    return numerator * 4 / denominator


def make_take(number: int) -> Take:
    """Another kit, a tempo within ±20 %, up to 12 dB less, MP3; always the same for a number."""
    random = np.random.default_rng(number)
    kits = [kit for kit in KITS if kit != CORPUS_KIT]
    return Take(kits[number % len(kits)], random.uniform(0.8, 1.2), random.uniform(-12, 0), 64_000)


def find_midi(train_path: Path, name: str) -> Path:
    """The file of a performance such as drummer1/session1/1."""
    drummer, session, number = name.split("/")
    (path,) = (Path(train_path) / "groove" / drummer / session).glob(f"{number}_*.mid")
    return path


def hear(performance: Performance, midi_path: Path, take: Take) -> Heard:
    """Render a performance and take it through the chain."""
    quarter_s = 60 / (performance.tempo_bpm * take.speed)
    bar_s = quarter_s * quarters_per_bar(performance)
    start_s, length_s = (bars * bar_s for bars in take.bars) if take.bars else (0.0, LONGEST_S)
    with TemporaryDirectory() as folder:
        quarters = (start_s + length_s) / quarter_s
        analysis = analyse_file(render(midi_path, take, Path(folder), start_s, length_s, quarters), TrackParams())
    hits = performance.quarter_hits
    numerator, denominator = map(int, performance.time_signature.split("/"))
    beat_s = quarter_s * 4 / denominator
    beats = np.arange(int(analysis.duration_s / beat_s) + 1)
    return Heard(
        analysis,
        replace(hits, time_s=hits.time_s * quarter_s - start_s),
        (beats * beat_s, beats % numerator + 1, performance.time_signature),
    )


def render(midi_path: Path, take: Take, folder: Path, start_s: float, length_s: float, quarters: float) -> Path:
    """Play a file with fluidsynth and cut this part out of it, which ends so many quarters after its beginning; what is
    shorter stays so, but loops."""
    file = mido.MidiFile(midi_path)
    last_tick = (quarters + TAIL_QUARTERS) * file.ticks_per_beat
    for track in file.tracks:
        ticks = np.cumsum([message.time for message in track])
        track[:] = [message for message, tick in zip(track, ticks.tolist(), strict=True) if tick <= last_tick]
        for message in track:
            if message.type in ("note_on", "note_off"):
                message.note = TD11_NOTES.get(message.note, message.note)
            elif message.type == "set_tempo":
                message.tempo = round(message.tempo / take.speed)
    file.tracks[0].insert(0, mido.Message("program_change", channel=9, program=KITS[take.kit]))
    file.save(folder / "played.mid")
    wav = folder / "played.wav"
    command = ["fluidsynth", "-niq", "-g", "0.8", "-r", str(RATE_HZ), "-F", wav, SOUND_FONT, folder / "played.mid"]
    subprocess.run(command, check=True, capture_output=True)
    samples, _ = soundfile.read(wav, dtype="float32", always_2d=True)
    first, count = round(start_s * RATE_HZ), round(length_s * RATE_HZ)
    samples = samples[first : first + count] * 10 ** (take.gain_db / 20)
    if take.bars:
        samples = np.pad(samples, ((0, count - len(samples)), (0, 0)))
    if take.music:
        played = add_up(take.music).samples
        music = np.resize(np.broadcast_to(played, (2, played.shape[1])).T, samples.shape)
        samples = samples + music * (measure_level(samples) / measure_level(music))
    if take.mp3_bit_s is None:
        soundfile.write(wav, samples, RATE_HZ)
        return wav
    return write_mp3(folder / "played.mp3", samples, take.mp3_bit_s)


def measure_level(samples: np.ndarray) -> float:
    """The root of the mean square; more than 0."""
    return float(np.sqrt(np.mean(samples**2))) + 1e-9


def write_mp3(path: Path, samples: np.ndarray, bit_s: int) -> Path:
    """Write samples (n, 2) with LAME."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mp3", rate=RATE_HZ, layout="stereo")
        stream.bit_rate = bit_s
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout="stereo")
        frame.sample_rate = RATE_HZ
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


def compare(corpus: list[Heard], queries: list[Heard], takes: list[Take], performances: list[Performance]) -> dict:
    """Ranks of the same performance among all; a rendering without a pattern is a miss."""
    kits = np.array([take.kit for take in takes])
    figures = {"performances": len(corpus)}
    for station, truth in STATIONS.items():
        stored, asked = [h.fold(frozenset(truth)) for h in corpus], [h.ask(frozenset(truth)) for h in queries]
        ranks, cosines = rank(stored, asked)
        figures[station] = {
            "share_at_rank_1": round(float(np.mean(ranks == 1)), 4),
            "share_to_rank_5": round(float(np.mean(ranks <= 5)), 4),
            "mean_reciprocal_rank": round(float(np.mean(1 / ranks)), 4),
            "median_cosine": round(float(np.median(cosines)), 4),
        }
        if not truth:
            figures["share_at_rank_1_by_kit"] = {
                kit: round(float(np.mean(ranks[kits == kit] == 1)), 4) for kit in sorted(set(kits))
            }
            ranks, _ = rank(stored, asked, find_takes(performances))
            figures["share_at_rank_1_or_another_take"] = round(float(np.mean(ranks == 1)), 4)
    tempi_bpm = [performance.tempo_bpm for performance in performances]
    figures["share_of_right_tempi"] = {
        "corpus": share_right(corpus, tempi_bpm, [1.0] * len(corpus)),
        "queries": share_right(queries, tempi_bpm, [take.speed for take in takes]),
    }
    return figures


def find_takes(performances: list[Performance]) -> np.ndarray:
    """Which performances are takes of one groove, bool (n, n): of one piece, with nearly the same pattern in MIDI."""
    patterns = [fold(performance) for performance in performances]
    known = np.flatnonzero([pattern is not None for pattern in patterns])
    alike = np.eye(len(performances), dtype=bool)
    alike[np.ix_(known, known)] |= measure_likeness([patterns[number] for number in known])["vector"] >= SAME_GROOVE
    pieces = np.array([performance.piece for performance in performances])
    return alike & (pieces[:, None] == pieces)


def rank(
    corpus: list[np.ndarray], queries: list[np.ndarray], same: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of the same performance, by the vectors (n, 96) of each query and of each track of the corpus, and its
    cosines, at the best shift; those that are the same, bool (n, n), do not stand before each other."""
    same = np.eye(len(corpus), dtype=bool) if same is None else same
    ranks, cosines = [], []
    for number, asked in enumerate(queries):
        if not len(asked) or not len(corpus[number]):
            ranks.append(np.inf)
            cosines.append(-1.0)
            continue
        shifted = shift_beats(asked).reshape(-1, DIMENSIONS)
        best = np.array([(vectors @ shifted.T).max() if len(vectors) else -1.0 for vectors in corpus])
        ranks.append(float(1 + (best[~same[number]] >= best[number]).sum()))
        cosines.append(best[number])
    return np.array(ranks), np.array(cosines)


def share_right(heard: list[Heard], tempi_bpm: list[float], speeds: list[float]) -> float:
    """Tempi within 4 %."""
    right = [
        each.analysis.rhythm.tempo_bpm is not None and abs(each.analysis.rhythm.tempo_bpm / (bpm * speed) - 1) < 0.04
        for each, bpm, speed in zip(heard, tempi_bpm, speeds, strict=True)
    ]
    return round(float(np.mean(right)), 4)


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), *map(int, sys.argv[2:3]), *sys.argv[3:4]), indent=1))

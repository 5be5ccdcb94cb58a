"""How well grooves are found again among the recordings of the evaluation set `drums`, most of them with their music.

Each file is asked for faster or slower, softer and as MP3 at 64 kbit/s, among all files as they are; and each full mix
is to find the drum track of its song where no other mix is stored. Run as a script with the evaluation folder.
"""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np

from tasks.audio import read_audio
from tasks.track import TrackParams, analyse_file
from tests.accuracy.drums import read_manifest
from tests.accuracy.grooves_audio import RATE_HZ, Take, ask, make_take, rank, store, write_mp3

FIRST_TAKE = 5_000  # other tempi and levels than the renderings have
BLOCK_SAMPLES = 4_410
MIX, DRUM_TRACK = "_mix", "_drums"


def run(eval_path: Path, workers: int = 2) -> dict:
    """Analyse each file twice and search.

    Returns:
        How many files there are and at which rank each is found; the same where the mix and the drum track of its song
        are one groove; of the mixes with a drum track, the share that finds it first, and among how many files.
    """
    paths = read_manifest(Path(eval_path) / "drums")
    takes = [make_take(FIRST_TAKE + number) for number in range(len(paths))]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        stored = list(pool.map(hear, paths))
        asked = list(pool.map(play_again, paths, takes))
    names = [path.stem for path in paths]
    songs = np.array([name.removesuffix(MIX).removesuffix(DRUM_TRACK) for name in names])
    ranks, cosines = rank(stored, asked)
    among_songs, _ = rank(stored, asked, songs[:, None] == songs)
    return {
        "files": len(paths),
        "share_at_rank_1": round(float(np.mean(ranks == 1)), 4),
        "share_to_rank_5": round(float(np.mean(ranks <= 5)), 4),
        "median_cosine": round(float(np.median(cosines)), 4),
        "share_at_rank_1_or_the_same_song": round(float(np.mean(among_songs == 1)), 4),
        "mixes": find_drum_tracks(names, stored, asked),
    }


def hear(path: Path) -> np.ndarray:
    """The vectors that a file is stored with."""
    return store(analyse_file(path, TrackParams()))


def play_again(path: Path, take: Take) -> np.ndarray:
    """The vectors that a file is asked with after it was changed as a take says, whatever its kit."""
    samples = read_audio(path).samples
    samples = np.broadcast_to(samples, (2, samples.shape[1])).astype(np.float32)
    changed = stretch(samples, take.speed) * 10 ** (take.gain_db / 20)
    with TemporaryDirectory() as folder:
        coded = write_mp3(Path(folder) / "again.mp3", changed.T, take.mp3_bit_s)
        return ask(analyse_file(coded, TrackParams()))


def stretch(samples: np.ndarray, speed: float) -> np.ndarray:
    """Samples (2, n) at another tempo and the same pitch, by FFmpeg's filter atempo."""
    graph, parts = av.filter.Graph(), []
    source = graph.add_abuffer(sample_rate=RATE_HZ, format="fltp", layout="stereo")
    tempo, sink = graph.add("atempo", f"{speed:.5f}"), graph.add("abuffersink")
    source.link_to(tempo)
    tempo.link_to(sink)
    graph.configure()
    for start in range(0, samples.shape[1], BLOCK_SAMPLES):
        block = np.ascontiguousarray(samples[:, start : start + BLOCK_SAMPLES])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = RATE_HZ, start
        graph.push(frame)
        parts += _pull(graph)
    graph.push(None)
    parts += _pull(graph)
    return np.concatenate(parts).reshape(-1, 2).T


def _pull(graph: av.filter.Graph) -> list[np.ndarray]:
    """What a filter has ready, interleaved."""
    ready = []
    while True:
        try:
            ready.append(graph.pull().to_ndarray().ravel())
        except (av.error.BlockingIOError, av.error.EOFError):
            return ready


def find_drum_tracks(names: list[str], stored: list[np.ndarray], asked: list[np.ndarray]) -> dict:
    """The share of mixes that find the drum track of their song first, where no mix is stored."""
    mixes = [name for name in names if name.endswith(MIX) and name.removesuffix(MIX) + DRUM_TRACK in names]
    wanted = [names.index(name.removesuffix(MIX) + DRUM_TRACK) for name in mixes]
    others = [place for place, name in enumerate(names) if not name.endswith(MIX) and place not in wanted]
    queries = [asked[names.index(name)] for name in mixes] + [asked[place] for place in others]
    ranks, _ = rank([stored[place] for place in wanted + others], queries)
    ranks = ranks[: len(mixes)]
    return {
        "mixes": len(mixes),
        "stored": len(wanted) + len(others),
        "share_at_rank_1": round(float(np.mean(ranks == 1)), 4),
        "share_to_rank_5": round(float(np.mean(ranks <= 5)), 4),
    }


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1])), indent=1))

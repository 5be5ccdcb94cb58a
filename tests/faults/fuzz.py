"""Mutated audio files through the whole command: no crash of a run, no wrong row. Part of `make soak`.

    python -m tests.faults.fuzz [FILES] [SEED]

Short clips in every format that FFmpeg writes are broken at random (bits, bytes, lengths, pieces cut out, doubled or
taken from another format) and ingested by `midime ingest`, a thousand at a time. After each thousand the lake must
verify, keep the rules of tests/faults/rules.py, and account for every file.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np

import catalog
from tests.faults.rules import find_broken_rules

BATCH = 1_000
RATE_HZ = 48_000
FORMATS = {
    "wav": "pcm_s16le", "w64": "pcm_s24le", "aiff": "pcm_s16be", "au": "pcm_mulaw", "caf": "pcm_f32le",
    "flac": "flac", "ogg": "vorbis", "opus": "libopus", "mp3": "libmp3lame", "m4a": "aac", "mp4": "alac",
    "aac": "aac", "ac3": "ac3", "wma": "wmav2", "wv": "wavpack", "tta": "tta", "mka": "flac", "mp2": "mp2",
}  # fmt: skip
CONTAINERS = {"m4a": "ipod", "wma": "asf", "aac": "adts", "mka": "matroska"}
ODD_VALUES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\x01", b"%s%n", b"\r\n\0")


def make_clips() -> dict[str, bytes]:
    """A second of hits and a chord in every format, by extension."""
    time_s = np.arange(RATE_HZ) / RATE_HZ
    decay = np.exp(-(time_s % 0.25) * 30)
    noise = np.random.default_rng(1).standard_normal(RATE_HZ)
    wave = 0.2 * decay * noise + 0.2 * np.sin(2 * np.pi * 220 * time_s) + 0.1 * np.sin(2 * np.pi * 330 * time_s)
    samples = np.stack([wave, wave]).astype(np.float32)
    with TemporaryDirectory() as scratch:
        return {suffix: _encode(Path(scratch) / f"clip.{suffix}", samples, codec) for suffix, codec in FORMATS.items()}


def _encode(path: Path, samples: np.ndarray, codec: str) -> bytes:
    with av.open(str(path), "w", format=CONTAINERS.get(path.suffix[1:])) as output:
        output.metadata.update({"title": "A clip", "artist": "Nobody", "genre": "Test"})
        stream = output.add_stream(codec, rate=RATE_HZ, layout="stereo", options={"strict": "-2"})
        stream.bit_rate = 128_000
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path.read_bytes()


def mutate(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """Break a file in one to eight ways; half of the changes fall into its first 512 bytes."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 9)):
        reach = min(len(changed), 512) if random.random() < 0.5 else len(changed)
        at = int(random.integers(0, max(1, reach)))
        length = int(random.integers(1, 2 + int(random.choice([4, 64, 4096]))))
        match random.integers(0, 8):
            case 0:
                changed[at : at + 1] = bytes([changed[at] ^ 1 << random.integers(0, 8)]) if changed else b""
            case 1:
                changed[at : at + length] = random.bytes(length)
            case 2:
                value = ODD_VALUES[random.integers(0, len(ODD_VALUES))]
                changed[at : at + len(value)] = value
            case 3:
                del changed[at : at + length]
            case 4:
                changed[at:at] = changed[at : at + length]
            case 5:
                start = int(random.integers(0, len(other)))
                changed[at : at + length] = other[start : start + length]
            case 6:
                changed[at : at + length] = bytes(length)
            case 7 if random.random() < 0.3:
                del changed[at:]
    return bytes(changed)


def run(files: int = 20_000, seed: int = 1) -> dict:
    """Ingest so many mutated files.

    Returns:
        What became of them, and each broken promise in a sentence.
    """
    clips, random = make_clips(), np.random.default_rng(seed)
    suffixes, outcomes, problems, seconds = list(clips), Counter(), [], time.monotonic()
    done = 0
    while done < files:
        count = min(BATCH, files - done)
        with TemporaryDirectory() as scratch:
            folder, lake = Path(scratch) / "mutants", Path(scratch) / "lake"
            folder.mkdir()
            for index in range(count):
                suffix, other = random.choice(suffixes, 2)
                (folder / f"{index:05d}.{suffix}").write_bytes(mutate(clips[suffix], clips[other], random))
            problems += [f"seed {seed}, files from {done}: {text}" for text in _ingest(folder, lake, count, outcomes)]
        done += count
        print(f"{done} files: {dict(outcomes)}, {len(problems)} problems", file=sys.stderr, flush=True)
    return {
        "files": done,
        "seed": seed,
        "outcomes": dict(outcomes.most_common()),
        "problems": problems,
        "minutes": round((time.monotonic() - seconds) / 60, 1),
    }


def _ingest(folder: Path, lake: Path, count: int, outcomes: Counter) -> list[str]:
    command = [sys.executable, "-m", "flows.cli", "ingest", str(folder), "--lake", str(lake), "--stems", "none"]
    settings = {"MIDIME_TRACK_TIMEOUT_S": "60", "MIDIME_MAX_REJECT_SHARE": "1"}
    environment = {**os.environ, "PREFECT_HOME": str(folder.parent / "prefect"), **settings}
    ended = subprocess.run([*command, "--workers", "1", "--json"], env=environment, capture_output=True, text=True)
    if ended.returncode:
        return [f"the run ended with {ended.returncode}: {ended.stderr[-300:]}"]
    summary = json.loads(ended.stdout)
    parts = {name: summary[f"files_{name}"] for name in ("new", "duplicate", "rejected", "failed")}
    outcomes.update({"taken": parts["new"], "duplicate": parts["duplicate"]})
    outcomes.update(reject["reason"] for reject in summary["rejects"])
    problems = [] if sum(parts.values()) == count else [f"{parts} are not {count} files"]
    problems += [
        f"{reject['reason']} in {reject['stage']}: {reject['message']}"
        for reject in summary["rejects"]
        if reject["reason"] in ("crash", "timeout", "internal_error", "out_of_memory")
    ]
    with catalog.connect(lake) as connection:
        problems += find_broken_rules(connection)
    with catalog.lake.Lake.open(lake) as opened:
        problems += opened.verify()
    return problems


if __name__ == "__main__":
    figures = run(*map(int, sys.argv[1:3]))
    print(json.dumps(figures, indent=1))
    sys.exit(bool(figures["problems"]))

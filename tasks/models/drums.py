"""Transcribes drums with a small network on ONNX Runtime. How it was made is in training/ and in the card drums.md.

From spectrograms to hits; peak picking and the names of the instruments are in tasks/music/drums.py, what levels say of
velocities in tasks/music/velocities.py.
"""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np

from tasks.models.runtime import open_session
from tasks.music.drums import (
    INSTRUMENTS,
    NO_HITS,
    Hits,
    PeakParams,
    doubt_lone_cymbals,
    drop_stray_hits,
    measure_presence,
    pick_faint_hits,
    pick_hits,
)
from tasks.music.drums import VERSION as PEAKS_VERSION
from tasks.music.signals import HOP_S, MEL_BANDS, LogMel, Piece, PieceStream, measure_energy
from tasks.music.velocities import VERSION as LEVELS_VERSION
from tasks.music.velocities import measure_band_energy, weigh_levels

BACKEND = "drumnet-4"
VERSION = f"{BACKEND}+{PEAKS_VERSION}+{LEVELS_VERSION}"
# In the place of those that came with the weights. Of the least sure toms in a mixture most are another instrument's, a
# bass above all; rides are heard less surely than they are right.
THRESHOLDS = {"tom": 0.6, "crash": 0.3, "ride": 0.25}
PIECE_FRAMES = 2_000  # 20 s: what is in memory besides the spectrograms does not grow with the track
_WEIGHTS_PATH = Path(__file__).with_name("drums.onnx")


@lru_cache(maxsize=4)
def load_transcriber(threads: int = 1) -> "DrumTranscriber":
    """The network, loaded once a process for each number of threads."""
    return DrumTranscriber(open_session(_WEIGHTS_PATH, threads))


class DrumTranscriber:
    """A loaded network.

    Attributes:
        classes: The names of the rows of the activations.
        params: The thresholds of `INSTRUMENTS`: those that came with the weights, but for `THRESHOLDS`.
        context_frames: What the network sees on either side of a frame.
    """

    def __init__(self, session) -> None:
        self._session = session
        metadata = session.get_modelmeta().custom_metadata_map
        self.classes = tuple(metadata["instruments"].split(","))
        thresholds = dict(zip(self.classes, map(float, metadata["thresholds"].split(",")), strict=True)) | THRESHOLDS
        self.params = PeakParams(tuple(thresholds[name] for name in INSTRUMENTS))
        self.context_frames = int(metadata["context_frames"])

    def transcribe(self, mixture: LogMel, drums: LogMel | None = None) -> Hits:
        """Find the hits of a track.

        Args:
            mixture: The spectrogram of the whole music.
            drums: The spectrogram of the drum stem, as long as the mixture's; without it the mixture takes its place.

        Returns:
            Hits of `INSTRUMENTS`; none for silence, few for music without drums.

        Raises:
            ValueError: The two spectrograms differ in length.
        """
        stream = self.stream(separated=drums is not None)
        stream.push(mixture, mixture if drums is None else drums)
        return stream.finish()

    def stream(self, separated: bool = True) -> "DrumStream":
        """A fresh stream for one track; `separated` where it will be given a drum stem."""
        return DrumStream(self, separated)

    def activate(self, piece: Piece) -> np.ndarray:
        """Run the network on a piece of both spectrograms, (2, bands, frames).

        Returns:
            Activations and velocities of the piece without what surrounds it, float32 (2, classes, frames), 0 to 1.
        """
        log_mel = np.ascontiguousarray(piece.values.transpose(0, 2, 1)[None])
        outputs = self._session.run(["activations", "velocities"], {"log_mel": log_mel})
        return np.stack(outputs)[:, :, piece.start : piece.end]


class DrumStream:
    """Transcribes a track whose spectrograms arrive in parts; the hits are those of the whole.

    Attributes:
        faint_hits: After `finish`, everything that may be a hit, as `pick_faint_hits` gives it.
    """

    def __init__(self, transcriber: DrumTranscriber, separated: bool = True) -> None:
        self.faint_hits = NO_HITS
        self._separated = separated
        self._transcriber = transcriber
        self._rows = [transcriber.classes.index(name) for name in INSTRUMENTS]
        # Pieces overlap by what a frame sees on either side, so that no border shows.
        self._pieces = PieceStream(PIECE_FRAMES, transcriber.context_frames)
        self._waiting = [np.zeros((MEL_BANDS, 0), np.float32)] * 2
        self._outputs = [np.zeros((2, len(INSTRUMENTS), 0), np.float32)]
        self._energy = [np.zeros((len(INSTRUMENTS), 0), np.float32)]
        self._total_energy = [np.zeros((2, 0), np.float32)]

    def push(self, mixture: LogMel, drums: LogMel) -> None:
        """Take the next frames of both; one of them may run ahead."""
        arrived = zip(self._waiting, (mixture.values, drums.values), strict=True)
        both = [np.concatenate(parts, axis=1) for parts in arrived]
        frames = min(values.shape[1] for values in both)
        self._waiting = [values[:, frames:].copy() for values in both]
        arrived = np.stack([values[:, :frames] for values in both])
        energy = measure_energy(arrived)
        self._energy.append(measure_band_energy(energy[1]))
        self._total_energy.append(energy.sum(axis=1))
        self._take(self._pieces.push(arrived))

    def finish(self) -> Hits:
        """The hits of everything pushed; the stream is spent.

        Raises:
            ValueError: The two spectrograms differ in length.
        """
        ahead, behind = (values.shape[1] for values in self._waiting)
        if ahead or behind:
            raise ValueError(f"The mixture has {ahead} frames and the drum stem {behind} that the other has not.")
        self._take(self._pieces.finish())
        activations, velocities = np.concatenate(self._outputs, axis=2)
        energy = np.concatenate(self._energy, axis=1)
        self.faint_hits = weigh_levels(pick_faint_hits(activations, velocities), energy)
        hits = pick_hits(activations, velocities, INSTRUMENTS, self._transcriber.params, HOP_S)
        presence = measure_presence(*np.concatenate(self._total_energy, axis=1), hits.time_s)
        kept = drop_stray_hits(hits, activations.shape[1] * HOP_S, presence if self._separated else None)
        return weigh_levels(doubt_lone_cymbals(kept), energy)

    def _take(self, pieces: Iterable[Piece]) -> None:
        self._outputs += [self._transcriber.activate(piece)[:, self._rows] for piece in pieces]

"""Transcribes drums with a small network on ONNX Runtime. How it was made is in training/ and in the card drums.md.

From spectrograms to hits; peak picking and the names of the instruments are in tasks/music/drums.py.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

from tasks.music.drums import INSTRUMENTS, Hits, PeakParams, drop_stray_hits, pick_hits
from tasks.music.drums import VERSION as PEAKS_VERSION
from tasks.music.signals import LogMel

BACKEND = "drumnet-1"
VERSION = f"{BACKEND}+{PEAKS_VERSION}"
PIECE_FRAMES = 6_000  # a minute: what is in memory besides the spectrograms does not grow with the track
_WEIGHTS_PATH = Path(__file__).with_name("drums.onnx")


@lru_cache(maxsize=4)
def load_transcriber(threads: int = 1) -> "DrumTranscriber":
    """The network, loaded once a process for each number of threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return DrumTranscriber(onnxruntime.InferenceSession(_WEIGHTS_PATH, options, providers=["CPUExecutionProvider"]))


class DrumTranscriber:
    """A loaded network.

    It was trained to tell toms, crashes and rides from the rest too, but they do not hold on real music: only
    `INSTRUMENTS` become hits.

    Attributes:
        classes: The names of the rows of the activations.
        params: The thresholds of `INSTRUMENTS`, which came with the weights.
    """

    def __init__(self, session) -> None:
        self._session = session
        metadata = session.get_modelmeta().custom_metadata_map
        self.classes = tuple(metadata["instruments"].split(","))
        thresholds = dict(zip(self.classes, map(float, metadata["thresholds"].split(",")), strict=True))
        self.params = PeakParams(tuple(thresholds[name] for name in INSTRUMENTS))
        self._context_frames = int(metadata["context_frames"])

    def transcribe(self, mixture: LogMel, drums: LogMel | None = None) -> Hits:
        """Find the hits of a track.

        Args:
            mixture: The spectrogram of the whole music.
            drums: The spectrogram of the drum stem, as long as the mixture's; without it the mixture takes its place.

        Returns:
            Hits of kick, snare and hi-hat; none for silence, few for music without drums.

        Raises:
            ValueError: The two spectrograms differ in length.
        """
        drums = mixture if drums is None else drums
        if drums.frames != mixture.frames:
            raise ValueError(f"The drum stem has {drums.frames} frames and the mixture {mixture.frames}.")
        rows = [self.classes.index(name) for name in INSTRUMENTS]
        activations, velocities = (output[rows] for output in self.activate(mixture.values, drums.values))
        hits = pick_hits(activations, velocities, INSTRUMENTS, self.params, mixture.hop_s)
        return drop_stray_hits(hits, mixture.duration_s)

    def activate(self, mixture: np.ndarray, drums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run the network in pieces that overlap by what a frame sees on either side, so that no border shows.

        Args:
            mixture, drums: float32 (bands, frames).

        Returns:
            Activations and velocities, float32 (classes, frames), 0 to 1.
        """
        frames, context = mixture.shape[1], self._context_frames
        outputs = np.zeros((2, len(self.classes), frames), np.float32)
        for start in range(0, frames, PIECE_FRAMES):
            end = min(frames, start + PIECE_FRAMES)
            first, last = max(0, start - context), min(frames, end + context)
            piece = np.stack([mixture[:, first:last].T, drums[:, first:last].T])[None]
            results = self._session.run(["activations", "velocities"], {"log_mel": np.ascontiguousarray(piece)})
            outputs[:, :, start:end] = np.stack(results)[:, :, start - first : end - first]
        return outputs[0], outputs[1]

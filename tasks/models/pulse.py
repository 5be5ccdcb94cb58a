"""The pulse network: how much each moment sounds like a beat, a downbeat, and which meter it is in.

Small temporal convolutional networks of our own, joined in pulse.onnx. tasks/models/training/README.md tells how they
were made; tasks/music/beats.py decides what follows from what they hear.
"""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np

from tasks.models.runtime import open_session
from tasks.music import beats
from tasks.music.beats import BeatParams, Rhythm, track_beats
from tasks.music.key import Chroma
from tasks.music.meter import METERS
from tasks.music.onsets import NO_ONSETS, Onsets, compute_flux, detect_onsets
from tasks.music.pulse import TEMPI_BPM, Pulse, blend_pulses
from tasks.music.signals import HOP_S, MEL_BANDS, LogMel, Piece, PieceStream

BACKEND = "pulse-tcn-7"
VERSION = f"{BACKEND}+{beats.VERSION}"

_WEIGHTS_PATH = Path(__file__).with_name("pulse.onnx")
_CHUNK_FRAMES = 6_000  # of the spectrogram: bounds memory
_CONTEXT_FRAMES = 2_000  # heard on both sides of a chunk and thrown away


def hear_rhythm(
    mixture: LogMel, drums: LogMel | None = None, chroma: Chroma | None = None, params: BeatParams = BeatParams()
) -> Rhythm:
    """Find the beats, the bars and the tempo.

    Args:
        mixture: The spectrogram of the whole track.
        drums: That of its drum stem, where there is one; it has the same frames.
        chroma: Of the whole track, whose changes say where bars begin; None leaves that to the network.
        params: The models.

    Returns:
        The rhythm; without beats for silence, noise, speech and anything shorter than a few beats.
    """
    drum_pulse = None if drums is None else hear_pulse(drums)
    struck = mixture if drums is None else drums
    flux, onsets = compute_flux(struck), detect_onsets(struck)
    return combine_pulses(hear_pulse(mixture), drum_pulse, flux, chroma, params, onsets)


def combine_pulses(
    mixture: Pulse,
    drums: Pulse | None,
    flux: np.ndarray,
    chroma: Chroma | None = None,
    params: BeatParams = BeatParams(),
    onsets: Onsets = NO_ONSETS,
) -> Rhythm:
    """The rhythm of a mixture and, where there is one, its drum stem; a silent stem has no say.

    Args:
        mixture, drums: What the network heard in each; they have the same frames.
        flux: Of the drums, or of the mixture without them; float32 (frames,) at HOP_S.
        chroma: Of the mixture.
        params: The models.
        onsets: Of the drums, or of the mixture without them.
    """
    heard = mixture if drums is None or not flux.any() else blend_pulses(mixture, drums, params.drums_weight)
    return track_beats(heard, flux, chroma, params, onsets)


def hear_pulse(mel: LogMel) -> Pulse:
    """Run the network over a spectrogram, in chunks, on one thread.

    Args:
        mel: Any sound, at the frame rate of `LogMel`.

    Returns:
        One frame for every two of the spectrogram; without frames, arrays of length 0.
    """
    if abs(mel.hop_s - HOP_S) > 1e-9:
        raise ValueError(f"The pulse network is trained on frames every {HOP_S} s; these come every {mel.hop_s} s.")
    stream = PulseStream()
    stream.push(mel)
    return stream.finish()


class PulseStream:
    """Runs the network over a spectrogram that arrives in parts; what it hears is that of the whole."""

    def __init__(self) -> None:
        self._pieces = PieceStream(_CHUNK_FRAMES, _CONTEXT_FRAMES)
        self._parts = [_to_pulse(np.zeros((2 + len(METERS) + len(TEMPI_BPM), 0), np.float32))]

    def push(self, mel: LogMel) -> None:
        """Take frames at HOP_S."""
        self._hear(self._pieces.push(mel.values))

    def finish(self) -> Pulse:
        """One frame for every two of the spectrogram; the stream is spent."""
        self._hear(self._pieces.finish())
        fields = ("beat", "downbeat", "meter", "tempo")
        return Pulse(*(np.concatenate([getattr(part, name) for part in self._parts], axis=-1) for name in fields))

    def _hear(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            chances = _load_network().run(None, {"mel": np.ascontiguousarray(piece.values[None], np.float32)})[0][0]
            self._parts.append(_to_pulse(chances[:, piece.start // 2 : (piece.end + 1) // 2]))


def _to_pulse(chances: np.ndarray) -> Pulse:
    """The rows of what the network says, (2 + meters + tempi, frames)."""
    meter, tempo = chances[2 : 2 + len(METERS)], chances[2 + len(METERS) :]
    return Pulse(chances[0], chances[1], meter, tempo.astype(np.float16))


@lru_cache(maxsize=1)
def _load_network():
    session = open_session(_WEIGHTS_PATH)
    assert session.get_inputs()[0].shape[1] == MEL_BANDS
    return session

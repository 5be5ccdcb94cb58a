"""The pulse network: how much each moment sounds like a beat, a downbeat, and which meter it is in.

A small temporal convolutional network of our own. tasks/models/training/train_pulse.py makes its weights (pulse.onnx)
and says from what; tasks/music/beats.py decides what follows from what it hears.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

from tasks.music import beats
from tasks.music.beats import BeatParams, Pulse, Rhythm, blend_pulses, track_beats
from tasks.music.meter import METERS
from tasks.music.signals import HOP_S, MEL_BANDS, LogMel

BACKEND = "pulse-tcn-1"
VERSION = f"{BACKEND}+{beats.VERSION}"

_WEIGHTS_PATH = Path(__file__).with_name("pulse.onnx")
_CHUNK_FRAMES = 6_000  # of the spectrogram: bounds memory
_CONTEXT_FRAMES = 2_000  # heard on both sides of a chunk and thrown away


def hear_rhythm(mixture: LogMel, drums: LogMel | None = None, params: BeatParams = BeatParams()) -> Rhythm:
    """Find the beats, the bars and the tempo.

    Args:
        mixture: The spectrogram of the whole track.
        drums: That of its drum stem, where there is one; it has the same frames.
        params: The models.

    Returns:
        The rhythm; without beats for silence, noise, speech and anything shorter than a few beats.
    """
    pulse = hear_pulse(mixture)
    if drums is None:
        return track_beats(pulse, mixture, params)
    if drums.values.any():
        pulse = blend_pulses(pulse, hear_pulse(drums), params.drums_weight)
    return track_beats(pulse, drums, params)


def hear_pulse(mel: LogMel) -> Pulse:
    """Run the network over a spectrogram, in chunks, on one thread.

    Args:
        mel: Any sound, at the frame rate of `LogMel`.

    Returns:
        One frame for every two of the spectrogram; without frames, arrays of length 0.
    """
    if abs(mel.hop_s - HOP_S) > 1e-9:
        raise ValueError(f"The pulse network is trained on frames every {HOP_S} s; these come every {mel.hop_s} s.")
    network = _load_network()
    parts = [np.zeros((2 + len(METERS), 0), np.float32)]
    for start in range(0, mel.frames, _CHUNK_FRAMES):
        stop = min(start + _CHUNK_FRAMES, mel.frames)
        first = max(0, start - _CONTEXT_FRAMES)
        heard = mel.values[None, :, first : stop + _CONTEXT_FRAMES]
        logits = network.run(None, {"mel": np.ascontiguousarray(heard, np.float32)})[0][0]
        parts.append(logits[:, (start - first) // 2 : (stop - first + 1) // 2])
    logits = np.concatenate(parts, axis=1)
    beat, downbeat = 1.0 / (1.0 + np.exp(-logits[:2]))
    meter = np.exp(logits[2:] - logits[2:].max(axis=0, keepdims=True))
    return Pulse(beat, downbeat, meter / meter.sum(axis=0, keepdims=True))


@lru_cache(maxsize=1)
def _load_network():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(_WEIGHTS_PATH, options, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape[1] == MEL_BANDS
    return session

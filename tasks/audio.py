"""Audio files in, blocks of samples out, and back: the only module that opens audio.

Decoding goes through PyAV (FFmpeg inside the wheel), writing through soundfile. A file is handed to FFmpeg as a stream
of bytes without a name: its content alone decides what it is, nothing in a name or a play list can make FFmpeg open
anything else, and the same bytes always give the same samples. Whatever is wrong with a file leaves here as a
`TrackError`. What the samples mean is decided in tasks/music.

Time 0 is the first sample after the encoder's leading delay. FFmpeg removes that delay where the file tells it: the
LAME/Xing header of MP3, the edit list of M4A, the pre-skip of Opus, the granule positions of Vorbis. An MP3 without
that header starts 1105 samples (25 ms) late, raw ADTS AAC at least 1024 samples, and Windows Media tells nothing.
Packets that do not decode are left out, not replaced by silence; a chained Ogg stream ends where its rate changes.
"""

import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np

from catalog.file_record import hash_file
from tasks.errors import (
    BadSamples,
    CorruptAudio,
    DiskFull,
    LongSignal,
    NoAudioStream,
    NotAudio,
    ProtectedAudio,
    RejectedInput,
    ShortSignal,
    StageFailed,
    UnsupportedCodec,
)
from tasks.filetypes import AUDIO_EXTENSIONS, ByteStream, announces_audio, is_candidate, is_encrypted
from tasks.music.signals import SAMPLE_RATE_HZ, Signal
from tasks.unnamed import UnnamedFile

__all__ = [
    "AUDIO_EXTENSIONS",
    "SAMPLE_RATE_HZ",
    "VERSION",
    "AudioInfo",
    "DecodeLimits",
    "FlacWriter",
    "decode_blocks",
    "is_candidate",
    "probe_audio",
    "read_audio",
    "round_to_16_bits",
    "write_audio",
]

VERSION = "pyav-1"

# FFmpeg demuxers of self-contained audio and video files: no play lists, pictures, subtitles, devices or scripts.
CONTAINERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,iff,loas,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,nut,ogg,"
    "oma,rm,shn,tak,truehd,tta,voc,w64,wav,wv,xwma"
)

TAG_LIMIT = 200  # characters
LOUD_PEAK = 8.0  # 18 dB above full scale: beyond any mastering, so the scale itself is wrong
MAX_CHANNELS = 64
RATES_HZ = range(2_000, 3_072_001)  # from old voice recordings to DSD512, counted in bytes; beyond, a header lies
LEAST_FREE_BYTES = 1 << 20  # a write that failed with less room than this failed for want of room
LEAST_BYTES_PER_S = 16  # of a header's claim; digital silence in FLAC takes about 150


@dataclass(frozen=True)
class DecodeLimits:
    """What a track may be.

    Attributes:
        min_duration_s: Shorter than one analysis window is no track.
        max_duration_s: Longest stretch that is decoded in one call.
        max_failed_ratio: Share of packets that may fail before the file counts as corrupt.
    """

    min_duration_s: float = 0.05
    max_duration_s: float = 6 * 3600.0
    max_failed_ratio: float = 0.5


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a file says. Tags are cleaned, never trusted.

    Attributes:
        codec: FFmpeg's name of the codec ("mp3", "pcm_s16le").
        container: FFmpeg's name of the container ("mp3", "wav", "mov" for all of MP4).
        duration_s: As the header claims or FFmpeg estimates; None if unknown.
    """

    codec: str
    container: str
    sample_rate_hz: int
    channels: int
    duration_s: float | None
    title: str | None
    artist: str | None
    album: str | None
    genre_tag: str | None


def probe_audio(path: Path) -> AudioInfo:
    """Read the header and the tags of a file.

    Raises:
        RejectedInput: The kind that names the file's fault.
    """
    with _open_source(path) as source:
        context = source.stream.codec_context
        return AudioInfo(
            codec=context.codec.canonical_name,
            container=source.container.format.name.partition(",")[0],
            sample_rate_hz=context.sample_rate,
            channels=context.channels,
            duration_s=source.claimed_duration_s,
            **_read_tags(source),
        )


def decode_blocks(
    path: Path,
    start_s: float = 0.0,
    end_s: float | None = None,
    block_s: float = 10.0,
    limits: DecodeLimits = DecodeLimits(),
) -> Iterator[np.ndarray]:
    """Decode a file, or the stretch [start_s, end_s), in blocks; memory does not grow with its length.

    Mono is given to both channels, more than two channels are down-mixed by FFmpeg's matrix, normalised so that the mix
    cannot exceed full scale. The start is found by decoding and skipping: exact to the sample in every format. Samples
    more than 18 dB above full scale are taken for another scale and divided by the power of two that brings the peak of
    their block below 1; the divisor stays for the rest of the track and only ever grows.

    Yields:
        float32 (2, n) at SAMPLE_RATE_HZ, n = block_s · SAMPLE_RATE_HZ but for the last.

    Raises:
        RejectedInput: The kind that names the file's fault; what decodes of a damaged file is given without an error,
            unless most packets fail. It may come after the first blocks.
        ValueError: The stretch is empty.
    """
    if start_s < 0 or (end_s is not None and end_s <= start_s):
        raise ValueError(f"The stretch from {start_s} s to {end_s} s is empty.")
    with _open_source(path) as source:
        _refuse_claim(source, start_s, end_s, limits)
        cutter = _BlockCutter(start_s, end_s, block_s, limits.max_duration_s)
        level = _Level()
        for samples in _decode_samples(source, limits):
            for block in cutter.push(samples):
                yield level.adjust(block)
            if cutter.is_done:
                break
        rest = cutter.finish()
        if cutter.samples_kept < limits.min_duration_s * SAMPLE_RATE_HZ:
            raise ShortSignal(_describe_short(cutter, start_s, limits))
        if rest.shape[1]:
            yield level.adjust(rest)


def read_audio(path: Path, start_s: float = 0.0, end_s: float | None = None) -> Signal:
    """Decode a short file or stretch into memory; see `decode_blocks`."""
    return Signal(np.concatenate(list(decode_blocks(path, start_s, end_s)), axis=1))


class FlacWriter:
    """Writes blocks as 16-bit stereo FLAC; the file appears under its name complete, or not at all.

        with FlacWriter(folder) as writer:
            writer.push(block)
            sha256 = writer.finish()
            writer.commit(folder / f"drums.{sha256[:12]}.flac")

    Samples beyond full scale are clipped. Leaving the context without `commit` removes everything.

    Raises:
        StageFailed: The folder cannot be written to.
        DiskFull: There is no room.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = Path(folder)
        self._unnamed = UnnamedFile(folder)
        self._file = None

    def __enter__(self) -> Self:
        with _write_errors(self._folder):
            self._unnamed.__enter__()
            self._file = _encode_into(self._unnamed, "FLAC", channels=2)
        return self

    def push(self, block: np.ndarray) -> None:
        """Take samples float32 (2, n)."""
        with _write_errors(self._folder):
            self._file.write(_to_int16(block).T)

    def finish(self) -> str:
        """Write what is left; the SHA-256 of the file."""
        with _write_errors(self._folder):
            self._file.close()
            return hash_file(self._unnamed.path)

    def commit(self, path: Path) -> None:
        """Give the finished file its name, replacing what was there; `path` lies in the folder."""
        with _write_errors(self._folder):
            self._file.close()
            self._unnamed.give_name(path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError, RuntimeError):
            self._file.close()
        self._unnamed.__exit__(kind, error, traceback)


def round_to_16_bits(samples: np.ndarray) -> np.ndarray:
    """Samples as a FLAC file of `FlacWriter` gives them back, float32 of the same shape."""
    return _to_int16(samples).astype(np.float32) / np.float32(32_768)


def write_audio(path: Path, signal: Signal, max_duration_s: float | None = None) -> None:
    """Write a signal as WAV, FLAC, OGG (Vorbis) or MP3, by the suffix; at most its first `max_duration_s` seconds.

    Raises:
        ValueError: Another suffix.
        StageFailed: The file cannot be written.
    """
    path = Path(path)
    formats = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".mp3": "MP3"}
    if path.suffix.lower() not in formats:
        raise ValueError(f"Cannot write {path.suffix or 'a file without a suffix'}: use one of {', '.join(formats)}.")
    rate_hz = signal.sample_rate_hz
    count = signal.samples.shape[1] if max_duration_s is None else int(max_duration_s * rate_hz)
    frames = _to_int16(signal.samples[:, :count]).T
    with _write_errors(path.parent), UnnamedFile(path.parent) as unnamed:
        with _encode_into(unnamed, formats[path.suffix.lower()], frames.shape[1], rate_hz) as file:
            for start in range(0, len(frames), rate_hz):  # libvorbis overflows the stack on long writes
                file.write(frames[start : start + rate_hz])
        unnamed.give_name(path)


@dataclass(frozen=True)
class _Source:
    """An open file: its container and the audio stream that is taken."""

    container: av.container.InputContainer
    stream: av.AudioStream
    size_bytes: int

    @property
    def claimed_duration_s(self) -> float | None:
        if self.stream.duration and self.stream.time_base:
            duration_s = float(self.stream.duration * self.stream.time_base)
        else:
            duration_s = (self.container.duration or 0) / av.time_base
        return duration_s if duration_s > 0 else None


@contextmanager
def _open_source(path: Path) -> Iterator[_Source]:
    """Open a file for decoding; every fault found here or inside the context leaves as a `TrackError`."""
    with ByteStream(path) as file:
        try:
            if is_encrypted(file):
                raise ProtectedAudio("The audio is encrypted (DRM).")
            with av.open(
                file,
                mode="r",
                container_options={"format_whitelist": CONTAINERS, "protocol_whitelist": "none"},
                metadata_errors="replace",
            ) as container:
                yield _Source(container, _choose_stream(container), file.size_bytes)
            file.raise_read_error()
        except RejectedInput:
            file.raise_read_error()
            raise
        except MemoryError:  # FFmpeg's is one of both kinds, and says nothing about the file
            raise
        except (av.FFmpegError, UnicodeError, OverflowError) as error:
            file.raise_read_error()
            raise _explain(error, file) from error


def _choose_stream(container: av.container.InputContainer) -> av.AudioStream:
    if not container.streams.audio:
        raise NoAudioStream(f"The {container.format.name.partition(',')[0]} file has no audio stream.")
    stream = container.streams.best("audio") or container.streams.audio[0]
    context = stream.codec_context
    if context is None:
        raise UnsupportedCodec("No decoder is available for the codec of the audio stream.")
    if context.sample_rate not in RATES_HZ or not 0 < context.channels <= MAX_CHANNELS:
        raise CorruptAudio(f"The header claims {context.channels} channels at {context.sample_rate} Hz.")
    context.thread_count = 1
    return stream


def _explain(error: Exception, file: ByteStream) -> Exception:
    """The `TrackError` for what FFmpeg raised."""
    if isinstance(error, av.error.PatchWelcomeError | av.error.DecoderNotFoundError):
        return UnsupportedCodec("FFmpeg knows the format and cannot decode it.")
    if announces_audio(file.peek_at(0, 12)):
        return CorruptAudio("The file begins like audio and its header cannot be decoded.")
    return NotAudio("The content is not a known audio format.")


def _decode_samples(source: _Source, limits: DecodeLimits) -> Iterator[np.ndarray]:
    """Every frame that decodes, as float32 (2, n) at SAMPLE_RATE_HZ.

    Packets that fail are passed over: an MP3 appended to another has a header frame in the middle.
    """
    converter = None
    packets = failed = 0
    for packet in _demux(source):
        packets += 1
        try:
            frames = packet.decode()
        except MemoryError:
            raise
        except av.FFmpegError:
            failed += 1
            continue
        for frame in frames:
            if converter is None or not converter.fits(frame):
                if converter is not None:
                    yield from converter.finish()
                converter = _Converter(frame)
            yield from converter.push(frame)
    if converter is not None:
        yield from converter.finish()
    if failed > limits.max_failed_ratio * packets or (failed and converter is None):
        raise CorruptAudio(f"{failed} of {packets} packets of audio cannot be decoded.")


def _demux(source: _Source) -> Iterator[av.Packet]:
    """The packets up to the end or to the first fault of the container: a cut file gives what is there."""
    packets = source.container.demux(source.stream)
    while True:
        try:
            yield next(packets)
        except (StopIteration, av.FFmpegError):
            return


class _Converter:
    """Turns frames of one format into float32 (2, n) at SAMPLE_RATE_HZ by FFmpeg's resampler."""

    def __init__(self, frame: av.AudioFrame) -> None:
        self._format = self._describe(frame)
        sample_format, layout, rate_hz = self._format
        self._is_mono = frame.layout.nb_channels == 1
        graph = av.filter.Graph()
        try:
            source = graph.add_abuffer(
                sample_rate=rate_hz, format=sample_format, layout=layout, time_base=Fraction(1, rate_hz)
            )
            # FFmpeg turns mono into stereo at -3 dB, so mono stays mono here and is doubled below.
            resample = graph.add(
                "aresample",
                f"osr={SAMPLE_RATE_HZ}:osf=fltp:ochl={'mono' if self._is_mono else 'stereo'}:rematrix_maxval=1",
            )
            # One array a second instead of one a frame: frames are as short as 64 samples.
            join = graph.add("asetnsamples", f"n={SAMPLE_RATE_HZ}:p=0")
            sink = graph.add("abuffersink")
            source.link_to(resample)
            resample.link_to(join)
            join.link_to(sink)
            graph.configure()
        except (av.FFmpegError, ValueError, ZeroDivisionError) as error:
            raise UnsupportedCodec(f"Audio of {layout} at {rate_hz} Hz cannot be converted to stereo.") from error
        self._graph = graph
        self._samples_inside = 0

    def fits(self, frame: av.AudioFrame) -> bool:
        return self._describe(frame) == self._format

    def push(self, frame: av.AudioFrame) -> Iterator[np.ndarray]:
        frame.pts = None
        self._graph.push(frame)
        self._samples_inside += frame.samples
        if self._samples_inside >= frame.sample_rate:
            self._samples_inside = 0
            yield from self._pull()

    def finish(self) -> Iterator[np.ndarray]:
        self._graph.push(None)
        yield from self._pull()

    def _pull(self) -> Iterator[np.ndarray]:
        while True:
            try:
                samples = self._graph.pull().to_ndarray()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            yield np.repeat(samples, 2, axis=0) if self._is_mono else samples

    @staticmethod
    def _describe(frame: av.AudioFrame) -> tuple[str, str, int]:
        return frame.format.name, frame.layout.name, frame.sample_rate


class _BlockCutter:
    """Cuts the wanted stretch out of a stream of samples and into blocks of equal length."""

    def __init__(self, start_s: float, end_s: float | None, block_s: float, max_duration_s: float) -> None:
        self._start = round(start_s * SAMPLE_RATE_HZ)
        self._end = None if end_s is None else round(end_s * SAMPLE_RATE_HZ)
        self._block_samples = max(1, round(block_s * SAMPLE_RATE_HZ))
        self._max_duration_s = max_duration_s
        self._parts: list[np.ndarray] = []
        self._waiting = 0
        self.samples_seen = 0
        self.samples_kept = 0

    @property
    def is_done(self) -> bool:
        return self._end is not None and self.samples_seen >= self._end

    def push(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        first = max(0, self._start - self.samples_seen)
        last = samples.shape[1] if self._end is None else min(samples.shape[1], self._end - self.samples_seen)
        self.samples_seen += samples.shape[1]
        if last <= first:
            return
        self._parts.append(samples[:, first:last])
        self._waiting += last - first
        self.samples_kept += last - first
        if self.samples_kept > self._max_duration_s * SAMPLE_RATE_HZ:
            raise LongSignal(f"The audio is longer than the limit of {self._max_duration_s / 3600:g} hours.")
        if self._waiting >= self._block_samples:
            buffer = np.concatenate(self._parts, axis=1)
            whole = buffer.shape[1] // self._block_samples * self._block_samples
            for start in range(0, whole, self._block_samples):
                yield buffer[:, start : start + self._block_samples]
            self._parts = [buffer[:, whole:].copy()]
            self._waiting = buffer.shape[1] - whole

    def finish(self) -> np.ndarray:
        return np.concatenate(self._parts, axis=1) if self._parts else np.zeros((2, 0), np.float32)


class _Level:
    """Refuses samples that are no numbers and brings samples of another scale to [-1, 1]."""

    def __init__(self) -> None:
        self._divisor = 1.0

    def adjust(self, block: np.ndarray) -> np.ndarray:
        peak = max(float(block.max()), -float(block.min()))
        if not np.isfinite(peak):
            raise BadSamples("The audio holds samples that are not finite numbers.")
        if peak > LOUD_PEAK * self._divisor:
            self._divisor = 2.0 ** np.ceil(np.log2(peak))
        return block if self._divisor == 1.0 else block / np.float32(self._divisor)


def _refuse_claim(source: _Source, start_s: float, end_s: float | None, limits: DecodeLimits) -> None:
    """Refuse by the header's claim what would be refused after hours of decoding."""
    claimed_s = source.claimed_duration_s
    if claimed_s is None or end_s is not None or claimed_s - start_s <= limits.max_duration_s:
        return
    if source.size_bytes < LEAST_BYTES_PER_S * claimed_s:
        raise CorruptAudio(f"The header claims {claimed_s / 3600:.0f} hours of audio in {source.size_bytes} bytes.")
    raise LongSignal(
        f"The audio lasts {claimed_s / 3600:.1f} hours; the limit is {limits.max_duration_s / 3600:g} hours."
    )


def _describe_short(cutter: _BlockCutter, start_s: float, limits: DecodeLimits) -> str:
    if start_s > 0:
        return f"The audio ends at {cutter.samples_seen / SAMPLE_RATE_HZ:.2f} s; too little is left from {start_s:g} s."
    return (
        f"The audio lasts {1000 * cutter.samples_kept / SAMPLE_RATE_HZ:.0f} ms;"
        f" at least {1000 * limits.min_duration_s:.0f} ms are needed."
    )


def _read_tags(source: _Source) -> dict[str, str | None]:
    tags = {key.lower(): value for key, value in [*source.stream.metadata.items(), *source.container.metadata.items()]}
    return {
        "title": _clean_tag(tags.get("title")),
        "artist": _clean_tag(tags.get("artist")),
        "album": _clean_tag(tags.get("album")),
        "genre_tag": _clean_tag(tags.get("genre")),
    }


def _clean_tag(text: str | None) -> str | None:
    """One line without control, bidirectional and private characters, at most TAG_LIMIT long; None if that is empty."""
    if not text:
        return None
    normal = unicodedata.normalize("NFC", text[: 4 * TAG_LIMIT])
    kept = "".join(" " if character.isspace() else character for character in normal if _is_printable(character))
    return " ".join(kept.split())[:TAG_LIMIT].strip() or None


def _is_printable(character: str) -> bool:
    joins_letters = character in "\u200c\u200d"  # used by Persian, Indic scripts and emoji
    return joins_letters or character.isspace() or unicodedata.category(character)[0] != "C"


def _to_int16(samples: np.ndarray) -> np.ndarray:
    """float32 to int16, the exact inverse of decoding; clipped."""
    return np.clip(np.rint(samples * np.float32(32_768)), -32_768, 32_767).astype(np.int16)


def _encode_into(unnamed: UnnamedFile, kind: str, channels: int, rate_hz: int = SAMPLE_RATE_HZ):
    import soundfile

    subtype = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}.get(kind, "PCM_16")
    return soundfile.SoundFile(unnamed.handle, "w", rate_hz, channels, subtype, format=kind, closefd=False)


@contextmanager
def _write_errors(folder: Path) -> Iterator[None]:
    """A missing folder as `StageFailed`, a full disk as `DiskFull`."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if _is_full(folder):
            raise DiskFull(f"The disk of {folder} is full: make room and run the same command again.") from error
        reason = getattr(error, "strerror", None) or error
        raise StageFailed(f"Audio cannot be written to {folder}: {reason}.") from error


def _is_full(folder: Path) -> bool:
    """libsndfile does not tell why it could not write."""
    return folder.is_dir() and shutil.disk_usage(folder).free < LEAST_FREE_BYTES

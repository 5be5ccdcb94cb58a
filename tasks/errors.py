"""The ways a track can fail. Each becomes one row of `rejects`; none ends a run.

`TrackError.reason` is the fixed vocabulary of the column `rejects.reason`. A `RejectedInput` is the file's fault and
counts as rejected; a `FailedTrack` is ours (or the machine's) and counts as failed.
"""

from typing import ClassVar


class TrackError(Exception):
    """A track that cannot be taken further; the message is one sentence for a person."""

    reason: ClassVar[str] = "error"


class RejectedInput(TrackError):
    """The file itself is unusable: trying again gives the same answer until its content changes."""


class UnreadableFile(RejectedInput):
    """The file cannot be opened: missing, dangling link, no permission."""

    reason = "unreadable"


class EmptyFile(RejectedInput):
    """The file has no bytes."""

    reason = "empty"


class NotAudio(RejectedInput):
    """No decoder recognises the content."""

    reason = "not_audio"


class NoAudioStream(RejectedInput):
    """A media file without an audio stream."""

    reason = "no_audio_stream"


class ProtectedAudio(RejectedInput):
    """Encrypted (DRM) audio."""

    reason = "protected"


class UnsupportedCodec(RejectedInput):
    """A known format whose codec is not available."""

    reason = "unsupported_codec"


class CorruptAudio(RejectedInput):
    """The header is readable, the audio is not, or the header lies beyond belief."""

    reason = "corrupt"


class ShortSignal(RejectedInput):
    """Too few samples to analyse."""

    reason = "too_short"


class LongSignal(RejectedInput):
    """More audio than the limit of the settings."""

    reason = "too_long"


class BadSamples(RejectedInput):
    """Not-a-number or infinite samples."""

    reason = "bad_samples"


class FailedTrack(TrackError):
    """The analysis failed on a file that may be fine."""

    reason = "internal_error"


class StageFailed(FailedTrack):
    """A stage raised something it should not have."""

    reason = "internal_error"


class TrackTimeout(FailedTrack):
    """The track took longer than the limit of the settings."""

    reason = "timeout"


class WorkerCrashed(FailedTrack):
    """The process that worked on the track died."""

    reason = "crash"


class OutOfMemory(FailedTrack):
    """The track needed more memory than the limit of the settings."""

    reason = "out_of_memory"

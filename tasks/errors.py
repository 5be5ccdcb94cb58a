"""The ways a track can fail. Each becomes one row of `rejects`; none ends a run.

`TrackError.reason` is the fixed vocabulary of the column `rejects.reason`. A `RejectedInput` is the file's fault and
counts as rejected; a `FailedTrack` is ours (or the machine's) and counts as failed.
"""

from typing import ClassVar

from catalog.errors import UnwritableLake


class TrackError(Exception):
    """A track that cannot be taken further; the message is one sentence for a person.

    Attributes:
        reason: The word in `rejects`.
        limit: The setting that kept the track out, as `TrackParams` names it: a higher one may let it in.
    """

    reason: ClassVar[str] = "error"
    limit: ClassVar[str | None] = None


class RejectedInput(TrackError):
    """The file itself is unusable: trying again gives the same answer until its content changes."""


class EmptyFile(RejectedInput):
    """The file has no bytes."""

    reason = "empty"


class OutsideLink(RejectedInput):
    """A link that leads out of the folder that is ingested: whoever may write there need not see what it leads to."""

    reason = "outside"


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
    limit = "max_duration_s"


class BadSamples(RejectedInput):
    """Not-a-number or infinite samples."""

    reason = "bad_samples"


class DiskFull(UnwritableLake):
    """There is no room for the stems: no fault of the track, and the end of the run."""


class UnusableModel(Exception):
    """A network that was asked for cannot run here: no fault of the track, and the end of the run."""


class ModelNotInstalled(UnusableModel):
    """A model or a device that was asked for is not on this machine."""


class BadCheckpoint(UnusableModel):
    """The files of a model are not what they should be: truncated, damaged or of another kind."""


class FailedTrack(TrackError):
    """The analysis failed on a file that may be fine."""

    reason = "internal_error"


class UnreadableFile(FailedTrack):
    """The file cannot be read just now: missing, no permission, a fault of the disk. No verdict on its content."""

    reason = "unreadable"


class StageFailed(FailedTrack):
    """A stage raised something it should not have."""

    reason = "internal_error"


class TrackTimeout(FailedTrack):
    """The track took longer than the limit of the settings."""

    reason = "timeout"
    limit = "timeout_s"


class WorkerCrashed(FailedTrack):
    """The process that worked on the track died."""

    reason = "crash"


class OutOfMemory(FailedTrack):
    """The track needed more memory than the limit of the settings."""

    reason = "out_of_memory"
    limit = "memory_mb"


REASONS = tuple(
    sorted({kind.reason for parent in (RejectedInput, FailedTrack) for kind in (*parent.__subclasses__(), FailedTrack)})
)
"""Every reason that `rejects` may give."""

LIMITS = {kind.reason: kind.limit for kind in (LongSignal, TrackTimeout, OutOfMemory)}
"""The setting that is too low for a track, by the reason that `rejects` gives."""

"""The settings, and the only reader of the environment: every field can be set as MIDIME_<NAME>.

A command-line option wins over the environment, the environment over the default.
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from catalog.matching.evidence import DuplicateParams
from tasks.plan import RetryParams
from tasks.track import TrackParams

StemChoice = Literal["2", "4", "5", "none"]


class Settings(BaseSettings):
    """Where the lake lies, what is computed, and within which limits."""

    model_config = SettingsConfigDict(env_prefix="MIDIME_", extra="ignore", frozen=True, hide_input_in_errors=True)

    lake: Path = Field(Path("data/lake"), description="The lake's folder.")
    catalog: str | None = Field(None, description="A catalogue for many machines: postgres:dbname=midime host=db.")
    user: str | None = Field(None, description="Owner of the tracks that are ingested, and of the searches.")
    privacy: Literal["public", "private"] = Field("public", description="Privacy of the tracks that are ingested.")

    stems: StemChoice = Field("4", description="Stems a track is separated into.")
    model_path: Path | None = Field(
        None,
        validation_alias=AliasChoices("model_path", "MIDIME_MODEL_PATH", "MODEL_PATH"),
        description="Folder of Spleeter checkpoints; the lake's models folder by default.",
    )
    cache_path: Path | None = Field(
        None, description="Folder of converted checkpoints; ~/.cache/midime/models by default."
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where the networks of the separation run.")

    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, description="Worker processes.")
    dask: str | None = Field(None, description="Address of a running Dask scheduler; a local cluster by default.")
    shard_files: int = Field(100, ge=1, le=1000, description="Files in a shard, which is one transaction.")

    max_duration_s: float = Field(6 * 3600, gt=0, description="Longest audio that is taken.")
    track_timeout_s: float = Field(3600, gt=0, description="Longest time that one track may take.")
    track_memory_mb: int | None = Field(
        None,
        ge=256,
        description="Most memory of a worker: a track that needs more fails. Four fifths of Dask's limit by default; a "
        "worker that separates on a GPU may hold 1,200 MB more.",
    )
    max_attempts: int = Field(3, ge=1, description="How often a failed track is tried, over all runs.")

    min_similarity: float = Field(0.7, ge=-1, le=1, description="Least similarity that nightly keeps.")
    neighbours: int = Field(20, ge=1, description="Neighbours that nightly keeps for each pattern.")

    find_duplicates: bool = Field(
        True, description="Look for known songs: of new tracks, of a clip, and every night among all tracks."
    )
    same_song_score: float = Field(
        DuplicateParams.min_score,
        ge=0,
        le=1,
        description="Share of equal Chromaprint bits that one recording asks for.",
    )
    same_song_peaks: float = Field(
        DuplicateParams.min_peak_score,
        ge=0,
        le=1,
        description="Share of common spectral peaks that one recording at another speed or pitch asks for.",
    )
    version_peaks: float = Field(
        DuplicateParams.min_version_score,
        ge=0,
        le=1,
        description="Share of common spectral peaks from which two recordings may be versions of one song.",
    )
    version_score: float = Field(
        DuplicateParams.min_version_bits, ge=0, le=1, description="The same in equal Chromaprint bits."
    )
    version_chroma: float = Field(
        DuplicateParams.min_version_chroma, ge=0, le=1, description="The same in the likeness of the harmony."
    )
    same_song_share: float = Field(
        DuplicateParams.min_coverage, ge=0, le=1, description="Share of the shorter track that one song shares."
    )
    sections_per_song: int = Field(5, ge=1, description="Sections of a known song that are kept in a report.")

    max_reject_share: float = Field(0.2, ge=0, le=1, description="Share of new files that may be rejected or fail.")
    alert_to: SecretStr | None = Field(
        None, description="Where alarms are sent: an Apprise address or a Prefect block."
    )
    dashboard_url: str | None = Field(None, description="Where the dashboard is served; its file by default.")

    def track_params(self) -> TrackParams:
        """What a worker needs to know; the cores are shared out among the workers."""
        return TrackParams(
            lake=str(self.lake.resolve()),
            stems=0 if self.stems == "none" else int(self.stems),
            model_path=str(self.model_path or self.lake.resolve() / "models"),
            cache_path=str(self.cache_path.resolve()) if self.cache_path else None,
            device=self.device,
            threads=max(1, (os.cpu_count() or 1) // self.workers),
            max_duration_s=self.max_duration_s,
            timeout_s=self.track_timeout_s,
            memory_mb=self.track_memory_mb,
        )

    def duplicate_params(self) -> DuplicateParams:
        return DuplicateParams(
            min_score=self.same_song_score,
            min_peak_score=self.same_song_peaks,
            min_unchanged_score=max(self.same_song_peaks, DuplicateParams.min_unchanged_score),
            min_version_score=self.version_peaks,
            min_version_bits=self.version_score,
            min_version_chroma=self.version_chroma,
            min_coverage=self.same_song_share,
        )

    def retry_params(self, only: str | None = None) -> RetryParams:
        return RetryParams(self.max_attempts, only)

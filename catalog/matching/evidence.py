"""What speaks for two tracks being one song, and how much of it is asked for. It is found in catalog/duplicates.py."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DuplicateParams:
    """How alike two fingerprints have to be.

    Attributes:
        common_places: A key in more places than this proposes nothing: it is a chord or a tone that all music has.
        places_a_key: Of the keys of four seconds so many places are met on average, those of the rarest.
        min_votes: Equal keys at one offset that make a proposal.
        offsets_per_pair: Proposals that are confirmed for a pair, those with the most votes first.
        probe_below_s: In shorter tracks and queries, keys that differ by one bit are looked up as well.
        static_items: Equal items in a row that make silence or a steady tone, which say nothing.
        min_distinct_items: With fewer different items, equal fingerprints and queries say nothing.
        max_bit_error: Share of unequal bits below which an item speaks for equal audio.
        min_evidence_bits: Equal bits beyond that share, summed over the shared stretch, that confirm it. Unrelated
            music reaches 140; five seconds in a lossy copy give 160 or more.
        max_chance_share: Unequal bits, for each that two fingerprints in another order would have, above which they are
            alike as all noise and all applause is: these have 0.9 and more, copies and versions 0.7 and less.
        min_score: Share of equal bits over the shared stretch that one song asks for. Copies reach 0.93; the same song
            without its voice or with other instruments has 0.7 to 0.8, which is evidence, but not one recording.
        min_version_bits: Share of equal bits from which two recordings may be versions of one song.
        min_coverage: Share of the shorter track that has to be shared for both to be one song.
        max_song_s: A longer track may be a mix of songs: nothing becomes an excerpt of it.
        min_peak_score: Share of common peaks that one recording asks for, at whatever speed and pitch. Copies have 0.63
            and more, those that are faster, higher or through a telephone 0.76; a song without its voice has 0.5.
        min_unchanged_score: The same at the same speed and pitch, where a song without its voice has up to 0.63.
        min_version_score: Share of common peaks from which two recordings may be versions of one song.
        min_version_chroma: Likeness of the harmony from beat to beat from which two recordings may be versions of one
            song. Other songs reach 0.60, but for two with one loop of chords in one key; covers have 0.5 to 0.9.
        same_speed, same_pitch_semitones: A larger change is told.
    """

    common_places: int = 1_000
    places_a_key: float = 8.0
    min_votes: int = 3
    offsets_per_pair: int = 3
    probe_below_s: float = 30.0
    static_items: int = 8
    min_distinct_items: int = 12
    max_bit_error: float = 0.35
    min_evidence_bits: float = 150.0
    max_chance_share: float = 0.8
    min_score: float = 0.85
    min_version_bits: float = 0.65
    min_coverage: float = 0.7
    max_song_s: float = 900.0
    min_peak_score: float = 0.7
    min_unchanged_score: float = 0.75
    min_version_score: float = 0.3
    min_version_chroma: float = 0.65
    same_speed: float = 0.003
    same_pitch_semitones: float = 0.15


@dataclass(frozen=True)
class Match:
    """Evidence that two tracks share audio; the fields are the columns of `matches`.

    Attributes:
        track_id_1, track_id_2: The tracks, the smaller identifier first.
        method: How the evidence was found.
        method_version: Version of the method.
        score: Strength from 0 to 1; what it counts depends on the method.
        overlap_s: Length of the shared audio, in track 1.
        offset_s: Where the start of track 2 lies in track 1; negative when it starts before.
        speed_ratio: Speed of track 2 over track 1.
        pitch_semitones: How much higher track 2 sounds.
        sounding_1_s, sounding_2_s: Lengths of the tracks without silence at their ends.
    """

    track_id_1: str
    track_id_2: str
    method: str
    method_version: str
    score: float
    overlap_s: float
    offset_s: float
    speed_ratio: float = 1.0
    pitch_semitones: float = 0.0
    sounding_1_s: float = 0.0
    sounding_2_s: float = 0.0

    @classmethod
    def between(cls, tracks: tuple[str, str], sounding_s: tuple[float, float], **evidence) -> "Match":
        """A match of two tracks in any order; `offset_s` and `speed_ratio` are those of the second in the first."""
        if tracks[0] > tracks[1]:
            ratio = evidence.get("speed_ratio", 1.0)
            tracks, sounding_s = tracks[::-1], sounding_s[::-1]
            # Place x of the second is place offset + ratio · x of the first.
            evidence |= {"offset_s": -evidence["offset_s"] / ratio, "overlap_s": evidence["overlap_s"] / ratio}
            evidence |= {"speed_ratio": 1.0 / ratio, "pitch_semitones": -evidence.get("pitch_semitones", 0.0)}
        return cls(*tracks, sounding_1_s=sounding_s[0], sounding_2_s=sounding_s[1], **evidence)

    def place_of(self, track: str, other: str) -> tuple[float, float]:
        """Where a track starts in the other one, in seconds, and its speed over that of the other."""
        if (track, other) == (self.track_id_2, self.track_id_1):
            return self.offset_s, self.speed_ratio
        return -self.offset_s / self.speed_ratio, 1.0 / self.speed_ratio


def relate(overlap_s: float, score: float, length_1_s: float, length_2_s: float, params: DuplicateParams) -> str | None:
    """same, excerpt or None: how two tracks are one song by what they share."""
    shorter_s, longer_s = sorted((length_1_s, length_2_s))
    if score < params.min_score or overlap_s < params.min_coverage * shorter_s:
        return None
    if overlap_s >= params.min_coverage * longer_s:
        return "same"
    return "excerpt" if longer_s <= params.max_song_s else None


def relate_items(match: Match, params: DuplicateParams) -> str | None:
    """same, excerpt, version or None: how two tracks are one song by their aligned Chromaprint items."""
    relation = relate(match.overlap_s, match.score, match.sounding_1_s, match.sounding_2_s, params)
    is_other = params.min_version_bits <= match.score < params.min_score
    return "version" if is_other and share_of_shorter(match) >= params.min_coverage else relation


def relate_peaks(match: Match, params: DuplicateParams) -> str | None:
    """same, transformed, excerpt, version or None: how two tracks are one song by the peaks that both have."""
    if match.score < least_peak_score(match, params):
        is_version = match.score >= params.min_version_score and share_of_shorter(match) >= params.min_coverage
        return "version" if is_version else None
    length_2_s = match.sounding_2_s * match.speed_ratio  # as long as it would be in track 1
    relation = relate(match.overlap_s, 1.0, match.sounding_1_s, length_2_s, params)
    return "transformed" if relation == "same" and is_changed(match, params) else relation


def relate_chroma(match: Match, params: DuplicateParams) -> str | None:
    """version or None: harmony alone never says that two recordings are one."""
    is_alike = match.score >= params.min_version_chroma and share_of_shorter(match) >= params.min_coverage
    return "version" if is_alike else None


def least_peak_score(match: Match, params: DuplicateParams) -> float:
    """The share of common peaks that one recording asks for."""
    return params.min_peak_score if is_changed(match, params) else params.min_unchanged_score


def is_changed(match: Match, params: DuplicateParams) -> bool:
    """Whether one of the two is faster or higher than the other."""
    return abs(match.speed_ratio - 1) > params.same_speed or abs(match.pitch_semitones) > params.same_pitch_semitones


def share_of_shorter(match: Match) -> float:
    """How much of the shorter of the two, at the speed of the first, is shared; 0 where it is silent."""
    shorter_s = min(match.sounding_1_s, match.sounding_2_s * match.speed_ratio)
    return match.overlap_s / shorter_s if shorter_s else 0.0

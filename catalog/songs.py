"""Which song each track belongs to: the verdict. The evidence is found in catalog/duplicates.py.

Groups grow from confirmed evidence alone, and rather miss a copy than merge two songs.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, datetime

from catalog.duplicates import EQUAL_METHOD, DuplicateParams, Match, read_fingerprints, relate
from catalog.lake import Lake
from catalog.tables import SONG_GROUPS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Verdict:
    """Which song a track belongs to; the fields are columns of `song_groups`.

    The song is named after the group's track that came first, so that a song keeps its name when copies are added.
    """

    track_id: str
    source_song_id: str
    relation: str


@dataclass(frozen=True)
class GroupTrack:
    """What the grouping knows of a track: its length without silent ends, and when it came to the lake."""

    track_id: str
    length_s: float
    upload_date: datetime


def group_songs(
    tracks: Iterable[GroupTrack], matches: Iterable[Match], params: DuplicateParams = DuplicateParams()
) -> list[Verdict]:
    """Decide which song each track belongs to.

    Tracks that share most of their audio are one song when they match one track in their middle: a chain of matches is
    not enough. A track that lies within a longer one is an excerpt of its song, and two excerpts that share nothing
    belong together through it. A track that holds parts of two songs joins neither.

    Args:
        tracks: Every track.
        matches: The evidence; matches with unknown tracks are left out.

    Returns:
        One verdict a track, in the order of `tracks`.
    """
    by_id = {track.track_id: track for track in tracks}
    matches = [match for match in matches if match.track_id_1 in by_id and match.track_id_2 in by_id]
    first = _join_equal(by_id, matches)
    same: dict[str, set[str]] = defaultdict(set)
    parents: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for match in matches:
        pair = sorted((first[match.track_id_1], first[match.track_id_2]), key=lambda track: by_id[track].length_s)
        shorter, longer = pair
        relation = relate(match.overlap_s, match.score, by_id[shorter].length_s, by_id[longer].length_s, params)
        if shorter != longer and relation == "same":
            same[shorter].add(longer)
            same[longer].add(shorter)
        elif shorter != longer and relation == "excerpt":
            parents[shorter].append((match.score, longer))

    hub = _gather_around_hubs({track: by_id[track] for track in first.values()}, same)
    song = _place_excerpts(by_id, hub, parents)
    members: dict[str, list[str]] = defaultdict(list)
    for track in by_id:
        members[song[hub[first[track]]]].append(track)
    verdicts = {}
    for head, group in members.items():
        name = min(group, key=lambda track: (by_id[track].upload_date, track))
        for track in group:
            whole = "same" if len(group) > 1 else "unique"
            verdicts[track] = Verdict(track, name, whole if hub[first[track]] == head else "excerpt")
    return [verdicts[track] for track in by_id]


def refresh_song_groups(lake: Lake, run_id: str | None, params: DuplicateParams = DuplicateParams()) -> dict[str, int]:
    """Bring `song_groups` in line with the matches; a verdict that stands keeps its row.

    Returns:
        Counts: `songs`, tracks that are `same`, `excerpt` or `unique`, and verdicts `changed`.
    """
    matches = [Match(**row) for row in lake.query("FROM matches").to_pylist()]
    matched = {track for match in matches for track in (match.track_id_1, match.track_id_2)}
    lengths = {
        track: fingerprint.length_s
        for track, fingerprint in read_fingerprints(lake.connection, matched, params).items()
    }
    tracks = [
        GroupTrack(row["track_id"], lengths.get(row["track_id"], 0.0), row["upload_date"] or EPOCH)
        for row in lake.query("SELECT track_id, upload_date FROM tracks ORDER BY track_id").to_pylist()
    ]
    verdicts = group_songs(tracks, matches, params)
    standing = lake.query("SELECT track_id, source_song_id, relation FROM song_groups").to_pylist()
    before = {astuple(Verdict(**row)) for row in standing}
    now = datetime.now(UTC)
    new = [
        asdict(verdict) | {"decided_at": now, "run_id": run_id}
        for verdict in verdicts
        if astuple(verdict) not in before
    ]
    gone = {track for track, *_ in before} - {track.track_id for track in tracks}
    if new or gone:
        with lake.transaction("group songs", {"changed": len(new) + len(gone)}) as change:
            change.upsert("song_groups", SONG_GROUPS.make_rows(new))
            purged = "SELECT track_id::VARCHAR FROM song_groups WHERE track_id NOT IN (SELECT track_id FROM tracks)"
            change.delete("song_groups", "track_id", change.values(purged, []))
    relations = [verdict.relation for verdict in verdicts]
    return {
        "songs": len({verdict.source_song_id for verdict in verdicts}),
        **{relation: relations.count(relation) for relation in ("same", "excerpt", "unique")},
        "changed": len(new) + len(gone),
    }


def _join_equal(tracks: Iterable[str], matches: Iterable[Match]) -> dict[str, str]:
    """The first of the tracks with the same fingerprint, for each track."""
    first = {track: track for track in tracks}
    first |= {match.track_id_2: match.track_id_1 for match in matches if match.method == EQUAL_METHOD}
    return first


def _gather_around_hubs(tracks: Mapping[str, GroupTrack], same: Mapping[str, set[str]]) -> dict[str, str]:
    """The hub of each track: the track with the most matches takes all that match it, then the next."""
    hub: dict[str, str] = {}
    for track in sorted(tracks, key=lambda track: (-len(same[track]), tracks[track].upload_date, track)):
        if track not in hub:
            hub |= {other: track for other in (track, *same[track]) if other not in hub}
    return hub


def _place_excerpts(
    tracks: Mapping[str, GroupTrack], hub: Mapping[str, str], parents: Mapping[str, list[tuple[float, str]]]
) -> dict[str, str]:
    """The hub whose song each hub belongs to: its own, or that of the longer track that holds it best."""
    members: dict[str, list[str]] = defaultdict(list)
    for track, head in hub.items():
        members[head].append(track)
    song: dict[str, str] = {}
    for head in sorted(members, key=lambda head: (-tracks[head].length_s, head)):
        held_by = sorted((-score, parent) for track in members[head] for score, parent in parents[track])
        song[head] = next((song[hub[parent]] for _, parent in held_by if hub[parent] in song), head)
    return song

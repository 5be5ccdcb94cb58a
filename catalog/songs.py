"""Which song each track belongs to: the verdict. The evidence is found in catalog/duplicates.py.

Groups grow from confirmed evidence alone, and rather miss a copy than merge two songs. A person's word, kept in
`song_overrides`, goes before all evidence.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from catalog.lake import Lake
from catalog.matching.beat_chroma import METHOD as CHROMA_METHOD
from catalog.matching.constellation import METHOD as PEAKS_METHOD
from catalog.matching.evidence import DuplicateParams, Match, relate_chroma, relate_items, relate_peaks
from catalog.tables import SONG_GROUPS

VERSION = "hubs-5"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RELATIONS = ("same", "excerpt", "transformed", "version", "unique")
MERGE, SPLIT = "merge", "split"


@dataclass(frozen=True)
class Verdict:
    """Which song a track belongs to; the fields are columns of `song_groups`.

    The song is named after the group's track that came first, so that a song keeps its name when copies are added.
    """

    track_id: str
    source_song_id: str
    relation: str
    parent_track_id: str | None = None
    offset_s: float | None = None
    speed_ratio: float | None = None


@dataclass(frozen=True)
class GroupTrack:
    """What the grouping knows of a track beside its matches: when it came to the lake."""

    track_id: str
    upload_date: datetime


@dataclass(frozen=True)
class Links:
    """The evidence as the grouping reads it.

    Attributes:
        same: For each track those that share most of its audio.
        parents: For each track the longer ones that hold it.
        versions: For each track those that are like it and another recording.
        of: The match behind each pair, by its two tracks in order.
    """

    same: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    parents: dict[str, list[tuple[float, str]]] = field(default_factory=lambda: defaultdict(list))
    versions: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    of: dict[tuple[str, str], tuple[str, Match]] = field(default_factory=dict)


def group_songs(
    tracks: Iterable[GroupTrack],
    matches: Iterable[Match],
    overrides: Mapping[tuple[str, str], str] | None = None,
    params: DuplicateParams = DuplicateParams(),
) -> list[Verdict]:
    """Decide which song each track belongs to.

    Tracks that share most of their audio are one song when they match one track in their middle: a chain of matches is
    not enough. A track that lies within a longer one is an excerpt of its song, and two excerpts that share nothing
    belong together through it. A track that holds parts of two songs joins neither. Two tracks that a person split
    are never in one song, and those that a person merged always.

    Args:
        tracks: Every track.
        matches: The evidence; matches with unknown tracks are left out.
        overrides: For pairs of tracks, the smaller identifier first: merge or split.

    Returns:
        One verdict a track, in the order of `tracks`.
    """
    by_id = {track.track_id: track for track in tracks}
    overrides = {pair: word for pair, word in (overrides or {}).items() if set(pair) <= by_id.keys()}
    links, lengths = _read_links([m for m in matches if {m.track_id_1, m.track_id_2} <= by_id.keys()], params)
    apart = _Apart(pair for pair, word in overrides.items() if word == SPLIT)
    hub = _gather_around_hubs(by_id, links.same, apart)
    song = _place_excerpts(hub, links.parents, lengths, apart)
    for pair in sorted(pair for pair, word in overrides.items() if word == MERGE):
        _merge_songs(song, [song[hub[track]] for track in pair], hub, apart)
    members: dict[str, list[str]] = defaultdict(list)
    for track in by_id:
        members[song[hub[track]]].append(track)
    verdicts = {}
    for head, group in members.items():
        name = min(group, key=lambda track: (by_id[track].upload_date, track))
        for track in group:
            verdicts[track] = _judge(track, name, head, group, hub, links, by_id)
    return [verdicts[track] for track in by_id]


def refresh_song_groups(lake: Lake, run_id: str | None, params: DuplicateParams = DuplicateParams()) -> dict[str, int]:
    """Bring `song_groups` in line with the matches and the overrides; a verdict that stands keeps its row.

    Only tracks whose evidence changed, and those that they have to do with, are grouped again.

    Returns:
        Counts: `songs`, tracks of each relation, and verdicts `changed`.
    """
    evidence = _hash_evidence(lake, params)
    standing = {
        row["track_id"]: row for row in lake.query("SELECT * EXCLUDE (decided_at, run_id) FROM song_groups").to_pylist()
    }
    touched = {track for track, known in evidence.items() if standing.get(track, {}).get("evidence") != known}
    gone = standing.keys() - evidence.keys()
    songs = {standing[track]["source_song_id"] for track in (touched | gone) & standing.keys()}
    touched |= {track for track, row in standing.items() if row["source_song_id"] in songs and track in evidence}
    tracks, matches, overrides = _read_neighbourhood(lake, touched)
    now = datetime.now(UTC)
    verdicts = [
        asdict(verdict) | {"evidence": evidence[verdict.track_id]}
        for verdict in group_songs(tracks, matches, overrides, params)
    ]
    new = [verdict for verdict in verdicts if standing.get(verdict["track_id"]) != verdict]
    if new or gone:
        rows = [verdict | {"decided_at": now, "run_id": run_id} for verdict in new]
        with lake.transaction("group songs", {"changed": len(new) + len(gone)}) as change:
            change.upsert("song_groups", SONG_GROUPS.make_rows(rows))
            purged = "SELECT track_id::VARCHAR FROM song_groups WHERE track_id NOT IN (SELECT track_id FROM tracks)"
            change.delete("song_groups", "track_id", change.values(purged, []))
    counts = lake.query(
        "SELECT count(DISTINCT source_song_id) AS songs,"
        + ", ".join(f"count(*) FILTER (relation = '{relation}') AS {relation}" for relation in RELATIONS)
        + " FROM song_groups"
    ).to_pylist()[0]
    return counts | {"changed": len(new) + len(gone)}


class _Apart:
    """The pairs that a person split."""

    def __init__(self, pairs: Iterable[tuple[str, str]]):
        self.of: dict[str, set[str]] = defaultdict(set)
        for first, second in pairs:
            self.of[first].add(second)
            self.of[second].add(first)

    def allows(self, group: Iterable[str], others: Iterable[str]) -> bool:
        """Whether the tracks of both may be one song."""
        others = set(others)
        return not any(self.of[track] & others for track in group if track in self.of)


def judge_match(match: Match, params: DuplicateParams = DuplicateParams()) -> str | None:
    """What a match says alone: same, excerpt, transformed, version or None."""
    if match.method == PEAKS_METHOD:
        return relate_peaks(match, params)
    if match.method == CHROMA_METHOD:
        return relate_chroma(match, params)
    return relate_items(match, params)


def _read_links(matches: Iterable[Match], params: DuplicateParams) -> tuple[Links, dict[str, float]]:
    """The evidence by track, and the lengths of the tracks."""
    links, lengths = Links(), defaultdict(float)
    for match in matches:
        pair = (match.track_id_1, match.track_id_2)
        lengths |= zip(pair, (match.sounding_1_s, match.sounding_2_s), strict=True)
        relation = judge_match(match, params)
        if relation is None:
            continue
        shorter, longer = sorted(pair, key=lambda track: lengths[track])
        if relation == "version":
            links.versions[shorter].add(longer)
            links.versions[longer].add(shorter)
        elif relation == "excerpt":
            links.parents[shorter].append((match.score, longer))
        else:
            links.same[shorter].add(longer)
            links.same[longer].add(shorter)
        if pair not in links.of or RELATIONS.index(relation) < RELATIONS.index(links.of[pair][0]):
            links.of[pair] = relation, match
    return links, lengths


def _gather_around_hubs(
    tracks: Mapping[str, GroupTrack], same: Mapping[str, set[str]], apart: _Apart
) -> dict[str, str]:
    """The hub of each track: the track with the most matches takes all that match it, then the next."""

    def rank(track: str) -> tuple:
        return -len(same.get(track, ())), tracks[track].upload_date, track

    hub: dict[str, str] = {}
    for track in sorted(tracks, key=rank):
        if track in hub:
            continue
        hub[track] = track
        group = [track]
        for other in sorted(same.get(track, ()), key=rank):
            if other not in hub and apart.allows([other], group):
                hub[other] = track
                group.append(other)
    return hub


def _place_excerpts(
    hub: Mapping[str, str],
    parents: Mapping[str, list[tuple[float, str]]],
    lengths: Mapping[str, float],
    apart: _Apart,
) -> dict[str, str]:
    """The hub whose song each hub belongs to: its own, or that of the longer track that holds it best."""
    members: dict[str, list[str]] = defaultdict(list)
    for track, head in hub.items():
        members[head].append(track)
    song: dict[str, str] = {}
    for head in sorted(members, key=lambda head: (-lengths.get(head, 0.0), head)):
        held_by = sorted((-score, parent) for track in members[head] for score, parent in parents.get(track, ()))
        targets = (song[hub[parent]] for _, parent in held_by if hub[parent] in song)
        song[head] = next(
            (target for target in targets if apart.allows(members[head], _read_members(target, song, members))), head
        )
    return song


def _read_members(target: str, song: Mapping[str, str], members: Mapping[str, list[str]]) -> list[str]:
    return [track for head, own in song.items() if own == target for track in members[head]]


def _merge_songs(song: dict[str, str], heads: list[str], hub: Mapping[str, str], apart: _Apart) -> None:
    """Make two songs one, unless some of their tracks were split."""
    groups = [[track for track, head in hub.items() if song[head] == own] for own in heads]
    if heads[0] != heads[1] and apart.allows(*groups):
        for head, own in song.items():
            if own == heads[1]:
                song[head] = heads[0]


def _judge(
    track: str,
    name: str,
    head: str,
    group: list[str],
    hub: Mapping[str, str],
    links: Links,
    tracks: Mapping[str, GroupTrack],
) -> Verdict:
    """The verdict on one track of a song: its relation, and the track that it has it to."""
    if len(group) == 1:
        older = [other for other in links.versions.get(track, ()) if _came_before(tracks[other], tracks[track])]
        if not older:
            return Verdict(track, name, "unique")
        parent = min(older, key=lambda other: (tracks[other].upload_date, other))
        return Verdict(track, name, "version", parent, *_place(track, parent, links))
    held_by = sorted((-score, parent) for score, parent in links.parents.get(track, ()) if parent in group)
    if hub[track] != head and held_by:
        parent = held_by[0][1]
        return Verdict(track, name, "excerpt", parent, *_place(track, parent, links))
    linked = [other for other in links.same.get(track, ()) if other in group]
    relations = {other: links.of[min(track, other), max(track, other)][0] for other in linked}
    relation = "transformed" if linked and "same" not in relations.values() else "same"
    if hub[track] != head and not linked:
        relation = "excerpt"
    older = [other for other in linked if relations[other] == relation and _came_before(tracks[other], tracks[track])]
    if not older:
        return Verdict(track, name, "same" if track == name else relation)
    parent = min(older, key=lambda other: (other != name, tracks[other].upload_date, other))
    return Verdict(track, name, relation, parent, *_place(track, parent, links))


def _came_before(first: GroupTrack, second: GroupTrack) -> bool:
    return (first.upload_date, first.track_id) < (second.upload_date, second.track_id)


def _place(track: str, parent: str, links: Links) -> tuple[float, float]:
    _, match = links.of[min(track, parent), max(track, parent)]
    return match.place_of(track, parent)


def _hash_evidence(lake: Lake, params: DuplicateParams) -> dict[str, str]:
    """For each track a hash over its matches and overrides, and over the method of grouping."""
    rows = lake.query(
        """
        WITH said AS (
            SELECT track_id_1, track_id_2, hash(matches)::VARCHAR AS said FROM matches
            UNION ALL
            SELECT track_id_1, track_id_2, decision FROM song_overrides
        ),
        sides AS (
            SELECT track_id_1 AS track_id, track_id_2 AS other, said FROM said
            UNION ALL
            SELECT track_id_2, track_id_1, said FROM said
        ),
        sums AS (SELECT track_id, bit_xor(hash(other, said)) AS sum FROM sides GROUP BY track_id)
        SELECT track_id, hash($method, coalesce(sum, 0))::VARCHAR AS evidence
        FROM tracks LEFT JOIN sums USING (track_id)
        """,
        {"method": f"{VERSION} {params}"},
    )
    return dict(zip(rows["track_id"].to_pylist(), rows["evidence"].to_pylist(), strict=True))


def _read_neighbourhood(
    lake: Lake, touched: set[str]
) -> tuple[list[GroupTrack], list[Match], dict[tuple[str, str], str]]:
    """The tracks that have to do with some tracks by any chain of evidence, their matches and overrides."""
    matches: dict[tuple, Match] = {}
    overrides: dict[tuple[str, str], str] = {}
    reached, frontier = set(touched), sorted(touched)
    near = "track_id_1 IN (SELECT unnest($near::UUID[])) OR track_id_2 IN (SELECT unnest($near::UUID[]))"
    while frontier:
        found = lake.query(f"FROM matches WHERE {near}", {"near": frontier}).to_pylist()
        said = lake.query(
            f"SELECT track_id_1, track_id_2, decision FROM song_overrides WHERE {near}", {"near": frontier}
        ).to_pylist()
        matches |= {(row["track_id_1"], row["track_id_2"], row["method"]): Match(**row) for row in found}
        overrides |= {(row["track_id_1"], row["track_id_2"]): row["decision"] for row in said}
        frontier = sorted({row[side] for row in [*found, *said] for side in ("track_id_1", "track_id_2")} - reached)
        reached |= set(frontier)
    rows = lake.query(
        "SELECT track_id, upload_date FROM tracks WHERE track_id IN (SELECT unnest(?::UUID[])) ORDER BY track_id",
        [sorted(reached)],
    ).to_pylist()
    tracks = [GroupTrack(row["track_id"], row["upload_date"] or EPOCH) for row in rows]
    return tracks, list(matches.values()), overrides

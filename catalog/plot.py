"""Pictures of what the lake knows, for people who would rather look than read. Uses matplotlib without a screen."""

from pathlib import Path

import duckdb
import numpy as np

from catalog.errors import UnknownId

LANES = ("kick", "snare", "hihat", "tom", "ride", "crash")
USUAL_LANES = LANES[:3]  # drawn where nothing is played in them, too
COLOURS = {
    "kick": "#b5402c",
    "snare": "#2c6fb5",
    "hihat": "#3d8b57",
    "tom": "#b5832c",
    "ride": "#2c8f9e",
    "crash": "#8a8a8a",
    "bass": "#7a5c99",
}
BASS_LANE = -1  # below the drums
BASS_RANGE = (28, 52)  # MIDI notes from the bottom of its lane to the top
DIGITS = "0123456789ab"  # of a bass line in words: semitones above its main note
SECTION_COLOURS = ("#e9e4d8", "#d8e3e9")
EXCERPT_S = 16.0


def plot_patterns(connection: duckdb.DuckDBPyConnection, pattern_ids: list[str], output: Path) -> None:
    """Draw the grids of patterns side by side: a square for each step, the darker the louder.

    Drums have a row each; a bass has one for every semitone above its main note.

    Args:
        connection: The lake.
        pattern_ids: The patterns, the first on the left.
        output: A .png, .svg or .pdf file.

    Raises:
        UnknownId: The lake holds no such pattern.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.8 + 5.2 * len(pattern_ids), 2.4), layout="constrained")
    for axes, pattern_id in zip(figure.subplots(1, len(pattern_ids), squeeze=False)[0], pattern_ids, strict=True):
        row = connection.execute(
            "SELECT instrument_type, groove, bars, steps_per_bar, steps, coalesce(title, 'untitled'),"
            " patterns.tempo_bpm, patterns.time_signature, section_label FROM patterns JOIN tracks USING (track_id)"
            " LEFT JOIN sections USING (section_id) WHERE pattern_id = ?",
            [pattern_id],
        ).fetchone()
        if row is None:
            raise UnknownId(f"The lake holds no pattern {pattern_id}.")
        instrument, groove, bars, steps_per_bar, steps, title, tempo_bpm, time_signature, label = row
        told = [title, label, f"{tempo_bpm:.1f} bpm" if tempo_bpm else None, time_signature]
        axes.set_title(" · ".join(fact for fact in told if fact), fontsize=9)
        rows = _read_line(groove, steps) if instrument == "bass" else _read_lanes(steps, bars * steps_per_bar)
        _draw_grid(axes, rows, instrument, steps_per_bar)
    figure.savefig(output, dpi=110)


def _read_lanes(steps: list[float], width: int) -> dict[str, np.ndarray]:
    """The velocities of each drum by its name; of three alone where an older version has made the pattern."""
    lanes = zip(LANES, np.reshape(steps, (-1, width)), strict=False)
    return {name: row for name, row in lanes if name in USUAL_LANES or row.any()}


def _read_line(groove: str, steps: list[float]) -> dict[str, np.ndarray]:
    """The velocities of a bass line, a row for each semitone above its main note."""
    words = groove.partition("=")[2]
    grid = np.zeros((len(DIGITS), len(steps)))
    for step, velocity in enumerate(steps):
        if velocity > 0:
            grid[DIGITS.index(words[step % len(words)]), step] = velocity
    return {str(semitones): row for semitones, row in enumerate(grid)}


def _draw_grid(axes, rows: dict[str, np.ndarray], instrument: str, steps_per_bar: int) -> None:
    width = len(next(iter(rows.values())))
    for lane, (name, velocities) in enumerate(rows.items()):
        for step, velocity in enumerate(velocities):
            axes.bar(step, 0.84, 0.84, lane - 0.42, color="#f1efea", linewidth=0)
            colour = COLOURS.get(name, COLOURS["bass"])
            axes.bar(step, 0.84, 0.84, lane - 0.42, color=colour, alpha=min(1.0, float(velocity)), linewidth=0)
    for bar in range(1, width // steps_per_bar):
        axes.axvline(bar * steps_per_bar - 0.5, color="#444444", linewidth=1)
    beat_steps = 4 if steps_per_bar % 4 == 0 else 2
    axes.set_xticks(
        range(0, width, beat_steps), [1 + step % steps_per_bar // beat_steps for step in range(0, width, beat_steps)]
    )
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlim=(-0.6, width - 0.4), ylim=(-0.6, len(rows) - 0.4), xlabel="beat")
    if instrument == "bass":
        axes.set_ylabel("semitones")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=8)


def plot_track(connection: duckdb.DuckDBPyConnection, track_id: str, output: Path) -> None:
    """Draw a track: its sections, hits and bass from end to end, and below a few bars of it with their bar lines.

    Args:
        connection: The lake.
        track_id: The track.
        output: A .png, .svg or .pdf file.

    Raises:
        UnknownId: The lake holds no such track.
    """
    from matplotlib.figure import Figure

    track = connection.execute(
        "SELECT coalesce(title, 'untitled'), artist, duration_s, tempo_bpm, time_signature, detected_key"
        " FROM tracks WHERE track_id = ?",
        [track_id],
    ).fetchone()
    if track is None:
        raise UnknownId(f"The lake holds no track {track_id}.")
    title, artist, duration_s, tempo_bpm, time_signature, key = track
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    whole, part = figure.subplots(2, 1, gridspec_kw={"height_ratios": (1, 1.4)})
    facts = [f"{tempo_bpm:.1f} bpm" if tempo_bpm else "no pulse", time_signature, key]
    heading = [text for text in (title, artist) if text] + [fact for fact in facts if fact]
    figure.suptitle(" · ".join(heading), fontsize=11)
    lanes = _find_lanes(connection, track_id)
    _draw_sections(connection, track_id, whole, len(lanes))
    _draw_hits(connection, track_id, whole, lanes, 0.0, duration_s)
    start_s = _choose_excerpt(connection, track_id, duration_s)
    _draw_bars(connection, track_id, part, start_s)
    _draw_hits(connection, track_id, part, lanes, start_s, min(duration_s, start_s + EXCERPT_S))
    part.set_xlabel("seconds")
    figure.savefig(output, dpi=110)


def _find_lanes(connection: duckdb.DuckDBPyConnection, track_id: str) -> list[str]:
    """The usual drums, and those of the others that are played."""
    rows = connection.execute("SELECT DISTINCT instrument_type FROM notes WHERE track_id = ?", [track_id]).fetchall()
    played = {name for (name,) in rows}
    return [name for name in LANES if name in USUAL_LANES or name in played]


def _draw_sections(connection: duckdb.DuckDBPyConnection, track_id: str, axes, lanes: int) -> None:
    rows = connection.execute(
        "SELECT start_s, end_s, section_label FROM sections WHERE track_id = ? ORDER BY start_s", [track_id]
    ).fetchall()
    for index, (start_s, end_s, label) in enumerate(rows):
        axes.axvspan(start_s, end_s, color=SECTION_COLOURS[index % 2], linewidth=0)
        axes.text((start_s + end_s) / 2, lanes - 0.45, label, ha="center", va="bottom", fontsize=8)
    axes.set_ylim(BASS_LANE - 0.6, lanes + 0.3)


def _draw_bars(connection: duckdb.DuckDBPyConnection, track_id: str, axes, start_s: float) -> None:
    beats = connection.execute(
        "SELECT time_s, beat_in_bar FROM beats WHERE track_id = ? AND time_s BETWEEN ? AND ?",
        [track_id, start_s, start_s + EXCERPT_S],
    ).fetchall()
    for time_s, beat_in_bar in beats:
        downbeat = beat_in_bar == 1
        axes.axvline(time_s, color="#444444" if downbeat else "#cccccc", linewidth=1.2 if downbeat else 0.7, zorder=0)


def _draw_bass(connection: duckdb.DuckDBPyConnection, track_id: str, axes, start_s: float, end_s: float) -> None:
    """The notes of the bass as lines of their lengths, the higher the higher."""
    rows = connection.execute(
        "SELECT time_s, time_s + duration_s, midi_note FROM notes"
        " WHERE track_id = ? AND instrument_type = 'bass' AND time_s BETWEEN ? AND ?",
        [track_id, start_s, end_s],
    ).fetchall()
    low, high = BASS_RANGE
    for first_s, last_s, note in rows:
        height = BASS_LANE - 0.4 + 0.8 * min(max((note - low) / (high - low), 0), 1)
        axes.plot([first_s, last_s], [height, height], color=COLOURS["bass"], linewidth=1.6, solid_capstyle="butt")


def _draw_hits(
    connection: duckdb.DuckDBPyConnection, track_id: str, axes, lanes: list[str], start_s: float, end_s: float
) -> None:
    _draw_bass(connection, track_id, axes, start_s, end_s)
    for lane, instrument in enumerate(lanes):
        rows = connection.execute(
            "SELECT time_s, velocity, confidence FROM notes"
            " WHERE track_id = ? AND instrument_type = ? AND time_s BETWEEN ? AND ?",
            [track_id, instrument, start_s, end_s],
        ).fetchall()
        if rows:
            times, velocities, confidences = zip(*rows, strict=True)
            axes.scatter(
                times,
                [lane] * len(times),
                s=[2 + velocity * 60 / 127 for velocity in velocities],
                alpha=[0.25 + 0.75 * confidence for confidence in confidences],
                color=COLOURS[instrument],
                linewidths=0,
            )
    axes.set_xlim(start_s, end_s)
    axes.set_yticks(range(BASS_LANE, len(lanes)), ["bass", *lanes])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False, labelsize=8)


def _choose_excerpt(connection: duckdb.DuckDBPyConnection, track_id: str, duration_s: float) -> float:
    """The start of the section with the best pattern, or of the track."""
    row = connection.execute(
        "SELECT sections.start_s FROM patterns JOIN sections USING (section_id)"
        " WHERE patterns.track_id = ? ORDER BY quality_score DESC, sections.start_s LIMIT 1",
        [track_id],
    ).fetchone()
    return min(row[0] if row else 0.0, max(0.0, duration_s - EXCERPT_S))

"""Drum hits and bass lines as Standard MIDI Files and back, as bytes in memory. Which notes are drums is in drums.py.

The tempo map follows the beats: bar lines lie on the downbeats, and every note still sounds at its played time.
"""

from dataclasses import dataclass
from io import BytesIO

import numpy as np

from tasks.music.drums import Hits, instrument_of, midi_note_of
from tasks.music.notes import Notes

VERSION = "smf-beat-map-1"
TICKS_PER_QUARTER = 960
DRUM_CHANNEL = 9  # channel 10 when counted from 1
BASS_CHANNEL = 0
BASS_PROGRAM = 33  # finger bass, counted from 0
NOTE_S = 0.05  # drums ring by themselves: the length says nothing
DEFAULT_TEMPO_BPM = 120.0
DEFAULT_TIME_SIGNATURE = "4/4"
MERGED_GAP_S = 0.02  # a first beat this near to the start is the start
TEMPO_DRIFT_US = 100.0  # a beat may lie this far from its time before the tempo changes
MAX_TEMPO_US = 2**24 - 1  # microseconds a quarter: three bytes


class MidiError(ValueError):
    """Bytes that are not a MIDI file that can be read."""


@dataclass(frozen=True)
class _BeatMap:
    """Beats of an excerpt from its start: times, ticks and the bar that each begins (0 = none, else its beats)."""

    time_s: np.ndarray
    tick: np.ndarray
    bar_beats: np.ndarray


def write_drum_midi(
    hits: Hits,
    beat_time_s: np.ndarray,
    beat_in_bar: np.ndarray,
    start_s: float,
    end_s: float,
    tempo_bpm: float | None = None,
    time_signature: str | None = None,
    name: str = "drums",
) -> bytes:
    """Write the hits of an excerpt as a MIDI file of type 1.

    The file's time 0 is `start_s`. Where the excerpt begins before its first downbeat, the first bar is shorter.

    Args:
        hits: Of the track; those from start_s up to end_s are written.
        beat_time_s: float (beats,), of the track; may be empty.
        beat_in_bar: int (beats,), 1 on the downbeat.
        start_s: Start of the excerpt.
        end_s: End of the excerpt.
        tempo_bpm: Beats a minute where there are no beats to follow; 120 without.
        time_signature: Such as "6/8"; without one, quarters as many as the bars have beats.
        name: The name of the track.

    Returns:
        The bytes of the .mid file, valid and without notes where there are no hits.
    """
    from mido import Message

    inside = (hits.time_s >= start_s) & (hits.time_s < end_s)
    ruler = _Ruler.make(beat_time_s, beat_in_bar, start_s, end_s, tempo_bpm, time_signature)
    note_ticks = max(1, round(NOTE_S * ruler.ticks_per_beat / max(1e-3, np.median(np.diff(ruler.beat_map.time_s)))))
    drums = []
    ticks = ruler.find_ticks(hits.time_s[inside])
    for tick, instrument, velocity in zip(ticks, hits.instrument[inside], hits.velocity[inside], strict=True):
        note, tick = midi_note_of(str(instrument)), round(float(tick))
        drums.append((tick, Message("note_on", channel=DRUM_CHANNEL, note=note, velocity=int(velocity))))
        drums.append((tick + note_ticks, Message("note_off", channel=DRUM_CHANNEL, note=note, velocity=0)))
    return _write_file(name, ruler, drums)


def write_bass_midi(
    notes: Notes,
    beat_time_s: np.ndarray,
    beat_in_bar: np.ndarray,
    start_s: float,
    end_s: float,
    tempo_bpm: float | None = None,
    time_signature: str | None = None,
    name: str = "bass",
) -> bytes:
    """Write the notes of an excerpt as a MIDI file of type 1 for a finger bass; a note that goes on ends with it.

    Args:
        notes: Of the track; those that begin from start_s up to end_s are written.
        beat_time_s: The others are those of `write_drum_midi`.

    Returns:
        The bytes of the .mid file, valid and without notes where there are none.
    """
    from mido import Message

    ruler = _Ruler.make(beat_time_s, beat_in_bar, start_s, end_s, tempo_bpm, time_signature)
    played = notes.select((notes.time_s >= start_s) & (notes.time_s < end_s))
    first = np.rint(ruler.find_ticks(played.time_s)).astype(int)
    last = np.rint(ruler.find_ticks(np.minimum(played.time_s + played.duration_s, end_s))).astype(int)
    bass = [(0, Message("program_change", channel=BASS_CHANNEL, program=BASS_PROGRAM))]
    for start, end, note, velocity in zip(first, last, played.midi_note, played.velocity, strict=True):
        about = {"channel": BASS_CHANNEL, "note": int(note)}
        bass.append((int(start), Message("note_on", velocity=int(velocity), **about)))
        bass.append((int(max(start + 1, end)), Message("note_off", velocity=0, **about)))
    return _write_file(name, ruler, bass)


@dataclass(frozen=True)
class _Ruler:
    """Where the times of an excerpt lie in its MIDI file."""

    beat_map: _BeatMap
    ticks_per_beat: int
    meter: tuple[int, int, int]
    start_s: float

    @classmethod
    def make(
        cls,
        beat_time_s: np.ndarray,
        beat_in_bar: np.ndarray,
        start_s: float,
        end_s: float,
        tempo_bpm: float | None,
        time_signature: str | None,
    ) -> "_Ruler":
        numerator, denominator, beats = _read_meter(time_signature, beat_in_bar)
        ticks_per_beat = TICKS_PER_QUARTER * 4 * numerator // (denominator * beats)
        beat_map = _map_beats(beat_time_s, beat_in_bar, start_s, end_s, tempo_bpm, ticks_per_beat, beats)
        return cls(beat_map, ticks_per_beat, (numerator, denominator, beats), start_s)

    def find_ticks(self, time_s: np.ndarray) -> np.ndarray:
        """Ticks (float) of times of the track."""
        return _ticks_of(time_s - self.start_s, self.beat_map, self.ticks_per_beat)


def _write_file(name: str, ruler: _Ruler, part: list[tuple[int, object]]) -> bytes:
    """A file of a conductor's track and one part, given as messages at ticks."""
    from mido import MetaMessage

    conductor = [(0, MetaMessage("track_name", name=name))]
    conductor += _tempo_events(ruler.beat_map, ruler.ticks_per_beat)
    conductor += _meter_events(ruler.beat_map, *ruler.meter)
    return _save([conductor, [(0, MetaMessage("track_name", name=name)), *part]], TICKS_PER_QUARTER)


def _save(tracks: list[list[tuple[int, object]]], ticks_per_quarter: int) -> bytes:
    """The bytes of a file of type 1, given each track as messages at ticks, in any order."""
    from mido import MetaMessage, MidiFile, MidiTrack

    file = MidiFile(type=1, ticks_per_beat=ticks_per_quarter)
    for events in tracks:
        track, last = MidiTrack(), 0
        for tick, message in sorted(events, key=lambda event: (event[0], event[1].type == "note_on")):
            message.time = tick - last
            track.append(message)
            last = tick
        track.append(MetaMessage("end_of_track", time=0))
        file.tracks.append(track)
    buffer = BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def quantise_midi(data: bytes) -> bytes:
    """Move the notes of a MIDI file to the nearest sixteenth of its own bars; each keeps its length.

    Of notes of one pitch that come to lie on each other the loudest stays.

    Args:
        data: The bytes of a .mid file of type 0 or 1.

    Raises:
        MidiError: The bytes are no such file.
    """
    file = open_midi(data)
    step_ticks = file.ticks_per_beat / 4
    tracks = []
    for track in file.tracks:
        tick, others, begun, notes = 0, [], {}, {}
        for message in track:
            tick += message.time
            if message.type not in ("note_on", "note_off"):
                if message.type != "end_of_track":
                    others.append((tick, message))
                continue
            pitch = (message.channel, message.note)
            if message.type == "note_on" and message.velocity:
                begun[pitch] = (tick, message)
            elif pitch in begun:
                start, struck = begun.pop(pitch)
                at = round(round(start / step_ticks) * step_ticks)
                if (at, pitch) not in notes or notes[at, pitch][0].velocity < struck.velocity:
                    notes[at, pitch] = (struck, at + tick - start, message)
        for (at, _), (struck, end, released) in notes.items():
            others += [(at, struck), (end, released)]
        tracks.append(others)
    return _save(tracks, file.ticks_per_beat)


def read_drum_midi(data: bytes) -> Hits:
    """Read the drum hits of a MIDI file, seconds from its start.

    Args:
        data: The bytes of a .mid file of type 0 or 1.

    Returns:
        Hits of channel 10 whose notes stand for a known drum, with confidence 1; none where there are none.

    Raises:
        MidiError: The bytes are no such file.
    """
    time_s, rows = 0.0, []
    for message in open_midi(data):
        time_s += message.time
        if _is_drum(message):
            rows.append((time_s, message))
    return _list_hits(rows)


def read_drum_ticks(data: bytes) -> tuple[Hits, str]:
    """Read the drum hits of a MIDI file with their times in quarters of the file's own beat, and its time signature.

    For grids, where the written position counts and the tempo does not.

    Returns:
        Hits whose time_s holds quarter notes from the start, and the first time signature ("4/4" without one).

    Raises:
        MidiError: The bytes are no such file.
    """
    from mido import merge_tracks

    file = open_midi(data)
    tick, rows, signatures = 0, [], []
    for message in merge_tracks(file.tracks):
        tick += message.time
        if message.type == "time_signature":
            signatures.append(f"{message.numerator}/{message.denominator}")
        if _is_drum(message):
            rows.append((tick / file.ticks_per_beat, message))
    return _list_hits(rows), (signatures or [DEFAULT_TIME_SIGNATURE])[0]


def open_midi(data: bytes):
    """The `mido.MidiFile` in the bytes of a file of type 0 or 1 with a tempo in beats."""
    from mido import MidiFile
    from mido.midifiles.meta import KeySignatureError

    try:
        file = MidiFile(file=BytesIO(data))
    except (OSError, EOFError, ValueError, IndexError, KeyError, KeySignatureError) as error:
        raise MidiError(f"The {len(data)} bytes given are not a readable MIDI file: {error}.") from error
    if file.type == 2 or file.ticks_per_beat <= 0 or file.ticks_per_beat >= 0x8000:
        raise MidiError("Only MIDI files of type 0 or 1 that count in beats are read, not sequences or SMPTE time.")
    return file


def _is_drum(message) -> bool:
    """Whether a mido message is the hit of a drum that is transcribed."""
    struck = message.type == "note_on" and message.velocity > 0 and message.channel == DRUM_CHANNEL
    return struck and instrument_of(message.note) is not None


def _list_hits(rows: list[tuple[float, object]]) -> Hits:
    """Hits of pairs of a time and a mido message."""
    return Hits(
        np.array([time for time, _ in rows], np.float64),
        np.array([instrument_of(message.note) for _, message in rows], "U8"),
        np.array([message.velocity for _, message in rows], np.int64),
        np.ones(len(rows), np.float32),
    )


def _read_meter(time_signature: str | None, beat_in_bar: np.ndarray) -> tuple[int, int, int]:
    """Numerator, denominator and beats a bar."""
    downbeats = np.flatnonzero(np.asarray(beat_in_bar) == 1)
    lengths = np.diff(downbeats)
    counted = int(np.bincount(lengths).argmax()) if len(lengths) else 0
    numerator, _, denominator = (time_signature or "").partition("/")
    if not (numerator.isdigit() and denominator in ("2", "4", "8", "16") and 0 < int(numerator) < 64):
        return (counted or 4), 4, (counted or 4)
    numerator, denominator = int(numerator), int(denominator)
    compound = denominator >= 8 and numerator % 3 == 0 and numerator > 3
    return numerator, denominator, counted or (numerator // 3 if compound else numerator)


def _map_beats(
    beat_time_s: np.ndarray,
    beat_in_bar: np.ndarray,
    start_s: float,
    end_s: float,
    tempo_bpm: float | None,
    ticks_per_beat: int,
    beats: int,
) -> _BeatMap:
    """The beats from the excerpt's start to its end, with made ones before the first and after the last."""
    inside = (beat_time_s > start_s - MERGED_GAP_S) & (beat_time_s < end_s)
    times = np.asarray(beat_time_s, np.float64)[inside] - start_s
    positions = np.asarray(beat_in_bar)[inside]
    duration_s = max(0.0, end_s - start_s)
    period_s = float(np.median(np.diff(times))) if len(times) > 1 else 60 / (tempo_bpm or DEFAULT_TEMPO_BPM)
    if len(times) == 0:
        times = np.arange(int(duration_s / period_s) + 2) * period_s
        positions = np.arange(len(times)) % beats + 1
    if abs(times[0]) <= MERGED_GAP_S:
        times = np.concatenate([[0.0], times[1:]])
    else:
        made = max(1, round(times[0] / period_s))
        before = np.arange(made) * times[0] / made
        times = np.concatenate([before, times])
        positions = np.concatenate([(positions[0] - 1 - np.arange(made, 0, -1)) % beats + 1, positions])

    after = max(1, int(np.ceil((duration_s - times[-1]) / period_s)))
    positions = np.concatenate([positions, (positions[-1] + np.arange(after)) % beats + 1])
    times = np.concatenate([times, times[-1] + period_s * np.arange(1, after + 1)])
    return _BeatMap(times, np.arange(len(times)) * ticks_per_beat, _bar_lengths(positions))


def _bar_lengths(positions: np.ndarray) -> np.ndarray:
    """Beats of the bar that begins on each beat, 0 elsewhere; the first beat begins a bar wherever it stands."""
    begins = np.flatnonzero((positions == 1) | (np.arange(len(positions)) == 0))
    lengths = np.zeros(len(positions), int)
    lengths[begins[:-1]] = np.diff(begins)
    return lengths


def _tempo_events(beat_map: _BeatMap, ticks_per_beat: int) -> list[tuple[int, object]]:
    """A tempo wherever the last one misses the next beat; no error adds up over beats."""
    from mido import MetaMessage

    events, elapsed_us, tempo_us = [], 0.0, 0
    quarters = ticks_per_beat / TICKS_PER_QUARTER
    for tick, end_s in zip(beat_map.tick[:-1], beat_map.time_s[1:], strict=True):
        if abs(elapsed_us + tempo_us * quarters - end_s * 1e6) > TEMPO_DRIFT_US:
            tempo_us = int(np.clip(round((end_s * 1e6 - elapsed_us) / quarters), 1, MAX_TEMPO_US))
            events.append((int(tick), MetaMessage("set_tempo", tempo=tempo_us)))
        elapsed_us += tempo_us * quarters
    return events


def _meter_events(beat_map: _BeatMap, numerator: int, denominator: int, beats: int) -> list[tuple[int, object]]:
    """A time signature at the start and wherever a bar has another number of beats than the one before."""
    from mido import MetaMessage

    events, last = [], None
    for tick, bar_beats in zip(beat_map.tick, beat_map.bar_beats, strict=True):
        if not bar_beats:
            continue
        signature = (max(1, bar_beats * numerator // beats), denominator)
        if signature != last and signature[0] < 256:
            message = MetaMessage("time_signature", numerator=int(signature[0]), denominator=signature[1])
            events.append((int(tick), message))
            last = signature
    return events or [(0, MetaMessage("time_signature", numerator=numerator, denominator=denominator))]


def _ticks_of(time_s: np.ndarray, beat_map: _BeatMap, ticks_per_beat: int) -> np.ndarray:
    """Ticks (float) of times from the excerpt's start; the tempo of the last beat goes on."""
    ticks = np.interp(time_s, beat_map.time_s, beat_map.tick)
    beyond = time_s > beat_map.time_s[-1]
    last_s = beat_map.time_s[-1] - beat_map.time_s[-2]
    ticks[beyond] = beat_map.tick[-1] + (time_s[beyond] - beat_map.time_s[-1]) / last_s * ticks_per_beat
    return ticks

from io import BytesIO

import mido
import numpy as np
import pytest

from tasks.music.drums import Hits
from tasks.music.midi import (
    MidiError,
    quantise_midi,
    read_drum_midi,
    read_drum_ticks,
    write_bass_midi,
    write_drum_midi,
)
from tasks.music.notes import Notes


def make_hits(times, instruments=None, velocities=None):
    times = np.asarray(times, float)
    return Hits(
        times,
        np.array(instruments if instruments is not None else ["kick"] * len(times), "U8"),
        np.array(velocities if velocities is not None else [100] * len(times)),
        np.ones(len(times), np.float32),
    )


def played_beats(bars=8, beats=4, seed=0):
    """Beats of a band that speeds up and wavers, from 0.3 s on."""
    rng = np.random.default_rng(seed)
    periods = np.linspace(0.6, 0.45, bars * beats) + rng.normal(0, 0.01, bars * beats)
    return 0.3 + np.concatenate([[0], np.cumsum(periods[:-1])]), np.arange(bars * beats) % beats + 1


def bar_lines_s(data):
    """Times at which bars begin, from the tempo map and the time signatures alone."""
    file = mido.MidiFile(file=BytesIO(data))
    tick, tempo, signatures, tempos = 0, 500_000, [], []
    for message in mido.merge_tracks(file.tracks):
        tick += message.time
        if message.type == "time_signature":
            signatures.append((tick, message.numerator * 4 * file.ticks_per_beat // message.denominator))
        if message.type == "set_tempo":
            tempos.append((tick, message.tempo))
    last_tick, lines, position = tick, [], 0
    while position <= last_tick:
        lines.append(position)
        position += [length for start, length in signatures if start <= position][-1]

    def seconds(at):
        total, previous = 0.0, (0, tempo)
        for change in [*tempos, (at, 0)]:
            total += (min(change[0], at) - min(previous[0], at)) * previous[1] / 1e6 / file.ticks_per_beat
            previous = change
        return total

    return np.array([seconds(line) for line in lines])


def test_hits_come_back_at_their_played_times():
    beat_time_s, beat_in_bar = played_beats()
    rng = np.random.default_rng(1)
    times = np.sort(rng.uniform(0.0, 16.0, 200))
    names = rng.choice(["kick", "snare", "hihat"], 200)
    velocities = rng.integers(1, 128, 200)
    data = write_drum_midi(make_hits(times, names, velocities), beat_time_s, beat_in_bar, 0.0, 17.0, 115.0, "4/4")
    read = read_drum_midi(data)
    np.testing.assert_allclose(read.time_s, times, atol=0.001)
    assert read.instrument.tolist() == names.tolist()
    assert read.velocity.tolist() == velocities.tolist()


@pytest.mark.parametrize("start_s", [0.0, 0.29, 0.3, 2.0, 5.1])
def test_bar_lines_lie_on_the_downbeats(start_s):
    beat_time_s, beat_in_bar = played_beats()
    data = write_drum_midi(make_hits(np.arange(1, 16) + 0.5), beat_time_s, beat_in_bar, start_s, 16.0, None, "4/4")
    lines = bar_lines_s(data)
    for downbeat in beat_time_s[(beat_in_bar == 1) & (beat_time_s >= start_s) & (beat_time_s < 15)]:
        assert np.abs(lines - (downbeat - start_s)).min() < 0.011


def test_a_bar_with_a_beat_too_many_moves_no_later_bar_line():
    beat_time_s = np.arange(25) * 0.5
    beat_in_bar = np.array([1, 2, 3, 4, 1, 2, 3, 4, 5] + [1, 2, 3, 4] * 4)
    lines = bar_lines_s(write_drum_midi(make_hits([0.0, 11.9]), beat_time_s, beat_in_bar, 0.0, 12.5, None, "4/4"))
    np.testing.assert_allclose(lines[:5], [0, 2, 4.5, 6.5, 8.5], atol=1e-3)


@pytest.mark.parametrize("beats, period_s", [(2, 0.6), (6, 0.2)])
def test_six_eight_is_written_whichever_beat_is_counted(beats, period_s):
    number = np.arange(8 * beats)
    data = write_drum_midi(make_hits([0.6, 1.2]), number * period_s, number % beats + 1, 0.0, 9.0, None, "6/8")
    np.testing.assert_allclose(bar_lines_s(data)[:2], [0, 1.2], atol=1e-3)
    assert read_drum_ticks(data)[1] == "6/8"


def test_notes_are_general_midi_drums_on_channel_ten():
    data = write_drum_midi(make_hits([0, 0.5, 1], ["kick", "snare", "hihat"]), np.zeros(0), np.zeros(0, int), 0, 2)
    notes = [m for track in mido.MidiFile(file=BytesIO(data)).tracks for m in track if m.type == "note_on"]
    assert [m.note for m in notes] == [36, 38, 42]
    assert {m.channel for m in notes} == {9}


def test_without_beats_the_tempo_is_constant():
    nothing = np.zeros(0)
    data = write_drum_midi(make_hits([0.25, 3.75]), nothing, nothing.astype(int), 0.0, 4.0, tempo_bpm=90.0)
    tempos = [m.tempo for m in mido.MidiFile(file=BytesIO(data)).tracks[0] if m.type == "set_tempo"]
    assert tempos == [round(60e6 / 90)]
    np.testing.assert_allclose(read_drum_midi(data).time_s, [0.25, 3.75], atol=0.001)


def test_an_excerpt_begins_at_zero():
    beat_time_s, beat_in_bar = played_beats()
    data = write_drum_midi(make_hits([1.0, 5.5, 9.0]), beat_time_s, beat_in_bar, 5.0, 8.0)
    np.testing.assert_allclose(read_drum_midi(data).time_s, [0.5], atol=0.001)


def test_quantised_hits_lie_on_sixteenths_of_the_played_bars():
    beat_time_s, beat_in_bar = np.arange(8) * 0.5, np.arange(8) % 4 + 1
    data = write_drum_midi(make_hits([0.02, 0.61, 1.01]), beat_time_s, beat_in_bar, 0.0, 4.0)
    quantised = quantise_midi(data)
    np.testing.assert_allclose(read_drum_midi(quantised).time_s, [0.0, 0.625, 1.0], atol=0.001)
    before, after = (mido.MidiFile(file=BytesIO(midi)) for midi in (data, quantised))
    assert list(before.tracks[0]) == list(after.tracks[0])
    assert before.tracks[1].name == after.tracks[1].name


def test_of_notes_on_one_sixteenth_the_loudest_stays():
    beat_time_s, beat_in_bar = np.arange(8) * 0.5, np.arange(8) % 4 + 1
    hits = Hits(np.array([0.49, 0.53]), np.array(["kick", "kick"]), np.array([60, 100]), np.ones(2, np.float32))
    read = read_drum_midi(quantise_midi(write_drum_midi(hits, beat_time_s, beat_in_bar, 0.0, 4.0)))
    assert read.time_s.tolist() == pytest.approx([0.5])
    assert read.velocity.tolist() == [100]


def test_a_quantised_bass_note_keeps_its_length():
    notes = Notes(np.array([0.1]), np.array([0.4]), np.array([33]), np.array([80]), np.ones(1, np.float32))
    data = write_bass_midi(notes, np.arange(5) * 0.5, np.arange(5) % 4 + 1, 0.0, 2.0, 120.0, "4/4")
    now, times = 0.0, []
    for message in mido.MidiFile(file=BytesIO(quantise_midi(data))):
        now += message.time
        times += [now] if message.type in ("note_on", "note_off") else []
    assert times == pytest.approx([0.125, 0.525], abs=0.001)


def test_no_hits_make_a_valid_file():
    nothing = np.zeros(0)
    data = write_drum_midi(make_hits([]), nothing, nothing.astype(int), 0.0, 0.0)
    assert len(read_drum_midi(data)) == 0


def test_other_channels_and_unknown_drums_are_not_read():
    track = mido.MidiTrack(
        [mido.Message("note_on", channel=c, note=n, velocity=90, time=10) for c, n in [(0, 36), (9, 36), (9, 76)]]
    )
    file, buffer = mido.MidiFile(tracks=[track]), BytesIO()
    file.save(file=buffer)
    assert read_drum_midi(buffer.getvalue()).instrument.tolist() == ["kick"]


@pytest.mark.parametrize(
    "data", [b"", b"MThd", b"RIFF....WAVEfmt ", b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\x01\xe0MTrk"]
)
def test_other_bytes_are_refused(data):
    with pytest.raises(MidiError, match="MIDI"):
        read_drum_midi(data)


def test_the_same_hits_give_the_same_bytes():
    beat_time_s, beat_in_bar = played_beats()
    hits = make_hits(np.arange(10) * 0.7)
    first, second = (write_drum_midi(hits, beat_time_s, beat_in_bar, 0.0, 7.0) for _ in range(2))
    assert first == second


def test_a_bass_line_keeps_its_times_lengths_and_pitches():
    notes = Notes(
        np.array([0.1, 0.6, 1.4]),
        np.array([0.4, 0.5, 2.0]),
        np.array([33, 40, 36]),
        np.array([80, 90, 100]),
        np.ones(3, np.float32),
    )
    data = write_bass_midi(notes, np.arange(5) * 0.5, np.arange(5) % 4 + 1, 0.0, 2.0, 120.0, "4/4")
    played, now = [], 0.0
    for message in mido.MidiFile(file=BytesIO(data)):
        now += message.time
        if message.type in ("note_on", "note_off"):
            played.append((message.type, round(now, 2), message.note, message.channel))
    assert played == [
        ("note_on", 0.1, 33, 0),
        ("note_off", 0.5, 33, 0),
        ("note_on", 0.6, 40, 0),
        ("note_off", 1.1, 40, 0),
        ("note_on", 1.4, 36, 0),
        ("note_off", 2.0, 36, 0),
    ]

"""Makes the material of the pulse network: played and made-up music whose beats are known, and sounds without a pulse.

    python -m tasks.models.training.pulse_songs SOUNDS GROOVE MATERIAL --clips 4000

SOUNDS is a folder with the unpacked Debian packages that README.md names; GROOVE is the Groove MIDI Dataset. Drums are
real performances, cut to other meters by dropping or repeating beats of each bar, or the patterns of pulse_parts.py;
around them, or alone, plays a band that knows the bar. Kits and performances of the development and check sets are left
out. A clip is a sum of the spectrograms of pulse_sounds.py: drums and band each their own, so that training mixes them
anew.

Each number gives the same clip again, with the same sounds and the same FluidSynth and espeak-ng.
"""

import argparse
import csv
from dataclasses import dataclass, replace
from pathlib import Path

import mido
import numpy as np
from scipy.signal import lfilter

from tasks.models.training.kits import PIECES
from tasks.models.training.performances import OF_DEVELOPMENT_SET, PIECE_OF_KEY
from tasks.models.training.pulse_parts import TICKS, USUAL_STYLES, Form, Part, draw_form, make_band, make_drums
from tasks.models.training.pulse_sounds import (
    LEAD_IN,
    LOUDNESS_POWER,
    NOTE_FRAMES,
    NOTES,
    PADS,
    SoundBank,
    load_sounds,
    to_log_mel,
)
from tasks.music.meter import BEATS_PER_BAR
from tasks.music.signals import HOP_S, MEL_BANDS

CLIP_S = 24.0
FRAMES = round(CLIP_S / HOP_S)
STEPS_OF_LOG_MEL = 75.0  # a clip is kept in bytes: 1 / 75 is a quarter of a decibel
PEAK = 0.5  # magnitude of the loudest moment of drums and of band
USUAL_BPM = {"4/4": 113, "3/4": 122, "5/4": 125, "6/8": 78, "7/8": 210}
SPREAD_OF_BPM = 0.28  # of the logarithm
SLOW_BPM = (54, 96)
VARIED_GROUPS = ("kick", "snare", "hihat", "ride", "tom", "crash")  # pieces by how their names begin
HARD_STYLES = (0.16, 0.08, 0.10, 0.04, 0.02, 0.10, 0.04, 0.04, 0.02, 0.02, 0.10, 0.10, 0.10, 0.05, 0.03)  # of STYLES
PULSELESS = ("noise", "voice", "voice", "voice", "pads", "free", "hits", "one hit", "silence", "claps")
LEVEL_DB = {
    "kick": 0, "snare": -2, "snare_rim": -2, "stick": -8, "clap": -5, "hihat_closed": -11, "hihat_pedal": -12,
    "hihat_open": -11, "tom_low": -3, "tom_mid": -3, "tom_high": -3, "crash": -7, "ride": -12, "ride_bell": -11,
}  # fmt: skip


@dataclass(frozen=True)
class Menu:
    """How often what is drawn.

    Attributes:
        kinds: Who plays, or "pulseless".
        meters_played: Of real drummers, whose bars are cut to these.
        meters_made: Of made-up songs.
        spread_of_bpm: Of the logarithm of the tempo.
        unsteady: Factor on the share of clips whose tempo changes.
        slow: Share of the songs in 4/4 that are slow.
        pick_ups: Share of the clips that begin with an upbeat of the tune, before anybody else plays.
        chordal: Share of the clips whose tunes have notes of the chord on every beat.
        styles: Shares of STYLES, the drum patterns in 4/4.
        more_kits: Whether the kits of `load_more_kits` play, too.
        odd_kits: Whether electronic kits and brushes play, too.
        varied: Share of the real performances that are played otherwise: with pieces or hits left out, or changed for
            others.
    """

    kinds: dict[str, float]
    meters_played: dict[str, float]
    meters_made: dict[str, float]
    spread_of_bpm: float = SPREAD_OF_BPM
    unsteady: float = 1.0
    slow: float = 0.0
    pick_ups: float = 0.0
    chordal: float = 0.0
    styles: tuple[float, ...] = USUAL_STYLES
    more_kits: bool = False
    odd_kits: bool = False
    varied: float = 0.0


MENUS = {
    "usual": Menu(
        kinds={
            "groove+band": 0.22, "groove": 0.11, "pattern+band": 0.22, "pattern": 0.08, "band": 0.27, "pulseless": 0.10,
        },
        meters_played={"4/4": 0.62, "3/4": 0.17, "5/4": 0.14, "7/8": 0.07},
        meters_made={"4/4": 0.41, "3/4": 0.17, "5/4": 0.12, "6/8": 0.21, "7/8": 0.09},
    ),
    "rare": Menu(
        kinds={
            "groove+band": 0.19, "groove": 0.12, "pattern+band": 0.19, "pattern": 0.10, "band": 0.34, "pulseless": 0.06,
        },
        meters_played={"4/4": 0.45, "3/4": 0.19, "5/4": 0.24, "7/8": 0.12},
        meters_made={"4/4": 0.34, "3/4": 0.22, "5/4": 0.12, "6/8": 0.25, "7/8": 0.07},
        spread_of_bpm=0.34,
        unsteady=1.3,
        slow=0.45,
        pick_ups=0.35,
        chordal=0.6,
        styles=(0.34, 0.12, 0.22, 0.04, 0.04, 0.12, 0.04, 0.04, 0.02, 0.02, 0, 0, 0, 0, 0),
    ),
    "played": Menu(
        kinds={
            "groove+band": 0.24, "groove": 0.26, "pattern+band": 0.20, "pattern": 0.12, "band": 0.12, "pulseless": 0.06,
        },
        meters_played={"4/4": 0.88, "3/4": 0.05, "5/4": 0.04, "7/8": 0.03},
        meters_made={"4/4": 0.62, "3/4": 0.11, "5/4": 0.06, "6/8": 0.15, "7/8": 0.06},
        spread_of_bpm=0.30,
        slow=0.25,
        pick_ups=0.1,
        chordal=0.3,
        styles=HARD_STYLES,
        more_kits=True,
    ),
    "varied": Menu(
        kinds={
            "groove+band": 0.24, "groove": 0.24, "pattern+band": 0.18, "pattern": 0.10, "band": 0.18, "pulseless": 0.06,
        },
        meters_played={"4/4": 0.74, "3/4": 0.13, "5/4": 0.09, "7/8": 0.04},
        meters_made={"4/4": 0.48, "3/4": 0.17, "5/4": 0.09, "6/8": 0.20, "7/8": 0.06},
        spread_of_bpm=0.31,
        slow=0.25,
        pick_ups=0.15,
        chordal=0.3,
        styles=HARD_STYLES,
        more_kits=True,
        varied=0.6,
    ),
}  # fmt: skip
MENUS["odd"] = replace(MENUS["varied"], odd_kits=True)


@dataclass(frozen=True)
class Groove:
    """A real performance: beat (n,), MIDI note, velocity, on the grid of its metronome."""

    tempo_bpm: float
    beats_per_bar: int
    hits: np.ndarray


@dataclass(frozen=True)
class Clip:
    """Log mel spectrograms of the drums and of the rest (MEL_BANDS, FRAMES), the beats and their places in the bar.

    The meter is "" and there are no beats where there is no pulse.
    """

    drums: np.ndarray
    band: np.ndarray
    beat_s: np.ndarray
    position: np.ndarray
    meter: str


class Grid:
    """When the ticks of a clip fall: tempo, its changes, the start, swing and looseness."""

    def __init__(self, meter: str, tempo_bpm: float, rng: np.random.Generator, unsteady: float = 1.0) -> None:
        self.rng, self.length = rng, BEATS_PER_BAR[meter]
        interval_s = np.full(int(CLIP_S * tempo_bpm / 60 * 1.6) + 24, 60 / tempo_bpm)
        feel, index = rng.random() / unsteady, np.arange(len(interval_s))
        if feel < 0.12:
            interval_s *= np.linspace(1, rng.uniform(0.75, 1.33), len(interval_s))
        elif feel < 0.30:
            interval_s *= np.exp(np.cumsum(rng.normal(0, 0.006, len(interval_s))))
        elif feel < 0.38:
            interval_s *= 1 + rng.uniform(0.03, 0.12) * np.sin(index * 2 * np.pi / rng.uniform(8, 60))
        elif feel < 0.43:
            interval_s[len(interval_s) // 2 + rng.integers(-6, 6) :] *= rng.uniform(0.7, 1.4)
        times = np.concatenate([[0.0], np.cumsum(np.clip(interval_s, 60 / 290, 60 / 38))])
        first = int(rng.integers(0, self.length)) if rng.random() < 0.4 else 0  # the clip begins inside a bar
        start_s = rng.uniform(-1, 3) if rng.random() < 0.7 else 0.0
        self.beat_s = times - times[first] + start_s
        self.bars = len(self.beat_s) // self.length - 1
        swung = meter in ("4/4", "3/4", "5/4") and rng.random() < (0.4 if meter == "4/4" else 0.25)
        self.swing = float(rng.choice([0.56, 0.6, 0.64, 0.667])) if swung else 0.5
        self.swung_part = 0.5 if rng.random() < 0.2 else 1.0  # sixteenths or eighths of a beat
        self.loose_s = float(rng.choice([0, 0, 0.004, 0.008, 0.012]))

    def at(self, tick: np.ndarray) -> np.ndarray:
        """Seconds of ticks, swung; halves of the swung part move, thirds of it stay."""
        beat = tick / TICKS
        whole = np.floor(beat / self.swung_part) * self.swung_part
        part = (beat - whole) / self.swung_part
        early, late = part * self.swing / 0.5, self.swing + (part - 0.5) * (1 - self.swing) / 0.5
        third = np.isclose(part * 3, np.round(part * 3)) & (self.swung_part == 1.0)
        part = np.where(third, part, np.where(part < 0.5, early, late))
        return np.interp(whole + part * self.swung_part, np.arange(len(self.beat_s)), self.beat_s)

    def begin_at(self, tick: int, start_s: float) -> None:
        """Move the whole so that this tick falls at `start_s`."""
        self.beat_s = self.beat_s + start_s - self.at(np.array([float(tick)]))[0]

    def loosen(self, time_s: np.ndarray) -> np.ndarray:
        return time_s + self.rng.normal(0, self.loose_s, len(time_s))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sounds", type=Path)
    parser.add_argument("groove", type=Path)
    parser.add_argument("material", type=Path)
    parser.add_argument("--clips", type=int, default=4_000)
    parser.add_argument("--first", type=int, default=0, help="Number of the first clip; each number is another clip.")
    parser.add_argument("--menu", choices=MENUS, default="usual", help="What is drawn how often.")
    options = parser.parse_args()
    options.material.mkdir(parents=True, exist_ok=True)
    menu = MENUS[options.menu]
    bank = load_sounds(options.sounds, options.sounds / "notes.npz", more_kits=menu.more_kits, odd_kits=menu.odd_kits)
    grooves = load_grooves(options.groove)
    for index in range(options.first, options.first + options.clips):
        clip = make_clip(bank, grooves, np.random.default_rng([2, index]), menu)
        drums, band = (np.round(STEPS_OF_LOG_MEL * part).astype(np.uint8) for part in (clip.drums, clip.band))
        of_pulse = {"beats": clip.beat_s, "pos": clip.position, "meter": clip.meter}
        np.savez(options.material / f"{index:05d}.npz", drums=drums, band=band, **of_pulse)


def load_grooves(folder: Path) -> list[Groove]:
    """Performances of at least 12 s that lie on their metronome's grid and that no development file plays."""
    grooves = []
    with open(folder / "info.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["beat_type"] == "beat" and float(row["duration"]) >= 12]
    for row in rows:
        if row["midi_filename"] in OF_DEVELOPMENT_SET:
            continue
        song, tick, hits = mido.MidiFile(folder / row["midi_filename"]), 0, []
        for message in mido.merge_tracks(song.tracks):
            tick += message.time
            if message.type == "note_on" and message.velocity and message.note in PIECE_OF_KEY:
                hits.append((tick / song.ticks_per_beat, PIECES.index(PIECE_OF_KEY[message.note]), message.velocity))
        hits = np.array(hits)
        loud = hits[hits[:, 2] > 50, 0]
        fits = max((abs(np.exp(2j * np.pi * parts * loud).mean()) for parts in (2, 3, 4)), default=0)
        if len(loud) >= 20 and fits >= 0.4:
            grooves.append(Groove(float(row["bpm"]), int(row["time_signature"][0]), hits))
    return grooves


def make_clip(bank: SoundBank, grooves: list[Groove], rng: np.random.Generator, menu: Menu = MENUS["usual"]) -> Clip:
    kind = str(rng.choice(list(menu.kinds), p=list(menu.kinds.values())))
    if kind == "pulseless":
        drums, band = make_pulseless(bank, rng)
        return Clip(_finish(drums, rng), _finish(band, rng), np.zeros(0), np.zeros(0, int), "")
    groove = grooves[rng.integers(len(grooves))]
    chances = menu.meters_played if kind.startswith("groove") else menu.meters_made
    meter = str(rng.choice(list(chances), p=list(chances.values())))
    if kind.startswith("groove"):
        meter = meter if groove.beats_per_bar == 4 else f"{groove.beats_per_bar}/4"
        tempo_bpm = groove.tempo_bpm * rng.uniform(0.85, 1.18)
        if meter == "7/8":
            meter, tempo_bpm = (meter, 2 * tempo_bpm) if tempo_bpm < 135 else ("4/4", tempo_bpm)
    else:
        usual = USUAL_BPM[meter] * np.exp(rng.normal(0, menu.spread_of_bpm))
        if menu.slow and meter == "4/4" and rng.random() < menu.slow:
            usual = rng.uniform(*SLOW_BPM)
        tempo_bpm = float(np.clip(usual, 42, 270))
    grid = Grid(meter, tempo_bpm, rng, menu.unsteady)
    form = draw_form(meter, grid.bars, rng)
    upbeat, chordal = 0, bool(menu.chordal) and rng.random() < menu.chordal
    if menu.pick_ups and rng.random() < menu.pick_ups:
        upbeat = int(rng.choice([form.part_ticks, form.part_ticks, TICKS, 2 * TICKS]))
        grid.begin_at(form.bar_ticks - upbeat, rng.uniform(0.05, 2))
    drums, band = np.zeros((MEL_BANDS, FRAMES), np.float32), np.zeros((MEL_BANDS, FRAMES), np.float32)
    if kind.startswith("groove"):
        if menu.varied and rng.random() < menu.varied:  # no draw for the other menus: their clips stay the same
            groove = vary_groove(groove, rng)
        time_s, piece, velocity = play_groove(grid, form, groove, rng)
        plays = time_s >= (grid.beat_s[form.bar_ticks // TICKS] - 0.05 if upbeat else -np.inf)
        render_drums(drums, time_s[plays], piece[plays], velocity[plays], bank, rng)
    elif kind != "band":
        events = _after(make_drums(form, rng, menu.styles).events, form.bar_ticks if upbeat else 0)
        render_drums(drums, grid.loosen(grid.at(events[:, 0])), events[:, 1], events[:, 2], bank, rng)
    if kind.endswith("band"):
        for part in make_band(form, rng, alone=kind == "band", chordal=chordal):
            first_tick = form.bar_ticks - (upbeat if part.is_tune else 0) if upbeat else 0
            render_part(band, replace(part, events=_after(part.events, first_tick)), grid, bank, rng)
        if rng.random() < 0.15:
            add_voice(band, bank, 10 ** rng.uniform(-1.5, 0.3), rng)
    level = (drums + band).sum(axis=0)
    sounding = np.flatnonzero(level > 1e-3 * level.max()) * HOP_S
    if not len(sounding):
        return Clip(drums, band, np.zeros(0), np.zeros(0, int), "")
    heard = (grid.beat_s >= max(-0.02, sounding[0] - 0.1)) & (grid.beat_s < min(CLIP_S, sounding[-1] + 0.1))
    position = np.flatnonzero(heard) % grid.length + 1
    return Clip(_finish(drums, rng), _finish(band, rng), grid.beat_s[heard], position, meter)


def _after(events: np.ndarray, first_tick: int) -> np.ndarray:
    return events[events[:, 0] >= first_tick]


def play_groove(
    grid: Grid, form: Form, groove: Groove, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seconds, piece and velocity of the performance from a random bar on, each bar cut or lengthened to the meter."""
    own = groove.beats_per_bar
    skip = int(rng.integers(0, max(1, int(groove.hits[-1, 0] // own) - form.bars)))
    beat, piece, velocity = groove.hits.T
    bar, place = beat // own - skip, beat % own
    kept = bar >= 0
    if form.meter == "7/8":
        kept &= place < 3.47
        place = 2 * place
    elif form.meter == "3/4" and own == 4:
        kept &= place < 2.97
    elif form.meter == "5/4" and own == 4:
        again, shift = ((place >= 2) & (place < 3), 2) if rng.random() < 0.5 else (place < 1, 4)
        again &= kept
        bar, piece, velocity = (np.concatenate([x, x[again]]) for x in (bar, piece, velocity))
        place, kept = np.concatenate([place, place[again] + shift]), np.concatenate([kept, kept[again]])
    time_s = np.interp(bar * grid.length + place, np.arange(len(grid.beat_s)), grid.beat_s)
    return time_s[kept], piece[kept], velocity[kept]


def vary_groove(groove: Groove, rng: np.random.Generator) -> Groove:
    """The performance without some of its pieces or hits, with other cymbals or with other accents."""
    beat, piece, velocity = groove.hits.T
    kept, piece, velocity = np.ones(len(beat), bool), piece.copy(), velocity.copy()
    named = {group: [index for index, name in enumerate(PIECES) if name.startswith(group)] for group in VARIED_GROUPS}
    if rng.random() < 0.45:
        silent = rng.choice(VARIED_GROUPS, int(rng.integers(1, 3)), replace=False)
        left = ~np.isin(piece, [index for group in silent for index in named[group]])
        kept = left if left.sum() >= 0.25 * len(left) else kept
    if rng.random() < 0.35:
        cymbals = np.isin(piece, named["hihat"] + named["ride"])
        piece[cymbals] = PIECES.index(str(rng.choice(["hihat_closed", "hihat_open", "ride", "tom_low", "stick"])))
    if rng.random() < 0.3:
        kept &= rng.random(len(beat)) > rng.uniform(0.05, 0.35)
    if rng.random() < 0.3:
        velocity = np.clip(velocity * np.exp(rng.normal(0, rng.uniform(0.1, 0.5), len(velocity))), 8, 127)
    return replace(groove, hits=np.column_stack([beat, piece, velocity])[kept])


def render_drums(
    into: np.ndarray,
    time_s: np.ndarray,
    piece: np.ndarray,
    velocity: np.ndarray,
    bank: SoundBank,
    rng: np.random.Generator,
) -> None:
    """Add hits, each piece of a kit at random, mostly of the same; tuned by whole bands, dampened and levelled."""
    home = bank.kits[rng.integers(len(bank.kits))]
    loyal, curve = rng.random() < 0.5, rng.uniform(0.7, 2.2)  # from velocity to amplitude
    for index in np.unique(piece).astype(int):
        name = PIECES[index]
        owners = [home] if loyal and name in home else [kit for kit in bank.kits if name in kit]
        sounds = owners[rng.integers(len(owners))][name]
        layers = _vary(sounds[rng.integers(len(sounds))], rng)
        level = 10 ** ((LEVEL_DB.get(name, -9) + rng.normal(0, 4)) / 20)
        of_piece = (piece == index) & (time_s >= 0) & (time_s < CLIP_S)
        for at_s, loud in zip(time_s[of_piece], velocity[of_piece] / 127, strict=True):
            half_frame = round(2 * at_s / HOP_S)
            layer = layers[min(int(loud * len(layers)), len(layers) - 1)][half_frame % 2]
            _add(into, layer, half_frame // 2 - LEAD_IN, (level * loud**curve) ** LOUDNESS_POWER)


def render_part(into: np.ndarray, part: Part, grid: Grid, bank: SoundBank, rng: np.random.Generator) -> None:
    """Add the notes of one part, by one of its programs."""
    program = int(rng.choice(part.programs))
    notes = bank.notes[program]
    begin_s = grid.loosen(grid.at(part.events[:, 0]))
    end_s = grid.at(part.events[:, 0] + part.events[:, 3])
    heard = (begin_s >= 0) & (begin_s < CLIP_S)
    track = np.zeros_like(into)
    release = rng.uniform(3, 12)
    for at_s, until_s, note, velocity in zip(
        begin_s[heard], end_s[heard], part.events[heard, 1], part.events[heard, 2], strict=True
    ):
        key = int(np.clip((note - NOTES.start + 1) // NOTES.step, 0, len(NOTES) - 1))
        gain = (velocity / 100) ** (1.4 * LOUDNESS_POWER)
        _add_note(track, notes[key], round(at_s / HOP_S), max(3, round((until_s - at_s) / HOP_S)), gain, release)
    level = 10 ** (part.level_db / 20 * LOUDNESS_POWER)
    into += level * track / (track.sum(axis=0).mean() + 1e-9)


def _add_note(track: np.ndarray, note: np.ndarray, frame: int, frames: int, gain: float, release: float) -> None:
    held = min(frames + LEAD_IN, NOTE_FRAMES)
    _add(track, note[:, :held], frame - LEAD_IN, gain)
    last, tail = note[:, held - 1 : held], np.arange(1, 30)
    if frames + LEAD_IN > NOTE_FRAMES:  # goes on fading as it did
        fading = (note[:, -20:].sum() / max(1e-9, note[:, -60:-40].sum())) ** (1 / 40)
        more = np.arange(1, frames + LEAD_IN - NOTE_FRAMES + 1)
        held += len(more)
        longer = last * min(1.0, fading) ** more
        _add(track, longer, frame - LEAD_IN + NOTE_FRAMES, gain)
        last = longer[:, -1:]
    _add(track, last * np.exp(-tail / release), frame - LEAD_IN + held, gain)


def make_pulseless(bank: SoundBank, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Drums and rest: noise, speech, long chords, free playing, hits or claps at random times, one hit, or nothing."""
    drums, band = np.zeros((MEL_BANDS, FRAMES), np.float32), np.zeros((MEL_BANDS, FRAMES), np.float32)
    kind = str(rng.choice(PULSELESS))
    if kind in ("noise", "silence"):
        slope = np.exp(-np.arange(MEL_BANDS) * rng.uniform(0, 0.08))[:, None]
        swell = 1 + rng.uniform(0, 1) * np.sin(np.arange(FRAMES) * rng.uniform(0.0005, 0.02) + rng.uniform(0, 6))
        grain = rng.gamma(rng.uniform(2, 8), 0.2, (MEL_BANDS, FRAMES))
        band += (slope * swell * grain).astype(np.float32)
        band *= 1e-6 if kind == "silence" else 1.0
    elif kind == "voice":
        add_voice(band, bank, 1.0, rng)
        if rng.random() < 0.3:
            add_voice(band, bank, 10 ** rng.uniform(-1, 0), rng)
    elif kind in ("pads", "free"):
        programs = PADS if kind == "pads" else (0, 24, 40, 46, 73)
        notes, at_s = bank.notes[int(rng.choice(programs))], rng.uniform(0, 2)
        while at_s < CLIP_S - 0.5:
            long_s = rng.uniform(2, 8) if kind == "pads" else rng.choice([0.2, 0.5, 1.0]) * rng.uniform(0.5, 3)
            for key in rng.integers(6, len(notes) - 6, rng.integers(1, 5)):
                _add_note(band, notes[key], round(at_s / HOP_S), round(long_s / HOP_S), rng.uniform(0.4, 1), 10.0)
            at_s += long_s
    else:
        count = {"hits": int(rng.integers(15, 90)), "one hit": 1, "claps": int(rng.integers(300, 1_500))}[kind]
        pieces = ["clap"] if kind == "claps" else ["kick", "snare", "hihat_closed", "hihat_open", "crash", "tom_mid"]
        piece = np.array([PIECES.index(name) for name in rng.choice(pieces, count)])
        render_drums(drums, np.sort(rng.uniform(0, CLIP_S, count)), piece, rng.uniform(40, 120, count), bank, rng)
    return drums, band


def add_voice(into: np.ndarray, bank: SoundBank, level: float, rng: np.random.Generator) -> None:
    """A voice that cares for no beat, at another speed, against the loudness of the rest."""
    voice = bank.voices[rng.integers(len(bank.voices))]
    place = (np.arange(FRAMES) * rng.uniform(0.8, 1.2) + rng.integers(0, voice.shape[1])).astype(int)
    taken = voice[:, place % voice.shape[1]]
    loudness = into.sum(axis=0).mean() or 1.0
    into += (level**LOUDNESS_POWER * loudness / (taken.sum(axis=0).mean() + 1e-12)) * taken


def _vary(layers: list[tuple[np.ndarray, np.ndarray]], rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    bands = int(np.clip(np.round(rng.normal(0, 1.2)), -3, 3))
    damping = 1 / (100 * rng.uniform(0.05, 0.5)) if rng.random() < 0.3 else 0.0

    def change(layer: np.ndarray) -> np.ndarray:
        moved = layer if bands == 0 else np.roll(layer, bands, axis=0)
        if bands > 0:
            moved[:bands] = 0
        elif bands < 0:
            moved[bands:] = 0
        return moved * np.exp(-damping * LOUDNESS_POWER * np.arange(layer.shape[1])).astype(np.float32)

    return [(change(on), change(late)) for on, late in layers]


def _add(into: np.ndarray, sound: np.ndarray, frame: int, gain: float) -> None:
    start, end = max(0, frame), min(into.shape[1], frame + sound.shape[1])
    if end > start:
        into[:, start:end] += np.float32(gain) * sound[:, start - frame : end - frame]


def _finish(summed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A room around it, at times; then the log mel spectrogram at a peak of PEAK."""
    if rng.random() < 0.4:
        keep = np.exp(-1 / rng.uniform(3, 25))
        wet = 10 ** rng.uniform(-2.2, -0.7)
        summed = summed + wet * lfilter([1 - keep], [1, -keep], summed, axis=1)
    loudest = summed.max()
    return to_log_mel(summed * (PEAK**LOUDNESS_POWER / loudest) if loudest > 1e-4 else summed)


if __name__ == "__main__":
    main()

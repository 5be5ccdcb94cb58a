"""Drum sounds to play performances with: sampled kits, sound fonts, single samples and drums made from formulas.

A kit maps pieces ("hihat_open", "snare") to sounds; a sound is its layers, softest first. How hits are placed and
mixed is in render.py.
"""

import re
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

import mido
import numpy as np
import soundfile
from scipy.signal import butter, resample_poly, sosfilt

RATE_HZ = 44_100
MAX_SOUND_S = 2.5

# What the network is to tell apart. Pieces without a class are heard, so that it learns to leave them out.
CLASS_OF_PIECE = {
    "kick": "kick",
    "snare": "snare",
    "snare_rim": "snare",
    "hihat_closed": "hihat",
    "hihat_pedal": "hihat",
    "hihat_open": "hihat",
    "tom_low": "tom",
    "tom_mid": "tom",
    "tom_high": "tom",
    "crash": "crash",
    "ride": "ride",
    "ride_bell": "ride",
    "stick": None,
    "clap": None,
    "cowbell": None,
    "tambourine": None,
    "shaker": None,
    "clave": None,
    "conga": None,
}
PIECES = tuple(CLASS_OF_PIECE)

# Kits that the development or the check set plays, by folder name.
KITS_OF_DEVELOPMENT_SET = ("ColomboAcousticDrumkit", "GMRockKit", "TR808EmulationKit", "The Black Pearl 1.0")
KITS_OF_CHECK_SET = ("ForzeeStereo", "BJA_Pacific", "Millo_MultiLayered2", "Audiophob")

# Keys of a General MIDI percussion channel, only to make a sound font speak.
_SOUND_FONT_KEYS = {
    "kick": (35, 36),
    "snare": (38,),
    "snare_rim": (40,),
    "stick": (37,),
    "clap": (39,),
    "hihat_closed": (42,),
    "hihat_pedal": (44,),
    "hihat_open": (46,),
    "tom_low": (41, 43),
    "tom_mid": (45, 47),
    "tom_high": (48, 50),
    "crash": (49, 57),
    "ride": (51, 59),
    "ride_bell": (53,),
    "cowbell": (56,),
    "tambourine": (54,),
    "shaker": (70, 82),
    "clave": (75, 76),
    "conga": (62, 64),
}
# First match wins.
_PIECE_OF_NAME = (
    (r"conga|bongo|djembe|sangban|dununba|kenkeni", "conga"),
    (r"rimshot", "snare_rim"),
    (r"stick|^click$|c#3 -", "stick"),
    (r"clap|snap", "clap"),
    (r"zap|^fx|whistle|semi|swish|choke|splash|roll|super opaco|waterglass|drum [12]$", None),
    (r"kick|bass ?drum|thump", "kick"),
    (r"snare|cajon slap", "snare"),
    (r"tom.*(low|floor)|low tom|floor tom|tomhi4", "tom_low"),
    (r"tom.*mid|middle tom|tom 2|tomhi3", "tom_mid"),
    (r"tom|high tom", "tom_high"),
    (r"pedal|pd$", "hihat_pedal"),
    (r"(hat|hh|hi-hat).*(open|op\b)|open.*(hh|hat)|ohh", "hihat_open"),
    (r"hat|hh|hi-hat", "hihat_closed"),
    (r"cowbell", "cowbell"),
    (r"cup|bell", "ride_bell"),
    (r"ride|cymbal 2", "ride"),
    (r"crash|cymbal", "crash"),
    (r"tambourine", "tambourine"),
    (r"shaker|maraca", "shaker"),
    (r"clave|woodblock", "clave"),
)
_SONIC_PI_PIECES = (
    (r"^bd_|drum_heavy_kick|elec_.*kick", "kick"),
    (r"^sn_|drum_snare|elec_.*snare", "snare"),
    (r"drum_cymbal_closed", "hihat_closed"),
    (r"drum_cymbal_pedal", "hihat_pedal"),
    (r"drum_cymbal_open", "hihat_open"),
    (r"drum_tom_lo", "tom_low"),
    (r"drum_tom_mid", "tom_mid"),
    (r"drum_tom_hi|elec_fuzz_tom", "tom_high"),
    (r"drum_cymbal_(hard|soft)|drum_splash|elec_cymbal", "crash"),
    (r"drum_cowbell", "cowbell"),
    (r"perc_snap|elec_snap", "clap"),
    (r"elec_wood|elec_tick", "clave"),
    (r"tabla_", "conga"),
)


_LMMS_PIECES = (
    (r"zap|nasty_bass|kick04", None),
    (r"sidestick|^rim|nasty_rim", "stick"),
    (r"snare_rim", "snare_rim"),
    (r"clap", "clap"),
    (r"bassdrum|kick", "kick"),
    (r"snare", "snare"),
    (r"tom_low|tom0[45]", "tom_low"),
    (r"tom_mid|tom03", "tom_mid"),
    (r"tom", "tom_high"),
    (r"hihat_foot", "hihat_pedal"),
    (r"hihat_open", "hihat_open"),
    (r"hihat_closed", "hihat_closed"),
    (r"crash", "crash"),
    (r"ride", "ride"),
    (r"shaker", "shaker"),
    (r"clav|wood", "clave"),
)
_EXADRUMS_PIECES = (
    (r"^bd_", "kick"),
    (r"^snr_", "snare"),
    (r"^hihat", "hihat_closed"),
    (r"^tom01", "tom_high"),
    (r"^tom03", "tom_low"),
    (r"^crash", "crash"),
    (r"^ridebell", "ride_bell"),
    (r"^rideedge", "ride"),
)
# Keys of the AVL drum kits, only to make their sound font speak.
_RED_ZEPPELIN_KEYS = {
    "kick": (36,),
    "stick": (37,),
    "snare": (38,),
    "clap": (39,),
    "snare_rim": (40,),
    "tom_low": (41, 43),
    "hihat_closed": (42,),
    "hihat_pedal": (44,),
    "tom_mid": (45,),
    "hihat_open": (46, 48),
    "tom_high": (47,),
    "crash": (49, 57),
    "ride": (51, 59),
    "ride_bell": (53,),
    "tambourine": (54,),
    "cowbell": (56,),
    "shaker": (64,),
}


@dataclass(frozen=True)
class Sound:
    """One drum: mono layers, softest first, each from its attack on with a peak of 1."""

    layers: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Kit:
    name: str
    sounds: dict[str, list[Sound]] = field(default_factory=dict)


def load_kits(root: Path, *, with_development_kits: bool) -> list[Kit]:
    """All kits under a folder into which the Debian packages were unpacked; never those of the check set."""
    left_out = KITS_OF_CHECK_SET + (() if with_development_kits else KITS_OF_DEVELOPMENT_SET)
    kits = [
        _load_hydrogen_kit(path.parent)
        for path in sorted(root.glob("**/hydrogen/data/drumkits/*/drumkit.xml"))
        if path.parent.name not in left_out
    ]
    sonic_pi = sorted(next(root.glob("**/sonic-pi/samples")).glob("*.flac"))
    kits.append(_load_single_samples("sonic-pi", sonic_pi, _SONIC_PI_PIECES))
    kits += _load_sound_font_kits(next(root.glob("**/TimGM6mb.sf2")), presets=(0, 8, 16, 24, 25, 32, 40))
    if with_development_kits:
        kits += _load_sound_font_kits(next(root.glob("**/FluidR3_GM.sf2")), presets=(0, 8, 16, 24, 25, 32, 40))
    return kits


def load_more_kits(root: Path) -> list[Kit]:
    """The kits that `load_kits` leaves out because they came later; none of them is reserved."""
    lmms = sorted(next(root.glob("**/lmms/samples/drums")).glob("*.ogg"))
    exadrums = sorted(next(root.glob("**/share/exadrums")).glob("*.wav"))
    zeppelin = next(root.glob("**/sf2/Red_Zeppelin_4_LV2.sf2"))
    return [
        _load_single_samples("lmms", lmms, _LMMS_PIECES),
        _load_single_samples("exadrums", exadrums, _EXADRUMS_PIECES),
        *_load_sound_font_kits(next(root.glob("**/sf_GMbank.sf2")), presets=(0, 8, 16, 24, 25, 32, 40)),
        *_load_sound_font_kits(zeppelin, (0,), _RED_ZEPPELIN_KEYS, velocities=(20, 45, 70, 95, 120), channel=0),
    ]


def _load_hydrogen_kit(folder: Path) -> Kit:
    text = (folder / "drumkit.xml").read_text(encoding="utf-8", errors="replace")
    tree = ElementTree.fromstring(re.sub(r'\sxmlns="[^"]*"', "", text))
    kit = Kit(folder.name)
    for instrument in tree.iter("instrument"):
        piece = piece_of(instrument.findtext("name") or "", _PIECE_OF_NAME)
        files = sorted(
            (float(layer.findtext("min") or 0), layer.findtext("filename") or "") for layer in instrument.iter("layer")
        ) or [(0.0, instrument.findtext("filename") or "")]
        paths = [folder / name for _, name in files if name and (folder / name).is_file()]
        if piece and paths:
            kit.sounds.setdefault(piece, []).append(make_sound([_read(path) for path in paths]))
    return kit


def _load_single_samples(name: str, paths: list[Path], patterns: tuple[tuple[str, str | None], ...]) -> Kit:
    kit = Kit(name)
    for path in paths:
        if piece := piece_of(path.stem, patterns):
            kit.sounds.setdefault(piece, []).append(make_sound([_read(path)]))
    return kit


def _load_sound_font_kits(
    sound_font: Path,
    presets: tuple[int, ...],
    keys_of_piece: dict[str, tuple[int, ...]] = _SOUND_FONT_KEYS,
    velocities: tuple[int, ...] = (30, 64, 96, 124),
    channel: int = 9,
) -> list[Kit]:
    kits = []
    for preset in presets:
        keys = [(piece, key) for piece, keys in keys_of_piece.items() for key in keys]
        song = mido.MidiFile(ticks_per_beat=480)
        track = mido.MidiTrack([mido.Message("program_change", channel=channel, program=preset)])
        song.tracks.append(track)
        for _, key in keys:
            for velocity in velocities:  # at 120 bpm 2,400 ticks are MAX_SOUND_S
                track.append(mido.Message("note_on", channel=channel, note=key, velocity=velocity))
                track.append(mido.Message("note_off", channel=channel, note=key, time=2_400))
        samples = render_midi(song, sound_font)
        step = round(MAX_SOUND_S * RATE_HZ)
        kit = Kit(f"{sound_font.stem}/{preset}")
        for index, (piece, _) in enumerate(keys):
            starts = [(index * len(velocities) + layer) * step for layer in range(len(velocities))]
            layers = [samples[:, start : start + step].mean(axis=0) for start in starts]
            if all(len(layer) and np.abs(layer).max() > 1e-4 for layer in layers):
                kit.sounds.setdefault(piece, []).append(make_sound(layers))
        kits.append(kit)
    return kits


def render_midi(song: mido.MidiFile, sound_font: Path) -> np.ndarray:
    """Play a song with FluidSynth, dry: float32 (2, n) at RATE_HZ."""
    with tempfile.TemporaryDirectory() as folder:
        midi_path, wav_path = Path(folder, "song.mid"), Path(folder, "song.wav")
        song.save(midi_path)
        options = ["-ni", "-q", "-R", "0", "-C", "0", "-g", "0.4", "-r", str(RATE_HZ), "-O", "float", "-T", "wav"]
        subprocess.run(
            ["fluidsynth", *options, "-F", wav_path, sound_font, midi_path], check=True, stdout=subprocess.DEVNULL
        )
        samples, _ = soundfile.read(wav_path, dtype="float32", always_2d=True)
    return samples.T


def piece_of(name: str, patterns: tuple[tuple[str, str | None], ...]) -> str | None:
    return next((piece for pattern, piece in patterns if re.search(pattern, name.lower())), None)


def _read(path: Path) -> np.ndarray:
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    return mono if rate_hz == RATE_HZ else resample_poly(mono, RATE_HZ // 100, rate_hz // 100).astype(np.float32)


def make_sound(layers: list[np.ndarray]) -> Sound:
    trimmed = [_from_attack(layer) for layer in layers]
    return Sound(tuple(layer / max(1e-6, np.abs(layer).max()) for layer in trimmed))


def _from_attack(samples: np.ndarray) -> np.ndarray:
    """The sound from where it first reaches 2 % of its peak, at most MAX_SOUND_S of it, faded at its end."""
    level = np.abs(samples)
    if not len(samples) or level.max() < 1e-5:
        return np.zeros(1, np.float32)
    start = int(np.argmax(level > 0.02 * level.max()))
    cut = samples[start : start + round(MAX_SOUND_S * RATE_HZ)].astype(np.float32).copy()
    fade = min(len(cut), RATE_HZ // 50)
    cut[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return cut


def make_kit(rng: np.random.Generator) -> Kit:
    """A kit from formulas: drum machines and rough likenesses of membranes and metal, new with every call."""
    makers = {
        "kick": _make_kick,
        "snare": _make_snare,
        "snare_rim": _make_snare,
        "stick": lambda r: (
            band_noise(r, 0.05, 0.008, 900, 4_000) + 0.6 * decaying_sine(r, 0.05, r.uniform(700, 1_800), 0.01)
        ),
        "clap": _make_clap,
        "cowbell": _make_cowbell,
        "tambourine": lambda r: _make_metal(r, r.uniform(0.05, 0.2), 5_000, 12_000),
        "shaker": _make_shaker,
        "clave": lambda r: decaying_sine(r, 0.15, r.uniform(1_200, 2_800), r.uniform(0.01, 0.04)),
        "conga": lambda r: _make_membrane(r, 150, 420),
        "tom_low": lambda r: _make_membrane(r, 65, 110),
        "tom_mid": lambda r: _make_membrane(r, 95, 160),
        "tom_high": lambda r: _make_membrane(r, 130, 240),
        "crash": lambda r: _make_metal(r, r.uniform(0.5, 1.2), 1_500, 9_000),
        "ride": lambda r: _make_ride(r, bell=0.3),
        "ride_bell": lambda r: _make_ride(r, bell=1.0),
    }
    sounds = {piece: [make_sound([make(rng)])] for piece, make in makers.items()}
    # The three hi-hats are one pair of cymbals: the same partials, other decays.
    seed, low_hz, high_hz = rng.integers(2**31), rng.uniform(2_500, 6_000), rng.uniform(8_000, 13_000)
    for piece, decay_s in (
        ("hihat_closed", rng.uniform(0.012, 0.06)),
        ("hihat_pedal", rng.uniform(0.015, 0.06)),
        ("hihat_open", rng.uniform(0.12, 0.6)),
    ):
        foot = 0.75 if piece == "hihat_pedal" else 1.0
        sounds[piece] = [make_sound([_make_metal(np.random.default_rng(seed), decay_s, foot * low_hz, high_hz)])]
    return Kit("formula", sounds)


def times(duration_s: float) -> np.ndarray:
    return np.arange(round(duration_s * RATE_HZ)) / RATE_HZ


def decaying_sine(
    rng: np.random.Generator, duration_s: float, hz: float, decay_s: float, sweep: float = 0.0, sweep_s: float = 0.02
) -> np.ndarray:
    """A decaying sine whose frequency falls from (1 + sweep) · hz to hz."""
    t = times(duration_s)
    phase = 2 * np.pi * hz * (t + sweep * sweep_s * (1 - np.exp(-t / sweep_s))) + rng.uniform(0, 0.5)
    return np.sin(phase) * np.exp(-t / decay_s)


def band_noise(
    rng: np.random.Generator, duration_s: float, decay_s: float, low_hz: float, high_hz: float
) -> np.ndarray:
    noise = rng.standard_normal(round(duration_s * RATE_HZ))
    band = butter(2, [low_hz, min(high_hz, 20_000)], "bandpass", fs=RATE_HZ, output="sos")
    return sosfilt(band, noise) * np.exp(-times(duration_s) / decay_s)


def _make_kick(rng: np.random.Generator) -> np.ndarray:
    base_hz = rng.uniform(38, 85)
    decay_s = rng.choice([rng.uniform(0.03, 0.12), rng.uniform(0.1, 0.35)])
    kick = decaying_sine(rng, 0.9, base_hz, decay_s, rng.uniform(0.5, 5), rng.uniform(0.004, 0.04))
    kick += rng.uniform(0, 0.5) * decaying_sine(rng, 0.9, base_hz * rng.uniform(1.5, 2.6), decay_s * 0.5)
    low_hz = rng.uniform(800, 3_500)
    click = band_noise(rng, 0.9, rng.uniform(0.001, 0.008), low_hz, low_hz * rng.uniform(1.5, 4))
    kick += rng.uniform(0, 0.35) * click / np.abs(click).max()
    drive = rng.uniform(0.5, 4)
    return np.tanh(drive * kick)


def _make_snare(rng: np.random.Generator) -> np.ndarray:
    base_hz = rng.uniform(130, 290)
    body = decaying_sine(rng, 0.6, base_hz, rng.uniform(0.02, 0.12), rng.uniform(0, 0.6), 0.015)
    body += rng.uniform(0.2, 0.8) * decaying_sine(rng, 0.6, base_hz * rng.uniform(1.45, 1.95), rng.uniform(0.015, 0.09))
    wires = band_noise(rng, 0.6, rng.uniform(0.03, 0.22), rng.uniform(300, 2_500), rng.uniform(5_000, 14_000))
    snap = band_noise(rng, 0.6, rng.uniform(0.002, 0.012), 1_000, 9_000)
    return body + rng.uniform(0.3, 2.5) * wires / np.abs(wires).max() + rng.uniform(0, 1) * snap / np.abs(snap).max()


def _make_membrane(rng: np.random.Generator, low_hz: float, high_hz: float) -> np.ndarray:
    base_hz = rng.uniform(low_hz, high_hz)
    tom = decaying_sine(rng, 1.0, base_hz, rng.uniform(0.06, 0.4), rng.uniform(0.05, 0.8), rng.uniform(0.01, 0.06))
    for ratio in (1.59, 2.14, 2.3):
        tom += rng.uniform(0, 0.4) * decaying_sine(rng, 1.0, base_hz * ratio, rng.uniform(0.02, 0.15))
    stick = band_noise(rng, 1.0, rng.uniform(0.002, 0.01), 800, 6_000)
    return tom + rng.uniform(0, 0.5) * stick / np.abs(stick).max()


def _make_metal(rng: np.random.Generator, decay_s: float, low_hz: float, high_hz: float) -> np.ndarray:
    t = times(min(MAX_SOUND_S, 7 * decay_s + 0.05))
    partials = np.exp(rng.uniform(np.log(low_hz), np.log(high_hz * 1.3), rng.integers(6, 40)))
    tone = sum(
        np.sin(2 * np.pi * hz * t + rng.uniform(0, 6.3)) * np.exp(-t / (decay_s * rng.uniform(0.4, 1.2)))
        for hz in partials
    )
    noise = sosfilt(butter(2, low_hz, "highpass", fs=RATE_HZ, output="sos"), rng.standard_normal(len(t)))
    noise *= np.exp(-t / decay_s)
    strike = np.exp(-t / rng.uniform(0.002, 0.01))
    mixed = rng.uniform(0, 1) * tone / np.abs(tone).max() + rng.uniform(0.3, 1) * noise / np.abs(noise).max()
    return mixed * (1 + rng.uniform(0, 2) * strike)


def _make_ride(rng: np.random.Generator, bell: float) -> np.ndarray:
    wash = _make_metal(rng, rng.uniform(0.4, 1.0), 2_500, 10_000)
    ping = _make_metal(rng, rng.uniform(0.02, 0.08), 3_000, 9_000)
    ring = sum(decaying_sine(rng, 1.0, hz, rng.uniform(0.2, 0.6)) for hz in rng.uniform(500, 4_000, 5))
    ride = rng.uniform(0.1, 0.4) * wash / np.abs(wash).max()
    ride[: len(ping)] += (ping / np.abs(ping).max())[: len(ride)]
    count = min(len(ride), len(ring))
    ride[:count] += bell * rng.uniform(0.2, 0.8) * (ring / np.abs(ring).max())[:count]
    return ride


def _make_clap(rng: np.random.Generator) -> np.ndarray:
    clap = np.zeros(round(0.4 * RATE_HZ))
    for start_s in np.cumsum(rng.uniform(0.006, 0.014, rng.integers(2, 5))):
        burst = band_noise(rng, 0.2, rng.choice([0.006, rng.uniform(0.03, 0.1)]), 700, 4_000)
        start = round(start_s * RATE_HZ)
        clap[start : start + len(burst)] += burst
    return clap


def _make_cowbell(rng: np.random.Generator) -> np.ndarray:
    t = times(0.4)
    base_hz = rng.uniform(450, 700)
    square = sum(np.sign(np.sin(2 * np.pi * hz * t)) for hz in (base_hz, base_hz * 1.48))
    band = butter(2, [base_hz, 4 * base_hz], "bandpass", fs=RATE_HZ, output="sos")
    return sosfilt(band, square) * np.exp(-t / rng.uniform(0.03, 0.12))


def _make_shaker(rng: np.random.Generator) -> np.ndarray:
    shaker = band_noise(rng, 0.25, rng.uniform(0.02, 0.06), 3_500, 14_000)
    rise = round(rng.uniform(0.005, 0.04) * RATE_HZ)
    shaker[:rise] *= np.linspace(0, 1, rise)
    return shaker

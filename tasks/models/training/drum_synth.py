"""Kits of an older drum synthesizer: reads DrumSynth presets (.ds, as lmms-common has them) and plays them.

A preset is a text of sections: a tone whose pitch falls, coloured noise, two overtones, two bands of noise, each with
an envelope of points, and distortion and a filter for their sum. It is rendered after what the numbers mean, not to
the bit: what counts here is that the sounds are many and unlike any others.
"""

import re
from pathlib import Path

import numpy as np
from scipy.signal import butter, lfilter, sosfilt

from tasks.models.training.kits import MAX_SOUND_S, RATE_HZ, Kit, make_sound, piece_of

Preset = dict[str, dict[str, str]]

MIXED_KITS = 10  # into which the presets of no machine are dealt
# Presets of one machine or maker make a kit. Left out: tr808, whose kit the development set plays, and what is no drum.
_FOLDERS_OF_KITS = (
    *("acoustic", "cr78", "cr8000", "electro", "farfisa", "ferraro", "jorgensohn", "latin", "linn", "r_n_b"),
    *("tr606", "tr77", "tr909"),
)
_FOLDERS_TO_DEAL = ("misc", "misc_bass", "misc_claps", "misc_electro", "misc_hats", "misc_perc")
_PIECES = (
    (r"808|809|snare&hat|hihatopclo|hat_rattle|backwd|what|_fx|door_knock|^gun|shaker_ride", None),
    (r"kick|kik|(^|_)bd|bd($|_)|bass_?drum|^k_|fisa_k", "kick"),
    (r"snare|snr|(^|_)sn(_|$)|^s_|fisa_s|^brush|simple-s", "snare"),
    (r"rim|stk", "stick"),
    (r"clap|clp", "clap"),
    (r"pedal_hh", "hihat_pedal"),
    (r"(hat|hh|h_).*(open|_o|-o)|_oh|hat-o", "hihat_open"),
    (r"hat|hh|h_closed|simple-h", "hihat_closed"),
    (r"ride", "ride"),
    (r"cym|crash", "crash"),
    (r"cow", "cowbell"),
    (r"tamb|sleigh", "tambourine"),
    (r"shak|maracas|linn_cab", "shaker"),
    (r"clav|wood", "clave"),
    (r"conga|cga|bongo|tabla|timbale", "conga"),
    (r"tom(_|\d|$)|tommy", "tom_mid"),
)
_TOM_BORDERS_HZ = (105.0, 160.0)
_BLOCK_SAMPLES = 64  # between which the filter stands still


def load_drum_synth_kits(root: Path) -> list[Kit]:
    """The kits of the presets under a folder into which lmms-common was unpacked, in a fixed order."""
    presets = next(root.glob("**/lmms/samples/drumsynth"))
    kits = [_load_kit(f"drumsynth/{folder}", sorted((presets / folder).glob("*.ds"))) for folder in _FOLDERS_OF_KITS]
    rest = [path for folder in _FOLDERS_TO_DEAL for path in sorted((presets / folder).glob("*.ds"))]
    known = [path for path in rest if piece_of(path.stem, _PIECES)]
    return kits + [_load_kit(f"drumsynth/mixed {n}", known[n::MIXED_KITS]) for n in range(MIXED_KITS)]


def _load_kit(name: str, paths: list[Path]) -> Kit:
    kit = Kit(name)
    for path in paths:
        piece = piece_of(path.stem, _PIECES)
        if piece is None:
            continue
        preset = read_preset(path)
        samples = render_preset(preset)
        if piece == "tom_mid":
            hz = _number(preset, "tone", "f2", 120.0)
            piece = ("tom_low", "tom_mid", "tom_high")[int(np.searchsorted(_TOM_BORDERS_HZ, hz))]
        if len(samples) > RATE_HZ // 200:
            kit.sounds.setdefault(piece, []).append(make_sound([samples]))
    return kit


def read_preset(path: Path) -> Preset:
    """The entries of a preset by section, names in lower case."""
    sections: Preset = {}
    entries: dict[str, str] = {}
    for line in path.read_text(encoding="latin-1").splitlines():
        if heading := re.match(r"\s*\[(.+)\]", line):
            entries = sections.setdefault(heading[1].strip().lower(), {})
        elif "=" in line:
            name, value = line.split("=", 1)
            entries[name.strip().lower()] = value.strip()
    return sections


def render_preset(preset: Preset) -> np.ndarray:
    """Play a preset: float32 (n,) at RATE_HZ, at most MAX_SOUND_S, with a peak of 1; nothing for one without sound."""
    stretch = np.clip(_number(preset, "general", "stretch", 100.0), 20, 500) / 100
    tuning = 2 ** (np.clip(_number(preset, "general", "tuning", 0.0), -24, 24) / 12)
    parts = [name for name in ("tone", "noise", "overtones", "noiseband", "noiseband2") if _is_on(preset, name)]
    ends = [max(_points(preset, name, key)[0][-1] for key in _envelope_names(name)) for name in parts]
    count = min(round(MAX_SOUND_S * RATE_HZ), int(max(ends, default=0) * stretch) + 1)
    rng = np.random.default_rng(len(parts) + count)
    tone_hz = tuning * _falling_hz(preset, count, stretch)
    total = np.zeros(count)
    for name in parts:
        gain = (_number(preset, name, "level", 100.0) / 100) ** 2
        envelopes = [_envelope(preset, name, key, count, stretch) for key in _envelope_names(name)]
        if name == "tone":
            part = np.sin(_phase(tone_hz)) * envelopes[0]
        elif name == "noise":
            part = _coloured_noise(count, _number(preset, name, "slope", 0.0), rng) * envelopes[0]
        elif name == "overtones":
            part = _overtones(preset, tone_hz, tuning, envelopes)
        else:
            part = _noise_band(preset, name, tuning, count, rng) * envelopes[0]
        total += gain * part
    if _is_on(preset, "distortion"):
        total = _distort(preset, total)
    if _number(preset, "general", "filter", 0.0):
        total = _filter(preset, total, stretch)
    peak = np.abs(total).max(initial=0)
    return (total / peak).astype(np.float32) if peak > 1e-6 else np.zeros(0, np.float32)


def _number(preset: Preset, section: str, name: str, default: float) -> float:
    found = re.match(r"[-+]?\d*\.?\d+", preset.get(section, {}).get(name, ""))
    return float(found[0]) if found else default


def _is_on(preset: Preset, section: str) -> bool:
    return bool(_number(preset, section, "on", 0.0))


def _envelope_names(section: str) -> tuple[str, ...]:
    return ("envelope1", "envelope2") if section == "overtones" else ("envelope",)


def _points(preset: Preset, section: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Ascending times in samples at 44.1 kHz and levels in percent."""
    pairs = re.findall(r"(-?[\d.]+)\s*,\s*(-?[\d.]+)", preset.get(section, {}).get(name, "")) or [("0", "0")]
    times, levels = np.array(pairs, dtype=float).T
    return np.maximum.accumulate(times), levels


def _envelope(preset: Preset, section: str, name: str, count: int, stretch: float) -> np.ndarray:
    times, levels = _points(preset, section, name)
    return np.interp(np.arange(count), times * stretch, levels / 100)


def _falling_hz(preset: Preset, count: int, stretch: float) -> np.ndarray:
    """The pitch of the tone from F1 to F2: exponentially, the faster the more droop; in a line without droop."""
    first_hz, last_hz = _number(preset, "tone", "f1", 200.0), _number(preset, "tone", "f2", 120.0)
    droop = _number(preset, "tone", "droop", 0.0)
    length = max(1.0, _points(preset, "tone", "envelope")[0][-1] * stretch)
    t = np.arange(count) / length
    if droop <= 0:
        return first_hz + (last_hz - first_hz) * np.minimum(t, 1)
    return last_hz + (first_hz - last_hz) * np.exp(-4 * 10 ** ((droop - 20) / 30) * t)


def _phase(hz: np.ndarray) -> np.ndarray:
    return 2 * np.pi * np.cumsum(hz) / RATE_HZ


def _coloured_noise(count: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """White noise, dull for a slope down to -100, thin for one up to 100."""
    noise = rng.standard_normal(count)
    if abs(slope) >= 5:
        cutoff_hz = 16_000 * 2 ** (slope / 16) if slope < 0 else 100 * 2 ** (slope / 15)
        kind = "lowpass" if slope < 0 else "highpass"
        noise = sosfilt(butter(1, min(cutoff_hz, 16_000), kind, fs=RATE_HZ, output="sos"), noise)
    return noise / (2 * noise.std() + 1e-9)


def _noise_band(preset: Preset, section: str, tuning: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """A sine whose pitch shivers, the farther the wider the band."""
    centre_hz = tuning * _number(preset, section, "f", 1_000.0)
    width = np.clip(_number(preset, section, "df", 50.0), 0, 100) / 100
    shiver = lfilter([0.3], [1, -0.7], rng.standard_normal(count))
    return np.sin(_phase(centre_hz * (1 + 2.5 * width * shiver)))


def _wave(kind: int, phase: np.ndarray) -> np.ndarray:
    turn = (phase / (2 * np.pi)) % 1
    if kind == 1:
        return 2 * np.sin(phase) ** 2 - 1
    if kind == 2:
        return 1 - 4 * np.abs(turn - 0.5)
    if kind == 3:
        return 2 * turn - 1
    return np.where(turn < 0.5, 1.0, -1.0) if kind == 4 else np.sin(phase)


def _overtones(preset: Preset, tone_hz: np.ndarray, tuning: float, envelopes: list[np.ndarray]) -> np.ndarray:
    """Two waves added, one bending the other, both multiplied, or a cluster of squares between them."""
    fall = tone_hz / max(1.0, tone_hz[-1])
    kinds, pitches = [], []
    for number in ("1", "2"):
        hz = tuning * _number(preset, "overtones", f"f{number}", 400.0)
        tracks = bool(_number(preset, "overtones", f"track{number}", 0.0))
        pitches.append(hz * fall if tracks else np.full(len(fall), hz))
        kinds.append(int(_number(preset, "overtones", f"wave{number}", 0.0)))
    method = int(_number(preset, "overtones", "method", 0.0))
    amount = _number(preset, "overtones", "param", 50.0) / 100
    first, second = envelopes
    if method == 1:
        bending = 6 * amount * second * _wave(kinds[1], _phase(pitches[1]))
        return first * _wave(kinds[0], _phase(pitches[0]) + bending)
    waves = [_wave(kind, _phase(hz)) for kind, hz in zip(kinds, pitches, strict=True)]
    if method == 2:
        return first * waves[0] * (1 - amount + amount * second * waves[1])
    if method == 3:
        ratios = np.array([1.0, 1.34, 1.48, 1.81, 2.36, 2.64])
        low = sum(_wave(4, _phase(pitches[0] * ratio)) for ratio in ratios)
        high = sum(_wave(4, _phase(pitches[1] * ratio)) for ratio in ratios)
        thin = butter(2, min(6_000.0, 2_000 + 6_000 * amount), "highpass", fs=RATE_HZ, output="sos")
        return sosfilt(thin, first * low + second * high) / 4
    return (1 - amount) * first * waves[0] + amount * second * waves[1]


def _distort(preset: Preset, samples: np.ndarray) -> np.ndarray:
    """Clipping at a drive in dB, fewer levels, and samples that are held."""
    peak = np.abs(samples).max(initial=1e-9)
    driven = np.clip(samples / peak * 10 ** (_number(preset, "distortion", "clipping", 0.0) / 20), -1, 1)
    if bits := int(_number(preset, "distortion", "bits", 0.0)):
        levels = 2.0 ** (9 - min(bits, 7))
        driven = np.round(driven * levels) / levels
    hold = 1 + int(np.clip(_number(preset, "distortion", "rate", 0.0), 0, 7))
    return driven[np.arange(len(driven)) // hold * hold]


def _filter(preset: Preset, samples: np.ndarray, stretch: float) -> np.ndarray:
    """A resonant low or high pass that follows its envelope, three decades of cutoff in 100 percent.

    Reference: Zölzer, "DAFX", 2nd edition, section 2.3, second-order filters by the bilinear transform.
    """
    percent = _envelope(preset, "general", "filterenv", len(samples), stretch)
    cutoffs_hz = np.clip(20 * 1_000**percent, 30, 18_000)[::_BLOCK_SAMPLES]
    damping = 1.4 - 1.2 * np.clip(_number(preset, "general", "resonance", 0.0), 0, 100) / 100
    high = bool(_number(preset, "general", "highpass", 0.0))
    out, state = np.empty_like(samples), np.zeros(2)
    for block, tangent in enumerate(np.tan(np.pi * cutoffs_hz / RATE_HZ)):
        scale = 1 + damping * tangent + tangent**2
        below = np.array([1.0, -2.0, 1.0]) if high else tangent**2 * np.array([1.0, 2.0, 1.0])
        poles = np.array([1.0, 2 * (tangent**2 - 1) / scale, (1 - damping * tangent + tangent**2) / scale])
        here = slice(block * _BLOCK_SAMPLES, (block + 1) * _BLOCK_SAMPLES)
        out[here], state = lfilter(below / scale, poles, samples[here], zi=state)
    return out

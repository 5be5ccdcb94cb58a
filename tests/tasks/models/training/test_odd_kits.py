import numpy as np

from tasks.models.training.kits import CLASS_OF_PIECE, RATE_HZ, Sound
from tasks.models.training.odd_kits import make_brush_kit, make_electronic_kit


def noisiness(sound: Sound) -> float:
    """The spectral flatness from 80 Hz to 8 kHz, 0 for a tone and 1 for noise."""
    samples = sound.layers[0]
    power = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    inside = power[(hz > 80) & (hz < 8_000)] + 1e-12
    return float(np.exp(np.log(inside).mean()) / inside.mean())


def rise_s(sound: Sound) -> float:
    """Until the level of 2 ms is half of its greatest."""
    level = np.sqrt(np.convolve(sound.layers[0] ** 2, np.ones(88) / 88, "same"))
    return float(np.argmax(level > 0.5 * level.max()) / RATE_HZ)


def decay_s(sound: Sound) -> float:
    """Until the level of 2 ms is for the last time a tenth of its greatest."""
    level = np.sqrt(np.convolve(sound.layers[0] ** 2, np.ones(88) / 88, "same"))
    return float(np.flatnonzero(level > 0.1 * level.max())[-1] / RATE_HZ)


def test_electronic_snares_are_noisier_or_shorter_than_the_toms_of_their_kit():
    noisier = shorter = 0
    for seed in range(24):
        sounds = make_electronic_kit(np.random.default_rng(seed)).sounds
        snare, toms = sounds["snare"][0], [sounds[piece][0] for piece in ("tom_high", "tom_mid", "tom_low")]
        is_noisier = noisiness(snare) > max(map(noisiness, toms))
        is_shorter = decay_s(snare) < min(map(decay_s, toms))
        assert is_noisier or is_shorter
        noisier, shorter = noisier + is_noisier, shorter + is_shorter
    assert min(noisier, shorter) >= 6


def test_electronic_toms_are_each_deeper_than_the_one_before():
    sounds = make_electronic_kit(np.random.default_rng(1)).sounds
    spectra = [np.abs(np.fft.rfft(sounds[f"tom_{name}"][0].layers[0], RATE_HZ)) for name in ("high", "mid", "low")]
    peaks_hz = [int(spectrum.argmax()) for spectrum in spectra]
    assert peaks_hz[0] > peaks_hz[1] > peaks_hz[2]


def test_a_brush_rises_slower_than_an_electronic_snare():
    brushes = [rise_s(make_brush_kit(np.random.default_rng(seed)).sounds["snare_rim"][0]) for seed in range(6)]
    snares = [rise_s(make_electronic_kit(np.random.default_rng(seed)).sounds["snare"][0]) for seed in range(6)]
    assert np.median(brushes) > 2 * np.median(snares)


def test_odd_kits_have_every_piece_and_are_the_same_for_a_seed():
    for make in (make_electronic_kit, make_brush_kit):
        first, second = (make(np.random.default_rng(4)) for _ in range(2))
        assert set(first.sounds) == set(CLASS_OF_PIECE)
        for piece, sounds in first.sounds.items():
            assert (sounds[0].layers[0] == second.sounds[piece][0].layers[0]).all()
            assert np.isfinite(sounds[0].layers[0]).all()

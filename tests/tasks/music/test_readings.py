import numpy as np

from tasks.music.meter import BEATS_PER_BAR
from tasks.music.readings import propose_readings
from tests.known_pulses import hear_bars


def test_readings_differ_in_tempo_or_meter():
    beat_s = np.arange(0.5, 29, 0.5)
    readings = propose_readings(hear_bars(beat_s, beat_s[::4]), np.zeros(3_000, np.float32))
    tempi = np.unique([reading.tempo_bpm for reading in readings])
    assert len(tempi) > 2
    assert (tempi[1:] / tempi[:-1] > 1.03).all()
    assert len({(reading.tempo_bpm, reading.bars.time_signature) for reading in readings}) == len(readings)
    assert len(readings) == len(tempi) * len(BEATS_PER_BAR)

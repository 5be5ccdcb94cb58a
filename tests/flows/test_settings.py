from catalog.matching.evidence import DuplicateParams
from flows.settings import Settings


def test_without_settings_a_song_asks_for_what_the_evidence_asks_for():
    assert Settings().duplicate_params() == DuplicateParams()


def test_the_environment_sets_how_much_evidence_a_song_asks_for(monkeypatch):
    for name, value in (("SAME_SONG_SCORE", 0.9), ("SAME_SONG_PEAKS", 0.8), ("SAME_SONG_SHARE", 0.5)):
        monkeypatch.setenv(f"MIDIME_{name}", str(value))
    params = Settings().duplicate_params()
    assert (params.min_score, params.min_peak_score, params.min_unchanged_score) == (0.9, 0.8, 0.8)
    assert params.min_coverage == 0.5

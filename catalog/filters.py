"""What a pattern has to be like apart from its rhythm, said twice: in SQL, and over the columns of an index.

Both readings choose the same patterns; a test compares them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog.errors import BadQuery

PRIVACY = ("public", "private")
TEXTS = ("source_song_id", "privacy_setting", "user_id", "detected_genre", "detected_key", "time_signature", "corpus")


@dataclass(frozen=True)
class Filters:
    """None asks for nothing; who asks sees their own private tracks beside the public ones.

    Attributes:
        tempo: Lowest and highest tempo in bpm.
        genres: Any of these, in any case.
        key: Such as "C minor", in any case.
        time_signature: Such as "4/4".
        corpus: Name of the corpus.
        privacy: "public", or "private" for one's own private tracks alone; both by default.
        user_id: Who asks.
    """

    tempo: tuple[float, float] | None = None
    genres: Sequence[str] | None = None
    key: str | None = None
    time_signature: str | None = None
    corpus: str | None = None
    privacy: str | None = None
    user_id: str | None = None

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            BadQuery: An empty or endless range of tempi, no genre in the list of genres, no such privacy, or private
                tracks of nobody.
        """
        if self.tempo is not None and not self.tempo[0] <= self.tempo[1]:
            raise BadQuery(f"The tempo range {self.tempo[0]:g}:{self.tempo[1]:g} is empty.")
        if self.genres is not None and not any(genre.strip() for genre in self.genres):
            raise BadQuery("The list of genres names none.")
        if self.privacy not in (None, *PRIVACY):
            raise BadQuery(f"A track is {' or '.join(PRIVACY)}, not {self.privacy}.")
        if self.privacy == "private" and self.user_id is None:
            raise BadQuery("Private tracks are for their owner: say who asks.")

    def describe(self) -> str:
        """What is asked for, as in "tempo 80 to 140, genre rock or jazz"; empty for nothing."""
        tempo = None if self.tempo is None else f"{self.tempo[0]:g} to {self.tempo[1]:g}"
        genres = None if self.genres is None else " or ".join(self.genres)
        named = {"tempo": tempo, "genre": genres, "key": self.key, "time signature": self.time_signature}
        named |= {"corpus": self.corpus, "privacy": self.privacy}
        return ", ".join(f"{name} {value}" for name, value in named.items() if value is not None)

    def to_sql(self, instrument: str, own_song: str | None) -> tuple[str, dict]:
        """The conditions on the rows of `searchable_patterns`, and their arguments."""
        conditions = ["instrument_type = $instrument", "(privacy_setting = 'public' OR user_id = $user_id)"]
        arguments = {"instrument": instrument, "user_id": self.user_id}
        if self.privacy is not None:
            conditions.append("privacy_setting = $privacy")
            arguments["privacy"] = self.privacy
        if own_song is not None:
            conditions.append("source_song_id <> $own_song::UUID")
            arguments["own_song"] = own_song
        if self.tempo is not None:
            conditions.append("tempo_bpm BETWEEN $tempo_low AND $tempo_high")
            arguments |= {"tempo_low": self.tempo[0], "tempo_high": self.tempo[1]}
        if self.genres:
            conditions.append("lower(detected_genre) IN (SELECT unnest($genres::VARCHAR[]))")
            arguments["genres"] = _lower(self.genres)
        if self.key is not None:
            conditions.append("lower(detected_key) = $key")
            arguments["key"] = self.key.strip().lower()
        for column in ("time_signature", "corpus"):
            if (value := getattr(self, column)) is not None:
                conditions.append(f"{column} = ${column}")
                arguments[column] = value
        return " AND ".join(conditions), arguments

    def choose(self, columns: "Columns", own_song: str | None) -> np.ndarray | None:
        """Which rows of an index pass, bool (n,); None for all of them."""
        conditions = []
        hidden = ~columns.equal("privacy_setting", ["public"])
        if hidden.any():
            conditions.append(~hidden | columns.equal("user_id", [self.user_id]))
        if self.privacy is not None:
            conditions.append(columns.equal("privacy_setting", [self.privacy]))
        if own_song is not None:
            conditions.append(~columns.equal("source_song_id", [own_song]))
        if self.tempo is not None:
            conditions.append((columns.tempo_bpm >= self.tempo[0]) & (columns.tempo_bpm <= self.tempo[1]))
        if self.genres:
            conditions.append(columns.equal("detected_genre", _lower(self.genres), lower=True))
        if self.key is not None:
            conditions.append(columns.equal("detected_key", _lower([self.key]), lower=True))
        for column in ("time_signature", "corpus"):
            if (value := getattr(self, column)) is not None:
                conditions.append(columns.equal(column, [value]))
        return np.logical_and.reduce(conditions) if conditions else None


class Columns:
    """The columns of an index that filters read: numbers, and texts as places in a list of the different ones.

    Attributes:
        tempo_bpm: float64 (n,), NaN where it is not known.
    """

    def __init__(self, rows: pa.Table) -> None:
        self.tempo_bpm = rows["tempo_bpm"].to_numpy()
        self._codes, self._texts = {}, {}
        for name in TEXTS:
            encoded = rows[name].combine_chunks().dictionary_encode()
            self._codes[name] = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
            self._texts[name] = encoded.dictionary

    def codes(self, name: str) -> np.ndarray:
        """A number for each different text, int32 (n,); -1 for none."""
        return self._codes[name]

    def equal(self, name: str, texts: Sequence[str | None], lower: bool = False) -> np.ndarray:
        """Rows whose text is one of these, bool (n,); None is like nothing. With `lower`, in any case."""
        known = pc.utf8_lower(self._texts[name]) if lower else self._texts[name]
        wanted = pa.array([text for text in texts if text is not None], pa.string())
        places = np.flatnonzero(pc.is_in(known, wanted).to_numpy(zero_copy_only=False))
        codes = self._codes[name]
        return codes == places[0] if len(places) == 1 else np.isin(codes, places)


def _lower(texts: Sequence[str]) -> list[str]:
    return [text.strip().lower() for text in texts]

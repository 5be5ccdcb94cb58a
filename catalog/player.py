"""A sound in a notebook: any front end that shows HTML plays it."""

import base64
from dataclasses import dataclass
from pathlib import Path

KINDS = {".wav": "wav", ".flac": "flac", ".ogg": "ogg", ".mp3": "mpeg"}


@dataclass(frozen=True)
class Player:
    """An audio file that a notebook shows as a player, when it is the last thing of a cell.

    The sound is in the page itself: it is heard wherever the notebook is opened.
    """

    path: Path

    def _repr_html_(self) -> str:
        sound = base64.b64encode(self.path.read_bytes()).decode()
        return f'<audio controls src="data:audio/{KINDS[self.path.suffix.lower()]};base64,{sound}"></audio>'

"""The stations of a track, what each needs, and what has to run again when one changes. What they do is in track.py."""

from collections.abc import Iterable

NEEDS: dict[str, tuple[str, ...]] = {
    "decode": (),
    "separate": ("decode",),
    "chromaprint": ("decode",),
    "peaks": ("decode",),
    "quality": ("decode",),
    "key": ("decode",),
    "onsets": ("separate",),
    "beats": ("onsets", "key"),
    "beatchroma": ("beats", "key"),
    "drums": ("separate", "beats"),
    "notes": ("separate",),
    "sections": ("beats", "key"),
    "patterns": ("onsets", "drums", "notes", "sections"),
    "midi": ("drums", "notes", "sections"),
}
"""Each stage comes after those it needs. Without separation, what needs its stems hears the mixture."""


def follow(changed: Iterable[str]) -> frozenset[str]:
    """The stages that changed and all that depend on them.

    Raises:
        KeyError: There is no such stage.
    """
    again = set()
    for stage in changed:
        NEEDS[stage]  # a stage that nobody declared must not be forgotten
        again.add(stage)
    for stage, needed in NEEDS.items():
        if again.intersection(needed):
            again.add(stage)
    return frozenset(again)

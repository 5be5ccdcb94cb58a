"""Make the sample corpus again from its sources: make_sample.py PACKAGES GROOVE OUT.

PACKAGES is a folder with the Debian packages of data/README.md, each unpacked under its name (`dpkg-deb -x`); GROOVE is
the Groove MIDI Dataset; OUT receives the files. Excerpts are cut here, drum performances are rendered with a sampled
kit; nothing else is done to the sound but a short fade at a cut. The result sounds the same each time; its bytes
differ, as encoders change with their versions and Ogg streams carry a random serial number.
"""

import shutil
import sys
import zipfile
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import mido
import numpy as np
import soundfile
from scipy.signal import resample_poly

from tasks.audio import read_audio
from tasks.music.signals import SAMPLE_RATE_HZ

FADE_S = 0.005
ENCODERS = {".mp3": ("libmp3lame", 128_000), ".m4a": ("aac", 128_000), ".opus": ("libopus", 96_000)}
OGG_LEVEL = 0.6  # libsndfile's compression level: about 110 kbit/s


@dataclass(frozen=True)
class Excerpt:
    """A stretch of a file of a package, repeated where it is a loop."""

    target: str
    source: str
    start_s: float
    end_s: float
    title: str
    artist: str
    album: str
    genre: str
    inside: str | None = None  # a member of `source`, where that is a zip archive
    repeats: int = 1


@dataclass(frozen=True)
class Groove:
    """A drum performance played by a kit, `speed` times as fast as it was."""

    target: str
    performance: str
    kit: str
    speed: float
    start_s: float
    end_s: float
    title: str
    genre: str
    rate_hz: int = SAMPLE_RATE_HZ
    channels: int = 2


SONIC_PI = "sonic-pi-samples/usr/share/sonic-pi/samples/"
COLOMBO = "hydrogen-drumkits/usr/share/hydrogen/data/drumkits/ColomboAcousticDrumkit/"

# Note of the performer's electronic kit -> name of the sound in the sampled kit.
SOUNDS = {
    36: "kick", 37: "stick", 38: "snare", 40: "snare", 22: "closed", 42: "closed", 44: "pedal", 26: "open", 46: "open",
    43: "low", 58: "low", 45: "middle", 47: "middle", 48: "high", 50: "high", 49: "crash", 52: "crash", 55: "crash",
    57: "crash", 51: "ride", 59: "ride", 53: "ride",
}  # fmt: skip
# Files of each sound from soft to hard.
KITS = {
    SONIC_PI: {
        "kick": ["drum_bass_soft", "drum_bass_hard"], "snare": ["drum_snare_soft", "drum_snare_hard"],
        "stick": ["drum_snare_soft"], "closed": ["drum_cymbal_closed"], "pedal": ["drum_cymbal_pedal"],
        "open": ["drum_cymbal_open"], "low": ["drum_tom_lo_soft", "drum_tom_lo_hard"],
        "middle": ["drum_tom_mid_soft", "drum_tom_mid_hard"], "high": ["drum_tom_hi_soft", "drum_tom_hi_hard"],
        "crash": ["drum_splash_soft", "drum_splash_hard"], "ride": ["drum_cymbal_soft", "drum_cymbal_hard"],
    },
    COLOMBO: {
        "kick": ["bassdrum-4mics-br-stereo-soft4", "bassdrum-4mics-br-stereo-normal3"],
        "snare": ["snare-opaque-normal-mic-rimshot7", "snare-opaque-normal-mic-rimshot6"],
        "stick": ["stick-rim-9"], "closed": ["hihat-closed-6", "hihat-closed-1"], "pedal": ["hihat-semi-open-2"],
        "open": ["hihat-open-5", "hihat-open-4"], "low": ["tom-low-1"], "middle": ["tom-mid-1"], "high": ["tom-hi-1"],
        "crash": ["crash16i__ride2", "crash16i__crash1"], "ride": ["crash20i__ride4"],
    },
}  # fmt: skip
HIHAT = {"closed", "pedal", "open"}  # each of these ends the sound of the one before
CHOKE_S = 0.03


STK_MUSIC = "supertuxkart-data/usr/share/games/supertuxkart/data/music/"
ZERO_AD = "0ad-data/usr/share/games/0ad/mods/public/public.zip"
STK = dict(album="SuperTuxKart", genre="Soundtrack")
RAVENBRIDGE_FILE = STK_MUSIC + "ravenbridge_mansion.ogg"
RAVENBRIDGE = dict(title="Ravenbridge Mansion", artist="0zone0ne and Krobonil", **STK)
GRAND_PRIX = dict(source=STK_MUSIC + "kart_grand_prix.ogg", title="Kart Grand Prix", artist="Weirwood", **STK)
ZERO_AD_TAGS = dict(source=ZERO_AD, artist="Wildfire Games", album="0 A.D.")

EXCERPTS = (
    Excerpt("supertuxkart/ravenbridge_mansion.ogg", RAVENBRIDGE_FILE, 0.0, 64.0, **RAVENBRIDGE),
    Excerpt("supertuxkart/ravenbridge_mansion_part_1.mp3", RAVENBRIDGE_FILE, 10.286, 30.857, **RAVENBRIDGE),
    Excerpt("supertuxkart/ravenbridge_mansion_part_2.opus", RAVENBRIDGE_FILE, 41.143, 61.714, **RAVENBRIDGE),
    Excerpt(
        "supertuxkart/ravenbridge_mansion_fast.m4a", STK_MUSIC + "ravenbridge_mansion_fast.ogg", 0.0, 32.0,
        **RAVENBRIDGE,
    ),
    Excerpt("supertuxkart/kart_grand_prix.mp3", start_s=30.0, end_s=60.0, **GRAND_PRIX),
    Excerpt("supertuxkart/kart_grand_prix.m4a", start_s=30.0, end_s=60.0, **GRAND_PRIX),
    Excerpt(
        "wildfire_games/taiko_1.opus", start_s=30.0, end_s=55.0, title="Taiko 1", genre="World",
        inside="audio/music/Taiko_1.ogg", **ZERO_AD_TAGS,
    ),
    Excerpt(
        "wildfire_games/eastern_dreams.ogg", start_s=90.0, end_s=120.0, title="Eastern Dreams", genre="World",
        inside="audio/music/Eastern_Dreams.ogg", **ZERO_AD_TAGS,
    ),
    Excerpt(
        "wildfire_games/mountain_idyll.mp3", start_s=20.0, end_s=45.0, title="Mountain Idyll", genre="Classical",
        inside="audio/music/Mountain_Idyll.ogg", **ZERO_AD_TAGS,
    ),
    Excerpt(
        "sonic_pi/drum_loop_mika.ogg", SONIC_PI + "loop_mika.flac", 0.0, 8.0, "Drum loop", "mika55", "Sonic Pi", "Rock",
        repeats=3,
    ),
    Excerpt(
        "sonic_pi/drum_loop_breakbeat.mp3", SONIC_PI + "loop_breakbeat.flac", 0.0, 1.904762, "Breakbeat", "Snapper4298",
        "Sonic Pi", "Breakbeat", repeats=10,
    ),
)  # fmt: skip

ROCK = "drummer3/session1/3_rock_105_beat_4-4.mid"
FUNK = "drummer1/session1/2_funk_80_beat_4-4.mid"
THREE_FOUR = "drummer1/session2/6_rock_102_beat_3-4.mid"

GROOVES = (
    Groove("groove/rock_105.flac", ROCK, SONIC_PI, 1.0, 0.0, 22.857, "Rock groove at 105 bpm", "Rock"),
    Groove("groove/rock_125.ogg", ROCK, COLOMBO, 125 / 105, 0.0, 19.2, "Rock groove at 125 bpm", "Rock"),
    Groove("groove/funk_80.opus", FUNK, COLOMBO, 1.0, 3.0, 27.0, "Funk groove at 80 bpm", "Funk"),
    Groove(
        "groove/rock_102_three_four.wav", THREE_FOUR, SONIC_PI, 1.0, 1.765, 22.941, "Rock groove in three at 102 bpm",
        "Rock", rate_hz=22_050, channels=1,
    ),
)  # fmt: skip

COPY = ("supertuxkart/kart_grand_prix.mp3", "inbox/copy of kart_grand_prix.mp3")
CUT = ("supertuxkart/kart_grand_prix.m4a", "inbox/interrupted_download.m4a", 60_000)  # before the index at its end


def main(packages: Path, grooves: Path, out: Path) -> None:
    for excerpt in EXCERPTS:
        samples = cut_excerpt(excerpt, packages, out)
        write(out / excerpt.target, samples, excerpt.title, excerpt.artist, excerpt.album, excerpt.genre)
    for groove in GROOVES:
        samples = play(groove, grooves, packages)
        drummer = groove.performance.split("/")[0].replace("drummer", "drummer ")
        write(
            out / groove.target, samples, groove.title, f"Groove MIDI Dataset, {drummer}", "Groove MIDI Dataset",
            groove.genre, groove.rate_hz, groove.channels,
        )  # fmt: skip
    (out / COPY[1]).parent.mkdir(exist_ok=True)
    shutil.copyfile(out / COPY[0], out / COPY[1])
    (out / CUT[1]).write_bytes((out / CUT[0]).read_bytes()[: CUT[2]])


def cut_excerpt(excerpt: Excerpt, packages: Path, out: Path) -> np.ndarray:
    source = packages / excerpt.source
    if excerpt.inside:
        member = out / ".member"
        with zipfile.ZipFile(source) as archive:
            member.parent.mkdir(parents=True, exist_ok=True)
            member.write_bytes(archive.read(excerpt.inside))
        samples = read_audio(member, excerpt.start_s, excerpt.end_s).samples
        member.unlink()
    else:
        samples = read_audio(source, excerpt.start_s, excerpt.end_s).samples
    return fade(np.tile(samples, excerpt.repeats))


def play(groove: Groove, performances: Path, packages: Path) -> np.ndarray:
    """The samples (2, n) of a performance: harder hits take harder samples, a hi-hat ends the one before."""
    drums, hihat = np.zeros((2, 2, round(groove.end_s * SAMPLE_RATE_HZ)), np.float32)
    time_s = 0.0
    for message in mido.MidiFile(performances / groove.performance):
        time_s += message.time / groove.speed
        start = round(time_s * SAMPLE_RATE_HZ)
        if start >= drums.shape[1]:
            break
        sound = SOUNDS.get(message.note) if message.type == "note_on" and message.velocity else None
        if sound is None:
            continue
        if sound in HIHAT:
            ringing = hihat[:, start:]
            ringing *= np.clip(1 - np.arange(ringing.shape[1]) / (CHOKE_S * SAMPLE_RATE_HZ), 0, 1)
        files = KITS[groove.kit][sound]
        hardness = message.velocity / 127
        file = files[min(int(hardness * len(files)), len(files) - 1)]
        hit = load_hit(packages / f"{groove.kit}{file}.flac") * hardness
        place = (hihat if sound in HIHAT else drums)[:, start : start + hit.shape[1]]
        place += hit[:, : place.shape[1]]
    mix = (drums + hihat)[:, round(groove.start_s * SAMPLE_RATE_HZ) :]
    return fade(mix / np.abs(mix).max() * np.float32(0.9))


@lru_cache
def load_hit(path: Path) -> np.ndarray:
    return read_audio(path).samples


def fade(samples: np.ndarray) -> np.ndarray:
    """Short ramps at both ends, so that a cut does not click."""
    ramp = np.minimum(1.0, np.arange(samples.shape[1]) / (FADE_S * SAMPLE_RATE_HZ)).astype(np.float32)
    return samples * ramp * ramp[::-1]


def write(
    path: Path,
    samples: np.ndarray,
    title: str,
    artist: str,
    album: str,
    genre: str,
    rate_hz: int = SAMPLE_RATE_HZ,
    channels: int = 2,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in ENCODERS:
        encode(path, samples, {"title": title, "artist": artist, "album": album, "genre": genre})
        return
    if rate_hz != SAMPLE_RATE_HZ:
        samples = resample_poly(samples, rate_hz, SAMPLE_RATE_HZ, axis=1)
    frames = samples.T if channels == 2 else samples.mean(axis=0)[:, None]
    options = {"subtype": "VORBIS", "compression_level": OGG_LEVEL} if path.suffix == ".ogg" else {"subtype": "PCM_16"}
    with soundfile.SoundFile(path, "w", rate_hz, channels, **options) as file:
        file.title, file.artist, file.album, file.genre = title, artist, album, genre
        for start in range(0, len(frames), rate_hz):  # libvorbis overflows the stack on long writes
            file.write(frames[start : start + rate_hz])


def encode(path: Path, samples: np.ndarray, tags: dict[str, str]) -> None:
    codec, bit_rate = ENCODERS[path.suffix]
    with av.open(str(path), "w") as container:
        container.metadata.update(tags)
        stream = container.add_stream(codec, rate=48_000 if codec == "libopus" else SAMPLE_RATE_HZ)
        stream.bit_rate, stream.layout = bit_rate, "stereo"
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, 0, Fraction(1, SAMPLE_RATE_HZ)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))

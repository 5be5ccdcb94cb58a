"""Real files of every format, made here by FFmpeg's own encoders, and every way a file can be wrong."""

import errno
import os
import stat
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from tasks.audio import (
    DecodeLimits,
    FlacWriter,
    decode_blocks,
    probe_audio,
    read_audio,
    write_audio,
)
from tasks.errors import (
    BadSamples,
    CorruptAudio,
    EmptyFile,
    LongSignal,
    NoAudioStream,
    NotAudio,
    ProtectedAudio,
    ShortSignal,
    StageFailed,
    TrackError,
    UnreadableFile,
    UnsupportedCodec,
)
from tasks.music.signals import SAMPLE_RATE_HZ, Signal

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 9: "9 channels"}
BURST_S = 0.02


def encode(path, samples, codec, rate_hz=SAMPLE_RATE_HZ, sample_format=None, container=None, tags=(), **options):
    """Write float samples (channels, n) with one of FFmpeg's encoders."""
    layout = LAYOUTS[samples.shape[0]]
    with av.open(str(path), "w", format=container) as output:
        output.metadata.update(tags)
        stream = output.add_stream(codec, rate=rate_hz, options=options)
        stream.layout = layout
        stream.bit_rate = 128_000
        if sample_format:
            stream.format = sample_format
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def burst(rate_hz, channels=2, duration_s=2.0, at_s=1.0):
    """A chirp of 20 ms at 1.0 s in silence: its place can be found to the sample by correlation."""
    samples = np.zeros((channels, round(duration_s * rate_hz)))
    time_s = np.arange(round(BURST_S * rate_hz)) / rate_hz
    start = round(at_s * rate_hz)
    chirp = 0.5 * np.sin(2 * np.pi * (500 * time_s + 1e5 * time_s**2)) * np.hanning(len(time_s))
    samples[:, start : start + len(time_s)] = chirp
    return samples


def locate_burst_s(signal):
    pattern = burst(SAMPLE_RATE_HZ, 1)[0, SAMPLE_RATE_HZ:][: round(BURST_S * SAMPLE_RATE_HZ)]
    return np.argmax(np.correlate(signal.samples[0], pattern, "valid")) / SAMPLE_RATE_HZ


def tone(seconds=1.0, rate_hz=SAMPLE_RATE_HZ, channels=2, level=0.5, frequency_hz=440.0):
    wave = level * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * rate_hz)) / rate_hz)
    return np.tile(wave, (channels, 1))


def wav_bytes(samples, tag=1, bits=16, channels=None, rate_hz=SAMPLE_RATE_HZ, claimed_bytes=None):
    """A WAV file by hand, so that its header can lie."""
    data = samples.T.astype({(1, 16): "<i2", (3, 32): "<f4"}[tag, bits]).tobytes()
    channels = samples.shape[0] if channels is None else channels
    align = channels * bits // 8
    form = struct.pack("<IHHIIHH", 16, tag, channels, rate_hz, rate_hz * align, align, bits)
    size = len(data) if claimed_bytes is None else claimed_bytes
    return b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + form + b"data" + struct.pack("<I", size) + data


@pytest.fixture
def write(tmp_path):
    def write_bytes(name, content):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write_bytes


@pytest.fixture
def mp3(tmp_path):
    return encode(tmp_path / "tone.mp3", tone(2.0), "libmp3lame")


FORMATS = {
    "u8.wav": dict(codec="pcm_u8"),
    "s16.wav": dict(codec="pcm_s16le"),
    "s24.wav": dict(codec="pcm_s24le"),
    "s32.wav": dict(codec="pcm_s32le"),
    "f32.wav": dict(codec="pcm_f32le"),
    "f64.wav": dict(codec="pcm_f64le"),
    "8k.wav": dict(codec="pcm_s16le", rate_hz=8_000),
    "s16.flac": dict(codec="flac", sample_format="s16"),
    "s24_96k.flac": dict(codec="flac", sample_format="s32", rate_hz=96_000),
    "lame.mp3": dict(codec="libmp3lame"),
    "lame_48k.mp3": dict(codec="libmp3lame", rate_hz=48_000),
    "vorbis.ogg": dict(codec="vorbis", strict="-2"),
    "opus.opus": dict(codec="libopus", rate_hz=48_000),
    "opus.webm": dict(codec="libopus", rate_hz=48_000),
    "aac.m4a": dict(codec="aac"),
    "aac_22k.m4a": dict(codec="aac", rate_hz=22_050),
    "alac.m4a": dict(codec="alac"),
    "s16.aiff": dict(codec="pcm_s16be"),
    "wma2.wma": dict(codec="wmav2", container="asf"),
}
# ASF has no field for the encoder's delay: FFmpeg's decoder drops a fixed one that FFmpeg's encoder does not add.
WMA_SHIFT_S = -2048 / SAMPLE_RATE_HZ


@pytest.mark.parametrize("name", FORMATS)
def test_a_burst_keeps_its_place_in_every_format(tmp_path, name):
    rate_hz = FORMATS[name].get("rate_hz", SAMPLE_RATE_HZ)
    path = encode(tmp_path / name, burst(rate_hz), **FORMATS[name])
    signal = read_audio(path)
    expected_s = 1.0 + (WMA_SHIFT_S if name.endswith(".wma") else 0.0)
    assert signal.samples.dtype == np.float32
    assert locate_burst_s(signal) == pytest.approx(expected_s, abs=0.001)
    assert signal.duration_s == pytest.approx(2.0, abs=0.1)


def test_mono_is_given_to_both_channels_at_its_level(tmp_path):
    path = encode(tmp_path / "mono.wav", tone(channels=1, level=0.5), "pcm_s16le")
    signal = read_audio(path)
    assert signal.samples.shape == (2, SAMPLE_RATE_HZ)
    assert np.array_equal(signal.samples[0], signal.samples[1])
    assert np.abs(signal.samples).max() == pytest.approx(0.5, abs=1e-4)


def test_six_channels_are_mixed_down_without_clipping(tmp_path):
    path = encode(tmp_path / "six.wav", tone(channels=6, rate_hz=192_000, level=0.9), "pcm_s16le", rate_hz=192_000)
    signal = read_audio(path)
    assert signal.samples.shape == (2, SAMPLE_RATE_HZ)
    assert np.abs(signal.samples).max() == pytest.approx(0.9, abs=0.01)


def test_blocks_joined_are_the_whole_file_and_equally_long(mp3):
    blocks = list(decode_blocks(mp3, block_s=0.3))
    whole = read_audio(mp3).samples
    assert {block.shape for block in blocks[:-1]} == {(2, 13_230)}
    assert np.array_equal(np.concatenate(blocks, axis=1), whole)


def test_a_stretch_is_cut_to_the_sample(mp3):
    whole = read_audio(mp3).samples
    stretch = read_audio(mp3, 0.5, 1.25).samples
    assert np.array_equal(stretch, whole[:, 22_050:55_125])


def test_decoding_twice_gives_the_same_samples(mp3):
    assert np.array_equal(read_audio(mp3).samples, read_audio(mp3).samples)


def test_an_empty_stretch_is_a_mistake_of_the_caller(mp3):
    with pytest.raises(ValueError, match=r"stretch .* is empty"):
        read_audio(mp3, 1.0, 1.0)


def test_a_stretch_behind_the_end_says_where_the_audio_ends(mp3):
    with pytest.raises(ShortSignal, match=r"ends at 2\.00 s; too little is left from 30 s"):
        read_audio(mp3, 30.0)


def test_ten_minutes_of_silence_decode_in_blocks(tmp_path):
    path = tmp_path / "long.flac"
    with soundfile.SoundFile(path, "w", SAMPLE_RATE_HZ, 1, "PCM_16") as file:
        for _ in range(10):
            file.write(np.zeros(60 * SAMPLE_RATE_HZ, np.int16))
    lengths = [block.shape[1] for block in decode_blocks(path)]
    assert max(lengths) == 10 * SAMPLE_RATE_HZ
    assert sum(lengths) == 600 * SAMPLE_RATE_HZ


def test_header_and_tags_are_read(tmp_path):
    tags = {"title": "Tune", "artist": "Band", "album": "Record", "genre": "Rock"}
    path = encode(tmp_path / "tagged.mp3", tone(channels=1), "libmp3lame", tags=tags)
    info = probe_audio(path)
    assert (info.codec, info.container, info.sample_rate_hz, info.channels) == ("mp3", "mp3", SAMPLE_RATE_HZ, 1)
    assert info.duration_s == pytest.approx(1.0, abs=0.03)
    assert (info.title, info.artist, info.album, info.genre_tag) == ("Tune", "Band", "Record", "Rock")


@pytest.mark.parametrize("name", ["v.ogg", "f.flac", "a.m4a"])
def test_tags_are_read_in_every_container(tmp_path, name):
    codec, options = {"ogg": ("vorbis", {"strict": "-2"}), "flac": ("flac", {}), "m4a": ("aac", {})}[name[2:]]
    path = encode(tmp_path / name, tone(), codec, tags={"title": "Größe 東京", "genre": "Jazz"}, **options)
    info = probe_audio(path)
    assert (info.title, info.genre_tag, info.artist) == ("Größe 東京", "Jazz", None)


def test_tags_lose_control_and_bidi_characters_and_excess(tmp_path):
    tags = {"title": "a\u202e\x1b[31m \n b\x07\u200b", "artist": " \x07 ", "album": "x" * 5000}
    info = probe_audio(encode(tmp_path / "evil.flac", tone(), "flac", tags=tags))
    assert info.title == "a[31m b"
    assert info.artist is None
    assert info.album == "x" * 200


def test_an_empty_file_is_empty(write):
    with pytest.raises(EmptyFile, match="no bytes"):
        read_audio(write("zero.mp3", b""))


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.symlink_to(p.name), lambda p: p.mkdir(), os.mkfifo])
def test_what_is_no_regular_file_is_unreadable(tmp_path, make):
    path = tmp_path / "song.mp3"
    make(path)
    with pytest.raises(UnreadableFile):
        probe_audio(path)


def test_a_path_with_a_nul_byte_is_unreadable():
    with pytest.raises(UnreadableFile, match="not a valid path"):
        probe_audio(Path("a\0b.mp3"))


def test_a_read_that_breaks_off_is_unreadable_and_no_short_file(mp3, monkeypatch):
    class FailingFile:
        def __init__(self, file):
            self._file = file

        def __getattr__(self, name):
            return getattr(self._file, name)

        def read(self, size):
            if self._file.tell() > 16_000:
                raise OSError(errno.EIO, "Input/output error")
            return self._file.read(min(size, 8_000))

    real_fdopen = os.fdopen
    monkeypatch.setattr("tasks.filetypes.os.fdopen", lambda *args: FailingFile(real_fdopen(*args)))
    with pytest.raises(UnreadableFile, match="cannot be read: input/output error"):
        read_audio(mp3)


@pytest.mark.parametrize(
    "content",
    [
        b"This is a text file, not music.\n" * 400,
        bytes(50_000),
        np.random.default_rng(2).bytes(50_000),
        b"\xff\xd8\xff\xe0" + bytes(4_000),
        b"[playlist]\nFile1=/etc/passwd\n",
    ],
    ids=["text", "zeros", "noise", "jpeg", "playlist"],
)
def test_other_content_is_not_audio(write, content):
    with pytest.raises(NotAudio, match="not a known audio format"):
        read_audio(write("song.mp3", content))


def test_files_that_name_other_files_are_never_followed(write, mp3):
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{mp3}\n#EXT-X-ENDLIST\n"
    concat = f"ffconcat version 1.0\nfile '{mp3.name}'\n"
    sdp = "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n"
    for name, text in {"list.m3u8": hls, "list.ffconcat": concat, "stream.sdp": sdp}.items():
        with pytest.raises(NotAudio):
            read_audio(write(name, text.encode()))


def test_a_video_without_sound_has_no_audio_stream(tmp_path):
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        output.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        output.mux(stream.encode(None))
    with pytest.raises(NoAudioStream, match="mov file has no audio stream"):
        read_audio(path)


def test_fairplay_is_protected(tmp_path, write):
    content = encode(tmp_path / "plain.m4a", tone(), "aac").read_bytes()
    locked = content.replace(b"mp4a", b"drms")
    assert locked != content
    with pytest.raises(ProtectedAudio, match="DRM"):
        probe_audio(write("locked.m4p", locked))


def test_encrypted_windows_media_is_protected(tmp_path, write):
    content = encode(tmp_path / "plain.wma", tone(), "wmav2", container="asf").read_bytes()
    codec_list_object = bytes.fromhex("4052d1861d31d011a3a400a0c90348f6")
    content_encryption_object = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e")
    locked = content.replace(codec_list_object, content_encryption_object)
    assert locked != content
    with pytest.raises(ProtectedAudio, match="DRM"):
        probe_audio(write("locked.wma", locked))


def test_an_unknown_codec_is_unsupported(write):
    content = bytearray(wav_bytes(tone()))
    content[20:22] = struct.pack("<H", 0x1234)
    with pytest.raises(UnsupportedCodec):
        read_audio(write("odd.wav", bytes(content)))


def test_nine_channels_in_no_known_layout_are_unsupported(write):
    with pytest.raises(UnsupportedCodec, match="9 channels"):
        read_audio(write("nine.wav", wav_bytes(tone(channels=9))))


@pytest.mark.parametrize("lie", [dict(channels=0), dict(channels=65), dict(rate_hz=0), dict(rate_hz=50_375_748)])
def test_a_header_that_lies_beyond_belief_is_corrupt(write, lie):
    with pytest.raises(CorruptAudio):
        read_audio(write("lie.wav", wav_bytes(tone(), **lie)))


def test_a_claim_of_days_in_a_small_file_is_corrupt(tmp_path, write):
    content = bytearray(encode(tmp_path / "good.flac", tone(), "flac", sample_format="s16").read_bytes())
    content[21:26] = bytes([content[21] | 0x0F]) + b"\xff\xff\xff\xff"  # 36 bits of the number of samples
    with pytest.raises(CorruptAudio, match="claims 433 hours"):
        read_audio(write("days.flac", bytes(content)))


def test_a_data_chunk_that_claims_too_much_gives_what_is_there(write):
    path = write("big.wav", wav_bytes(tone(), claimed_bytes=2_147_483_632))
    assert read_audio(path).duration_s == 1.0


@pytest.mark.parametrize("count", [0, 1, 1_323])
def test_less_than_50_ms_is_too_short(write, count):
    with pytest.raises(ShortSignal, match="at least 50 ms"):
        read_audio(write("short.wav", wav_bytes(tone()[:, :count])))


def test_more_than_the_limit_is_too_long_by_its_header_and_by_its_samples(mp3, tmp_path):
    limits = DecodeLimits(max_duration_s=1.0)
    with pytest.raises(LongSignal, match=r"limit is 0\.000277778 hours"):
        list(decode_blocks(mp3, limits=limits))
    raw = encode(tmp_path / "no_header.aac", tone(5.0), "aac", container="adts")
    with pytest.raises(LongSignal):
        list(decode_blocks(raw, limits=DecodeLimits(max_duration_s=4.9)))


def test_a_stretch_of_a_file_that_is_too_long_may_be_read(mp3):
    (block,) = decode_blocks(mp3, 0.5, 1.0, limits=DecodeLimits(max_duration_s=1.0))
    assert block.shape == (2, 22_050)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_no_number_is_refused(write, value):
    samples = tone()
    samples[1, 30_000] = value
    with pytest.raises(BadSamples, match="not finite"):
        read_audio(write("bad.wav", wav_bytes(samples, tag=3, bits=32)))


def test_samples_of_another_scale_are_divided_by_a_power_of_two(write):
    samples = tone(level=1e6)
    signal = read_audio(write("loud.wav", wav_bytes(samples, tag=3, bits=32)))
    assert np.allclose(signal.samples, samples / 2**20, atol=1e-6)


def test_samples_a_little_above_full_scale_stay_as_they_are(write):
    signal = read_audio(write("hot.wav", wav_bytes(tone(level=1.5), tag=3, bits=32)))
    assert np.abs(signal.samples).max() == pytest.approx(1.5, abs=1e-3)


def test_a_cut_mp3_and_a_cut_flac_give_what_is_there(tmp_path, write, mp3):
    flac = encode(tmp_path / "tone.flac", tone(2.0), "flac")
    for path in (mp3, flac):
        content = path.read_bytes()
        signal = read_audio(write(f"cut{path.suffix}", content[: len(content) // 2]))
        assert 0.7 < signal.duration_s < 1.3


def test_a_file_cut_inside_its_header_is_corrupt(tmp_path, write):
    content = encode(tmp_path / "tone.flac", tone(), "flac").read_bytes()
    with pytest.raises(CorruptAudio, match="begins like audio"):
        read_audio(write("cut.flac", content[:30]))


def test_joined_mp3_streams_are_all_decoded(mp3, write):
    content = mp3.read_bytes()
    assert read_audio(write("joined.mp3", content + content)).duration_s == pytest.approx(4.0, abs=0.08)


def test_chained_ogg_streams_are_all_decoded(tmp_path, write):
    first = encode(tmp_path / "a.ogg", tone(1.0), "vorbis", strict="-2").read_bytes()
    second = encode(tmp_path / "b.ogg", tone(1.0, frequency_hz=330.0), "vorbis", strict="-2").read_bytes()
    assert read_audio(write("chained.ogg", first + second)).duration_s == pytest.approx(2.0, abs=0.1)


AWKWARD_NAMES = [
    b"new\nline.mp3",
    b"-n leading dash.mp3",
    b"percent%20%s%n%03d.mp3",
    b"latin-1 \xe9\xff.mp3",
    b"file:song.mp3",
    b"concat:a.mp3|b.mp3",
    b"http:song.mp3",
    b"pipe:0",
    "東京 🎵.mp3".encode(),
]


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_an_awkward_name_is_only_a_name(mp3, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = Path(os.fsdecode(name))
    path.write_bytes(mp3.read_bytes())
    assert read_audio(path).duration_s == pytest.approx(2.0, abs=0.03)


def test_content_counts_and_the_extension_does_not(tmp_path):
    path = encode(tmp_path / "song.flac", tone(), "flac").rename(tmp_path / "song.mp3")
    assert probe_audio(path).codec == "flac"


def test_damaged_files_leave_nothing_on_the_terminal(write, mp3, capfd):
    content = bytearray(mp3.read_bytes())
    content[3_000:3_400] = bytes(400)
    read_audio(write("damaged.mp3", bytes(content)))
    with pytest.raises(TrackError):
        read_audio(write("zeros.wav", bytes(100)))
    assert capfd.readouterr() == ("", "")


def test_mutated_files_decode_or_are_refused(tmp_path, write):
    rng = np.random.default_rng(7)
    sources = [
        encode(tmp_path / name, burst(FORMATS[name].get("rate_hz", SAMPLE_RATE_HZ), duration_s=1.2), **FORMATS[name])
        for name in ("s16.wav", "s16.flac", "lame.mp3", "vorbis.ogg", "opus.opus", "aac.m4a", "s16.aiff", "wma2.wma")
    ]
    outcomes = {"decoded": 0, "refused": 0}
    for source in sources:
        content = source.read_bytes()
        for _ in range(30):
            mutant = bytearray(content)
            for position in rng.integers(0, rng.choice([64, 512, len(mutant)]), rng.integers(1, 20)):
                mutant[position % len(mutant)] = rng.integers(0, 256)
            if rng.random() < 0.3:
                del mutant[rng.integers(1, len(mutant)) :]
            try:
                for block in decode_blocks(write("mutant", bytes(mutant)), limits=DecodeLimits(max_duration_s=60.0)):
                    assert np.isfinite(block).all()
                outcomes["decoded"] += 1
            except TrackError as error:
                assert str(error).endswith(".")
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 20


def test_flac_writer_gives_back_the_samples(tmp_path):
    samples = tone(level=0.7).astype(np.float32)
    with FlacWriter(tmp_path) as writer:
        for start in range(0, SAMPLE_RATE_HZ, 10_000):
            writer.push(samples[:, start : start + 10_000])
        writer.commit(tmp_path / "drums.flac")
    assert os.listdir(tmp_path) == ["drums.flac"]
    assert np.abs(read_audio(tmp_path / "drums.flac").samples - samples).max() <= 0.5 / 32_768 + 1e-7
    info = soundfile.info(tmp_path / "drums.flac")
    assert (info.samplerate, info.channels, info.subtype) == (SAMPLE_RATE_HZ, 2, "PCM_16")


def test_flac_writer_clips_beyond_full_scale(tmp_path):
    with FlacWriter(tmp_path) as writer:
        writer.push(np.array([[2.0] * 3_000, [-2.0] * 3_000], np.float32))
        writer.commit(tmp_path / "loud.flac")
    samples = read_audio(tmp_path / "loud.flac").samples
    assert samples[0].min() == np.float32(32_767 / 32_768) and samples[1].max() == -1.0


def test_flac_writer_writes_the_same_bytes_for_the_same_samples(tmp_path):
    for name in ("a.flac", "b.flac"):
        with FlacWriter(tmp_path) as writer:
            writer.push(tone().astype(np.float32))
            writer.commit(tmp_path / name)
    assert (tmp_path / "a.flac").read_bytes() == (tmp_path / "b.flac").read_bytes()


def test_a_stem_is_readable_by_others_as_the_umask_allows(tmp_path):
    before = os.umask(0o022)
    try:
        with FlacWriter(tmp_path) as writer:
            writer.push(tone().astype(np.float32))
            writer.commit(tmp_path / "stem.flac")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "stem.flac").stat().st_mode) == 0o644


def test_flac_writer_leaves_nothing_after_a_failure(tmp_path):
    with pytest.raises(RuntimeError, match="separator"), FlacWriter(tmp_path) as writer:
        writer.push(tone().astype(np.float32))
        raise RuntimeError("separator")
    with FlacWriter(tmp_path) as writer:
        writer.push(tone().astype(np.float32))
    assert os.listdir(tmp_path) == []


def test_flac_writer_keeps_the_old_file_when_the_new_one_fails(tmp_path):
    target = tmp_path / "drums.flac"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="separator"), FlacWriter(tmp_path) as writer:
        writer.push(tone().astype(np.float32))
        raise RuntimeError("separator")
    assert target.read_bytes() == b"old"


def test_a_missing_folder_fails_the_stage(tmp_path):
    with pytest.raises(StageFailed, match="cannot be written"), FlacWriter(tmp_path / "missing"):
        pass
    with pytest.raises(StageFailed, match="cannot be written"):
        write_audio(tmp_path / "missing" / "a.wav", Signal(tone()))


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".WAV"])
def test_a_preview_is_written_by_its_suffix_and_at_most_as_long_as_asked(tmp_path, suffix):
    path = tmp_path / f"preview{suffix}"
    write_audio(path, Signal(burst(SAMPLE_RATE_HZ, duration_s=4.0).astype(np.float32)), max_duration_s=2.5)
    signal = read_audio(path)
    assert signal.duration_s == pytest.approx(2.5, abs=0.06)
    assert locate_burst_s(signal) == pytest.approx(1.0, abs=0.002)
    assert os.listdir(tmp_path) == [path.name]


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Cannot write \.xyz: use one of \.wav, \.flac, \.ogg, \.mp3"):
        write_audio(tmp_path / "a.xyz", Signal(tone()))

"""`edge-ser demo`: the clip is what its README says, and the whole way works as a process."""

import io
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console
from tiny_models import tiny_contract, write_onnx, write_tflite
from without_module import edge_ser_without

from edge_ser.cli.demo import comparison_table, draw, events_table
from edge_ser.demo import (
    CLIP,
    Comparison,
    Measured,
    check_packages,
    compare,
    events_of,
    listen_to,
    read_clip,
    streamed_file,
)
from edge_ser.level import SILENCE_DBFS, level_dbfs
from firmware_host import EdgeSerError, Emotion, EmotionRecognizer
from firmware_host.recognizer import BOXED_TFLITE

CONTRACT = tiny_contract()
CLIP_SCRIPT = Path(__file__).parents[2] / "benchmarks" / "demo_clip.py"
BOXED_CHECKPOINT = BOXED_TFLITE.with_name("edge-ser-small.safetensors")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Real files under the names of a conversion; float and INT8 hold the same tiny model."""
    folder = tmp_path_factory.mktemp("demo")
    return tuple(
        write(folder / f"tiny.{precision}.{suffix}", CONTRACT)
        for precision in ("float32", "int8")
        for suffix, write in (("onnx", write_onnx), ("tflite", write_tflite))
    )


def test_the_clip_is_what_its_readme_says() -> None:
    readme = (CLIP.parent / "README.md").read_text()
    stated = re.search(r"([\d.]+) s of speech, ([\d]+) kHz, mono, (\d+)-bit FLAC", readme)
    assert stated is not None
    seconds, rate, bits = float(stated[1]), int(stated[2]) * 1000, stated[3]
    info = soundfile.info(CLIP)
    assert (info.format, info.subtype) == ("FLAC", f"PCM_{bits}")
    assert (info.samplerate, info.channels) == (rate, 1)
    assert abs(info.duration - seconds) < 0.05
    assert CLIP.stat().st_size < 400_000
    peak = np.max(np.abs(read_clip().samples))
    assert 0.5 < peak < 1.0  # audible, and nothing is clipped


def test_every_sentence_is_where_the_readme_says() -> None:
    """Loud inside each of the spans in the table, silent between them."""
    clip = read_clip()
    rows = re.findall(r"\| ([\d.]+) s \| ([\d.]+) s \|", (CLIP.parent / "README.md").read_text())
    spans = [(float(start), float(end)) for start, end in rows]
    assert len(spans) == 4

    def level(start: float, end: float) -> float:
        return level_dbfs(clip.samples[int(start * clip.rate) : int(end * clip.rate)])

    levels = [level(start, end) for start, end in spans]
    assert min(levels) > -45
    assert max(levels) - min(levels) > 10  # quiet and loud manners
    ends = [0.0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), clip.seconds]
    for end, start in zip(ends, starts, strict=True):
        assert level(end + 0.02, start - 0.02) == SILENCE_DBFS


def test_the_script_makes_the_clip(tmp_path: Path, need: Callable[[str], None]) -> None:
    """From espeak-ng alone, and twice the same bytes."""
    if shutil.which("espeak-ng") is None:
        need("espeak-ng is not installed")
    made = [tmp_path / "a.flac", tmp_path / "b.flac"]
    for path in made:
        subprocess.run([sys.executable, CLIP_SCRIPT, "--output", path], check=True, timeout=60)
    assert made[0].read_bytes() == made[1].read_bytes()
    version = subprocess.run(["espeak-ng", "--version"], capture_output=True, check=True).stdout
    if b" 1.51 " not in version:
        need("another espeak-ng than 1.51, which made the clip, is installed")
    samples = [soundfile.read(path, dtype="int16")[0].astype(int) for path in (made[0], CLIP)]
    assert len(samples[0]) == len(samples[1])
    # Another processor may round a resampled sample the other way.
    assert np.max(np.abs(samples[0] - samples[1])) <= 1


def test_two_streams_of_the_clip_are_heard_alike(files: Sequence[Path]) -> None:
    """The same events, and those of the whole recording."""
    recognizer, clip = EmotionRecognizer(streamed_file(files)), read_clip()
    first, second = (
        [emotion for moment in listen_to(recognizer, clip) for emotion in moment.emotions]
        for _ in range(2)
    )
    assert first == second
    assert first == list(recognizer.recognize(clip.samples, clip.rate).windows)
    events = events_of(first)
    assert sum(event.windows for event in events) == len(first)
    labels = [event.label for event in events]
    assert all(a != b for a, b in itertools.pairwise(labels))
    assert (events[0].start_seconds, events[-1].end_seconds) == (
        first[0].end_seconds,
        first[-1].end_seconds,
    )


def emotion(label: str, window: int, probability: float) -> Emotion:
    rest = (1 - probability) / 3
    probabilities = {name: probability if name == label else rest for name in CONTRACT.labels}
    return Emotion(label, probability, probabilities, window, window + 1.0, window, (0.0,) * 4)


def test_windows_in_a_row_make_an_event() -> None:
    heard = [emotion("sad", 0, 0.5), emotion("sad", 1, 0.9), emotion("sad", 2, 0.7)]
    (event, other, again) = events_of([*heard, emotion("angry", 3, 0.6), emotion("sad", 4, 0.4)])
    assert (event.label, event.windows, event.probability) == ("sad", 3, 0.9)
    assert (event.start_seconds, event.end_seconds) == (1.0, 3.0)
    assert (other.label, again.label) == ("angry", "sad")
    assert events_of([]) == ()


def test_the_comparison_is_of_the_files_given(files: Sequence[Path]) -> None:
    comparisons = compare(files)
    assert {c.format: c.engine for c in comparisons} == {"TFLite": "litert", "ONNX": "onnxruntime"}
    for comparison in comparisons:
        assert comparison.runs >= 100
        for measured in (comparison.float32, comparison.int8):
            (path,) = (path for path in files if path.name == measured.file)
            assert measured.bytes == path.stat().st_size
            assert measured.p50_ms > 0
        assert comparison.size_ratio == 1.0
    with pytest.raises(EdgeSerError, match="no int8 TFLite file"):
        compare([path for path in files if "int8" not in path.name])


def terminal() -> Console:
    """A terminal of 80 columns that remembers what was drawn on it."""
    return Console(record=True, force_terminal=True, width=80, height=40, file=io.StringIO())


def test_int8_that_loses_is_said_to_lose() -> None:
    """The table never calls a file smaller or faster when it is not."""
    float32, int8 = Measured("a", 800_000, 1.0), Measured("b", 200_000, 1.6)
    console = terminal()
    console.print(comparison_table([Comparison("ONNX", "onnxruntime", 100, float32, int8)]))
    console.print(comparison_table([Comparison("TFLite", "litert", 100, int8, float32)]))
    rows = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert "ONNX size 800 kB 200 kB 4.0 times smaller" in rows
    assert "ONNX latency, p50 1.00 ms 1.60 ms 1.6 times slower" in rows
    assert "TFLite size 200 kB 800 kB 4.0 times larger" in rows
    assert "TFLite latency, p50 1.60 ms 1.00 ms 1.6 times faster" in rows


def test_the_drawing_shows_time_level_and_every_emotion(files: Sequence[Path]) -> None:
    clip = read_clip()
    console = terminal()
    moments = list(listen_to(EmotionRecognizer(streamed_file(files)), clip))
    drawn = draw(console, moments, speed=1_000)
    assert drawn == moments  # nothing is left out
    last = [emotion for moment in moments for emotion in moment.emotions][-1]
    screen = console.export_text()
    frame = screen[screen.rindex("level") - 40 :]
    assert f"{clip.seconds:.2f} s  {last.label}" in frame
    assert "silence" in frame  # the clip ends in a pause
    loudest = max(moment.level_dbfs for moment in moments)
    assert f"{loudest:.0f} dBFS" in screen
    for label, probability in last.probabilities.items():
        (row,) = (line for line in frame.splitlines() if line.strip().startswith(label + " "))
        assert row.rstrip().endswith(f"{probability:.2f}")


def test_the_drawing_begins_before_a_window_is_full(files: Sequence[Path]) -> None:
    """Until then there is a level, and no label that nothing was heard for."""
    console = terminal()
    moment = next(listen_to(EmotionRecognizer(streamed_file(files)), read_clip()))
    assert moment.emotions == ()
    draw(console, [moment], speed=1_000)
    screen = console.export_text()
    assert "0.10 s  listening ..." in screen
    assert "level" in screen
    assert not any(label in screen for label in CONTRACT.labels)


def test_events_are_a_row_each() -> None:
    console = terminal()
    console.print(events_table(events_of([emotion("sad", 0, 0.5), emotion("angry", 1, 0.625)])))
    rows = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert rows[1:] == ["1.00 s 1.00 s sad 0.50 1", "2.00 s 2.00 s angry 0.62 1"]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_ser", "demo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def boxed(need: Callable[[str], None]) -> None:
    if not BOXED_CHECKPOINT.is_file():
        need(f"{BOXED_CHECKPOINT.name} is not in the package")


@pytest.mark.usefixtures("boxed")
def test_piped_the_demo_prints_plain_lines() -> None:
    """All three parts and what the voice is; no colour, no cursor movement, nothing else."""
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    text = " ".join(done.stdout.split())
    assert "synthetic voice (espeak-ng). It carries no real emotion" in text
    assert "the mechanism, not the accuracy" in text
    assert "edge-ser bench" in text
    assert "README.md" in text
    for name in ("TFLite size", "TFLite latency, p50", "ONNX size", "ONNX latency, p50"):
        assert name in text


@pytest.mark.usefixtures("boxed")
def test_json_is_one_object_with_everything(tmp_path: Path) -> None:
    """What it says of the files is true of those it left in the folder."""
    done = run("--json", "--out", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert {path.name for path in tmp_path.iterdir()} >= {"report.json"}
    assert json.loads((tmp_path / "report.json").read_text()) == result["conversion"]
    assert "synthetic" in result["clip"]["notes"][0]
    for comparison in result["comparison"]:
        for precision in ("float32", "int8"):
            measured = comparison[precision]
            assert (tmp_path / measured["file"]).stat().st_size == measured["bytes"]
        ratio = comparison["float32"]["bytes"] / comparison["int8"]["bytes"]
        assert comparison["size_ratio"] == ratio
    assert ".int8." in result["stream"]["file"]
    recognizer = EmotionRecognizer(tmp_path / result["stream"]["file"])
    windows = recognizer.recognize_file(CLIP).windows
    expected = json.loads(json.dumps([window.to_dict() for window in windows]))
    assert result["stream"]["windows"] == expected


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    check_packages()
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(
        EdgeSerError, match=r"safetensors must.*`pip install 'edge-ser\[convert\]'`"
    ):
        check_packages()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    both = r"onnxruntime, onnx, safetensors must.*'edge-ser\[convert\]' 'edge-ser\[onnx\]'`"
    with pytest.raises(EdgeSerError, match=both):
        check_packages()


def test_what_cannot_be_shown_ends_in_a_sentence(tmp_path: Path) -> None:
    done = edge_ser_without("onnx", "demo")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("edge-ser: the demo writes")
    assert done.stderr.count("\n") == 1
    done = run("--model", tmp_path / "none.safetensors")
    assert done.returncode == 2
    assert done.stderr.startswith("edge-ser: no checkpoint at")
    assert done.stderr.count("\n") == 1

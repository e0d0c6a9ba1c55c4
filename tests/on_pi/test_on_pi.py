"""The package on the cores of Raspberry Pis: it installs, its tests pass, engines agree, and a
stream costs no more than it may.

The cores are emulated, the systems are Debian's own. What takes long is begun all at once,
as many at a time as there are processors; each test waits for its own.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from emulated_pi import FOLDER, PiPython, make_python
from engine_environments import ENVIRONMENTS, LOGIT_STEPS, grid_step

from firmware_host.audio import read_audio
from firmware_host.contract import read_contract
from firmware_host.golden import golden_waveform
from firmware_host.recognizer import EmotionRecognizer
from own_wheel import ROOT, copy_sources, make_wheel, output_of
from pi_emulator.count_stream import BUT_MODEL, FEATURES, WHOLE
from pi_emulator.regions import read_counts
from stream_cost import PARTS, TARGET_CORE, TARGET_RESIDENT_MB, TARGETS

SUITES = {"cortex-a53": "bookworm", "cortex-a72": "bookworm", "cortex-a76": "trixie"}
"""Pi 3 and Zero 2 W, Pi 4, Pi 5; and the Debian that each is tested with."""

NOT_PULLED = {"torch", "tensorflow", "keras", "onnx", "onnxruntime", "scipy", "matplotlib"}
TEST_TOOLS = ("pytest>=8", "hypothesis>=6")
DEVICE_TESTS = (
    "firmware_host/test_features.py",
    "firmware_host/test_audio.py",
    "firmware_host/test_contract.py",
    "firmware_host/test_golden.py",
    "firmware_host/test_engines.py",
    "firmware_host/test_recognizer.py",
    "firmware_host/test_stream.py",
    "firmware_host/test_stream_clock.py",
    "firmware_host/test_decisions.py",
    "firmware_host/test_listener.py",
    "firmware_host/test_ring.py",
    "firmware_host/test_microphone.py",
    "firmware_host/test_systemd.py",
    "firmware_host/test_cpu.py",
    "firmware_host/test_doctor.py",
    "edge_ser/test_cli_doctor.py",
    "edge_ser/test_device_commands.py",
)
"""What runs with numpy, an interpreter and the test tools alone."""

REQUIREMENTS = {environment.engine: environment.requirements for environment in ENVIRONMENTS}
# tflite-runtime has ended with Python 3.11, which is bookworm's. TensorFlow takes most of a
# minute to import under emulation.
ENGINES = (
    *(("litert", core, suite) for core, suite in SUITES.items()),
    *(("tflite-runtime", core, "bookworm") for core in SUITES),
    *(("tensorflow", core, "bookworm") for core in SUITES),
)
MODELS = {"pi": "edge-ser-small.int8.tflite", "micro": "edge-ser-small.micro.int8.tflite"}
XNNPACK_STEPS = 2  # of the output's scale, between the numpy reference and ai-edge-litert
CLIP = ROOT / "edge_ser" / "assets" / "demo.flac"
PROGRAM = ROOT / "tests" / "helpers" / "recognize_elsewhere.py"


@dataclass(frozen=True)
class Begun:
    """What is being done: environments by suite, tests by core, recordings heard by engine; and
    what a second of a stream costs, in instructions by part and in bytes."""

    packages: dict[str, Future[dict[str, str]]]
    tests: dict[str, Future[CompletedProcess[str]]]
    heard: dict[tuple[str, str], Future[dict[str, dict[str, Any]]]]
    cost: Future[tuple[dict[int, float], int]]


@pytest.fixture(scope="session")
def begun() -> Iterator[Begun]:
    """All of it. Tasks are taken in the order given, so none waits for one that has to wait."""
    wheel = make_wheel(FOLDER / "wheel")
    write_models_and_recordings()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pythons: dict[tuple[str, str], Future[PiPython]] = {}
        for engine, _, suite in reversed(ENGINES):  # TensorFlow's takes longest
            if (engine, suite) not in pythons:
                what = () if engine == "litert" else REQUIREMENTS[engine]
                pythons[engine, suite] = pool.submit(install, suite, engine, what, wheel)
        suites = dict.fromkeys(SUITES.values())
        packages = {s: pool.submit(add_test_tools, pythons["litert", s]) for s in suites}
        heard = {
            (engine, core): pool.submit(hear, engine, core, pythons[engine, suite])
            for engine, core, suite in reversed(ENGINES)
        }
        tests = {
            core: pool.submit(run_tests, core, pythons["litert", suite], packages[suite])
            for core, suite in SUITES.items()
        }
        cost = pool.submit(count, pythons["litert", SUITES[TARGET_CORE]])
        yield Begun(packages, tests, heard, cost)
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("suite", dict.fromkeys(SUITES.values()))
def test_installing_pulls_no_framework(suite: str, begun: Begun) -> None:
    """A Pi has neither the disk nor the patience; and the right interpreter does come."""
    packages = begun.packages[suite].result()
    assert {"edge-ser", "numpy", "ai-edge-litert"} <= set(packages)
    assert not NOT_PULLED & set(packages)


@pytest.mark.parametrize("core", SUITES)
def test_the_device_tests_pass(core: str, begun: Begun, capsys: pytest.CaptureFixture[str]) -> None:
    """Against the installed wheel, on this core."""
    done = begun.tests[core].result()
    lines = done.stdout.strip().splitlines()
    with capsys.disabled():
        print(f"\n{core}, Debian {SUITES[core]}: {lines[-1].strip('= ') if lines else ''}")
    assert done.returncode == 0, done.stdout[-6000:]


def test_a_stream_keeps_to_its_budget(begun: Begun, capsys: pytest.CaptureFixture[str]) -> None:
    """Instructions of a second of sound, without gate and resampler, and resident memory: what
    benchmarks/stream_cost.py publishes does not grow unseen."""
    instructions, resident = begun.cost.result()
    cost = {part: instructions[PARTS[part]] / 1e6 for part in TARGETS}
    told = ", ".join(f"{part} {cost[part]:.2f} M" for part in cost)
    whole = f"{instructions[WHOLE] / 1e6:.2f} M in all, {resident / 1e6:.1f} MB"
    with capsys.disabled():
        print(f"\na second of a stream on {TARGET_CORE}: {told}; {whole}")
    assert set(TARGETS) == {"features", "all but the model"}
    for part, limit in TARGETS.items():
        assert 0 < cost[part] <= limit, part
    assert instructions[FEATURES] < instructions[BUT_MODEL] < instructions[WHOLE]
    assert 0 < resident <= TARGET_RESIDENT_MB * 1e6


@pytest.mark.parametrize("target", MODELS)
@pytest.mark.parametrize(("engine", "core", "suite"), ENGINES)
def test_every_engine_computes_the_same_model(
    engine: str,
    core: str,
    suite: str,
    target: str,
    begun: Begun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Golden vectors as the numpy reference has them, and a recording as it is heard here."""
    heard = begun.heard[engine, core].result()[target]
    file = FOLDER / "models" / MODELS[target]
    here = EmotionRecognizer(file, "litert").recognize(*read_audio(CLIP))
    logits = np.array([window.logits for window in here.windows])
    step = grid_step(logits)
    golden = 0.0
    for vector in read_contract(file).golden:
        (found,) = heard[f"golden {vector.seed}"]
        golden = max(golden, np.abs(found - np.array(vector.logits)).max() / step)
        assert int(np.argmax(found)) == int(np.argmax(vector.logits))
    clip = np.abs(heard["clip"] - logits).max() / step
    with capsys.disabled():
        print(
            f"\n{engine} on {core}, {target}: golden vectors {golden:.0f} steps off the reference, "
            f"{len(logits)} windows of a recording {clip:.0f} off x86"
        )
    assert golden <= (XNNPACK_STEPS if engine == "litert" else LOGIT_STEPS) + 0.01
    assert clip <= LOGIT_STEPS
    assert str(heard["clip.label"]) == here.label


def write_models_and_recordings() -> None:
    """Both TFLite files, converted here, and what is to be heard with them."""
    models = FOLDER / "models"
    output_of(
        [sys.executable, "-m", "edge_ser", "convert", "--int8", "--target", "all", "-o", models]
    )
    samples, _ = read_audio(CLIP)
    contract = read_contract(models / MODELS["pi"])
    recordings: dict[str, Any] = {
        f"golden {vector.seed}": golden_waveform(vector.seed, contract.window_samples)
        for vector in contract.golden
    }
    np.savez(FOLDER / "recordings.npz", **recordings | {"clip": samples})


def install(suite: str, engine: str, requirements: tuple[str, ...], wheel: Path) -> PiPython:
    """The wheel and what it requires, as a person would; or another engine, and nothing else."""
    python = make_python(suite, engine, requirements)
    if not requirements:
        python.install(wheel)
    return python


def add_test_tools(base: Future[PiPython]) -> dict[str, str]:
    """What was installed before there were test tools."""
    packages = base.result().packages()
    base.result().install(*TEST_TOOLS)
    return packages


def run_tests(
    core: str, base: Future[PiPython], tools: Future[dict[str, str]]
) -> CompletedProcess[str]:
    """The device tests in a folder where the package can come from nowhere but the wheel."""
    tools.result()
    folder = FOLDER / "tests-on" / core
    copy_sources(ROOT / "tests", folder / "tests")
    (folder / "pytest.ini").write_text(
        "[pytest]\npythonpath = tests/helpers\naddopts = --import-mode=importlib -ra\n"
    )
    tests = [f"tests/{file}" for file in DEVICE_TESTS]
    arguments = ["-m", "pytest", "-q", "--durations=10", "--basetemp=temporary", *tests]
    # Without this folder on the path, as `python -m` would have it: -P.
    return base.result().run(core, ["-P", *arguments], folder)


def count(made: Future[PiPython]) -> tuple[dict[int, float], int]:
    """(instructions by region, resident bytes) of a second of a stream, of the installed wheel."""
    folder = FOLDER / "cost"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    counts = folder / "counts.txt"
    program = ["-P", "-m", "pi_emulator.count_stream", "--no-gate"]
    environment = {"PYTHONPATH": str(ROOT / "benchmarks"), "PYTHONHASHSEED": "0"}
    extras: tuple[dict[str, str], ...] = ({}, {"PI_COUNT": str(counts)})
    for extra in extras:  # the first time Python compiles
        done = made.result().run(TARGET_CORE, program, folder, environment | extra)
        assert done.returncode == 0, done.stdout[-3000:]
    resident: int = json.loads(done.stdout.splitlines()[-1])["resident_bytes"]
    regions = read_counts(counts.read_text())
    return {label: classes["total"] for label, classes in regions.items()}, resident


def hear(engine: str, core: str, made: Future[PiPython]) -> dict[str, dict[str, Any]]:
    """What an engine makes of the recordings with each model, on a core."""
    python, environment = made.result(), {"TF_CPP_MIN_LOG_LEVEL": "2"}
    if engine != "litert":  # whose environment has the package; the others have only an engine
        environment["PYTHONPATH"] = str(ROOT)
    folder = FOLDER / "heard" / f"{engine}-{core}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files: list[str | Path] = []
    for name, file in MODELS.items():
        files += [FOLDER / "models" / file, f"{name}.npz"]
    done = python.run(
        core, [PROGRAM, engine, FOLDER / "recordings.npz", *files], folder, environment
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return {name: dict(np.load(folder / f"{name}.npz")) for name in MODELS}

"""SIGKILL at any moment: no half file under a final name, nothing that stops the next start."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors.numpy
from broker import Broker, Subscriber, missing, until
from tone_corpus import write_tone_corpus

from edge_ser.run_state import STATE_FILE
from firmware_host.mqtt import topics

KILLS = 4
EDGE_SER = [sys.executable, "-m", "edge_ser"]
MOMENTS = random.Random(20)


def finished(command: list[str], env: Mapping[str, str] = os.environ) -> float:
    """Run it to its end; how many seconds that took."""
    start = time.monotonic()
    subprocess.run(command, env=env, check=True, capture_output=True, timeout=120)
    return time.monotonic() - start


def kill_within(command: list[str], seconds: float, env: Mapping[str, str] = os.environ) -> None:
    """Run it, and kill it at a moment of chance before `seconds` are over."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=env, stdout=quiet, stderr=quiet) as process:
        try:
            process.wait(MOMENTS.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            process.kill()


def until_more(subscriber: Subscriber, topic: str, n: int) -> None:
    until(lambda: len(subscriber.on(topic)) > n)


def kept(folder: Path) -> dict[str, bytes]:
    """The files by their names. One that was killed before its last move counts as what it is."""
    return {
        path.relative_to(folder).as_posix().removesuffix(".partial"): path.read_bytes()
        for path in sorted(folder.rglob("*"), key=lambda path: path.suffix != ".partial")
        if path.is_file()
    }


def is_writing(pid: int, folder: Path) -> bool:
    """Whether a process has a file of this folder open."""
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found.append(str(descriptor.readlink()))
    return any(path.startswith(f"{folder}/") for path in found)


def test_a_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    """Killed while it writes without a pause: what every command writes its files with."""
    script = """
import sys
from pathlib import Path
from firmware_host.files import write_whole
path, size = Path(sys.argv[1]), 500_000
print("begin", flush=True)
while True:
    write_whole(path, b"a" * size)
    write_whole(path, b"b" * size)
"""
    path = tmp_path / "file"
    for _ in range(20):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            until(path.exists)
            time.sleep(MOMENTS.uniform(0, 0.02))
            process.kill()
        left = [file.read_bytes() for file in tmp_path.iterdir()]
        assert set(left) <= {b"a" * 500_000, b"b" * 500_000}
        assert len(left) <= 2  # the second, if it was killed between its name and its place


def test_convert(tmp_path: Path) -> None:
    def command(folder: Path) -> list[str]:
        return [*EDGE_SER, "convert", "-o", str(folder)]

    seconds = finished(command(tmp_path / "whole"))
    whole = kept(tmp_path / "whole")
    assert len(whole) == 5
    folder = tmp_path / "killed"
    for _ in range(KILLS):
        kill_within(command(folder), seconds)
        assert kept(folder).items() <= whole.items()
    finished(command(folder))
    assert kept(folder) == whole


def test_service_install(tmp_path: Path) -> None:
    """Over a unit file that is there: it is the old one or the new one."""
    env = os.environ | {"XDG_CONFIG_HOME": str(tmp_path)}

    def command(host: str) -> list[str]:
        return [*EDGE_SER, "service", "install", "--user", "--no-start", "--mqtt", host]

    states = []
    for host in ("new.broker", "old.broker"):
        seconds = finished(command(host), env)
        states.append(kept(tmp_path))
        assert len(states[-1]) == 1
    for _ in range(KILLS):
        kill_within(command("new.broker"), seconds, env)
        assert kept(tmp_path) in states
    finished(command("new.broker"), env)
    assert kept(tmp_path) == states[0]


def test_a_training_that_writes_its_state(tmp_path: Path) -> None:
    """Killed right when it writes: what stands there can be read; test_train.py goes on from it."""
    data, run = write_tone_corpus(tmp_path / "corpora"), tmp_path / "run"
    command = [*EDGE_SER, "train", "--data", str(data), "-o", str(run), "--corpus", "RAVDESS"]
    quiet = subprocess.DEVNULL
    state = run / STATE_FILE
    with subprocess.Popen([*command, "--size", "tiny"], stdout=quiet, stderr=quiet) as process:
        until(lambda: state.exists() or process.poll() is not None)
        until(lambda: process.poll() is not None or is_writing(process.pid, run))
        assert process.poll() is None
        process.kill()
    assert safetensors.numpy.load(state.read_bytes())
    for partial in run.glob("*.partial"):
        assert safetensors.numpy.load(partial.read_bytes())


def test_listen(need: Callable[[str], None], tmp_path: Path) -> None:
    """It writes nothing; the broker tells that it is gone, and takes it back."""
    if why := missing():
        need(why)
    place = tmp_path / "place"
    place.mkdir()
    where = topics("kitchen")
    with Broker(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        address = f"127.0.0.1:{broker.port}"
        command = [*EDGE_SER, "listen", "--input", "-", "--mqtt", address, "--name", "kitchen"]
        for _ in range(2):
            before = len(subscriber.on(where.availability))
            with subprocess.Popen(
                command, cwd=place, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
            ) as process:
                assert process.stdin is not None
                process.stdin.write(bytes(2 * 16_000 * 4))
                process.stdin.flush()
                until_more(subscriber, where.availability, before)
                time.sleep(MOMENTS.uniform(0, 0.1))
                process.send_signal(signal.SIGKILL)
            until(lambda: subscriber.on(where.availability)[-1].payload == b"offline")
            assert not list(place.iterdir())
        said = [message.payload for message in subscriber.on(where.availability)]
        assert said == [b"online", b"offline"] * 2
    assert subscriber.on(where.event)

"""`edge-ser service`: what systemd says of the unit file, and what listen says to systemd."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_models import tiny_contract, write_onnx

from edge_ser.demo import CLIP
from edge_ser.service import LOCKED, RUNNING, UNIT, Service, unit_text
from firmware_host.golden import golden_waveform

SECRET = "/etc/edge-ser/mqtt.secret"
LISTEN = ("--mqtt", "broker:8883", "--mqtt-tls", "--device", 'a "USB" 100% $mic')


def edge_ser(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_ser", "service", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"XDG_CONFIG_HOME": str(home), "COLUMNS": "200"},
    )


def analyze(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"XDG_RUNTIME_DIR": str(folder), "SYSTEMD_PAGER": ""}
    return subprocess.run(
        ["systemd-analyze", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def systemd(need: Callable[[str], None]) -> None:
    if shutil.which("systemd-analyze") is None:
        need("systemd-analyze is not installed (apt-get install systemd)")


@pytest.mark.parametrize(("user", "run_as"), [(False, None), (False, "daemon"), (True, None)])
def test_systemd_understands_every_line(
    systemd: None, user: bool, run_as: str | None, tmp_path: Path
) -> None:
    service = Service(LISTEN, user, run_as, Path(SECRET))
    (tmp_path / UNIT).write_text(unit_text(service))
    manager = ["--user"] if user else []
    done = analyze("verify", "--man=no", *manager, str(tmp_path / UNIT), folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_service_of_the_system_is_locked_down(systemd: None, tmp_path: Path) -> None:
    """systemd's own measure of exposure, of 10, is "OK", which ends at 5; ours is below 2.5."""
    (tmp_path / UNIT).write_text(unit_text(Service(LISTEN, credentials=Path(SECRET))))
    judged = ("security", "--offline=yes", "--threshold=25", str(tmp_path / UNIT))
    done = analyze(*judged, folder=tmp_path)
    assert done.returncode == 0, done.stdout


def test_the_unit_lets_every_system_call_of_a_listener_through(
    systemd: None, need: Callable[[str], None], tmp_path: Path
) -> None:
    """Traced while it loads the model, hears a clip and looks for a broker."""
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-qq", "-s", "0", "-e", "signal=none", "-o", str(trace)]
    if shutil.which("strace") is None or subprocess.run([*strace, "true"], check=False).returncode:
        need("strace is not installed (apt-get install strace), or may not trace here")
    listen = [sys.executable, "-m", "edge_ser", "listen", "--input", str(CLIP), "--mqtt", "[::1]:1"]
    subprocess.run([*strace, *listen], check=True, capture_output=True, timeout=120)
    lines = trace.read_text(errors="replace")
    called = set(re.findall(r"^\d+ +(?:<\.\.\. )?(\w+)[ (]", lines, re.MULTILINE))
    assert len(called) > 40
    assert not called - (calls_in("@system-service", tmp_path) - calls_in("@privileged", tmp_path))


def calls_in(group: str, folder: Path) -> set[str]:
    """The system calls in a group of systemd's, and in the groups in it."""
    told = analyze("syscall-filter", "--no-pager", group, folder=folder).stdout.splitlines()[1:]
    names = {line.strip() for line in told if not line.strip().startswith("#")} - {""}
    groups = {name for name in names if name.startswith("@")}
    return (names - groups).union(*(calls_in(name, folder) for name in groups))


def test_the_unit_file_holds_what_was_asked_for() -> None:
    text = unit_text(Service(LISTEN, credentials=Path(SECRET)), python="/usr/bin/python3")
    lines = text.splitlines()
    assert (
        "ExecStart=/usr/bin/python3 -m edge_ser listen --mqtt broker:8883 --mqtt-tls --device "
        '"a \\"USB\\" 100%% $$mic" --mqtt-credentials ${CREDENTIALS_DIRECTORY}/mqtt'
    ) in lines
    for line in ("Type=notify", f"LoadCredential=mqtt:{SECRET}", "DynamicUser=yes"):
        assert line in lines
    for name in ("NoNewPrivileges", "ProtectSystem", "PrivateTmp", "SystemCallFilter"):
        assert any(line.startswith(f"{name}=") for line in lines), name
    own = unit_text(Service(LISTEN, user=True, credentials=Path(SECRET)))
    assert LOCKED in own
    assert f"--mqtt-credentials {SECRET}\n" in own
    assert "DynamicUser" not in own


def test_install_status_uninstall(tmp_path: Path) -> None:
    unit = tmp_path / "systemd" / "user" / UNIT
    words = (
        "install",
        "--user",
        "--no-start",
        "--mqtt",
        "broker",
        "--no-gate",
        "--model",
        "m.onnx",
    )
    done = edge_ser(*words, home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(unit) in done.stdout
    # A service starts in another folder.
    assert f"--model {Path('m.onnx').resolve()} --no-gate --mqtt broker\n" in unit.read_text()
    done = edge_ser("status", "--user", "--json", home=tmp_path)
    assert json.loads(done.stdout)["unit"] == str(unit)
    done = edge_ser("uninstall", "--user", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not unit.exists()
    assert "nothing to remove" in edge_ser("uninstall", "--user", home=tmp_path).stdout
    assert "unit file: none" in edge_ser("status", "--user", home=tmp_path).stdout


def test_print_changes_nothing(tmp_path: Path) -> None:
    done = edge_ser("install", "--user", "--print", "--", "--device", "usb", home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == unit_text(Service(("--device", "usb"), user=True))
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_a_service_ends_in_a_sentence(tmp_path: Path) -> None:
    """Found out now, and not by a service that fails to start for ever."""
    for words, said in (
        (("--input", "a.wav"), "--input is heard once"),
        (("--list-devices",), "--list-devices"),
        (("--bogus",), "No such option"),
        (("--hold", "long"), "Invalid value"),
        (("--user", "--run-as", "pi"), "--run-as"),
        (("--run-as", "no such account", "--no-start"), "no account"),
    ):
        done = edge_ser("install", *words, home=tmp_path)
        assert done.returncode == 2, words
        assert said in done.stderr, words
    if not RUNNING.is_dir():
        done = edge_ser("install", "--user", home=tmp_path)
        assert done.returncode == 2
        assert "systemd does not run here" in done.stderr
    assert not list(tmp_path.iterdir())


def test_listen_tells_systemd_that_it_lives(tmp_path: Path) -> None:
    """Ready when it listens, not before; alive as long as sound comes."""
    contract = tiny_contract()
    model = write_onnx(tmp_path / "tiny.onnx", contract)
    sound = (golden_waveform(1, contract.window_samples) * 32768).astype("<i2").tobytes()
    command = [sys.executable, "-m", "edge_ser", "listen", "--input", "-", "--model", str(model)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000"}
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=os.environ | told,
        ) as process:
            assert process.stdin is not None
            assert systemd.recv(100) == b"READY=1"
            process.stdin.write(sound)
            process.stdin.flush()
            assert systemd.recv(100) == b"WATCHDOG=1"
            process.stdin.close()
            last = b""
            while last != b"STOPPING=1":
                last = systemd.recv(100)
                assert last in (b"WATCHDOG=1", b"STOPPING=1")
            assert process.wait(60) == 0

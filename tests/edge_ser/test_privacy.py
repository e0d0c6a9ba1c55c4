"""Sound stays where it is heard: every system call of `edge-ser listen` that could carry it away.

A listener publishes to a broker while strace watches all that it opens, connects to and writes.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from broker import Broker, Subscriber, missing, until
from some_events import check_event

from edge_ser.demo import CLIP
from firmware_host.mqtt import topics

# Whatever takes bytes somewhere, and what changes a folder.
CARRYING = ("write", "pwrite", "send", "splice", "vmsplice", "tee", "copy_file_range")
MAKING = ("creat", "mkdir", "mkdirat", "link", "linkat", "rename", "renameat", "renameat2")
WATCHED = (
    "%file,%network,write,writev,pwrite64,pwritev,pwritev2,sendfile,splice,vmsplice,tee,"
    "copy_file_range"
)
CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+)")
TO = re.compile(r"\d+<(.*?)>(\(deleted\))?,")
WRITING = re.compile(r"O_(WRONLY|RDWR|CREAT|APPEND)")
HOP_BYTES = 8_000  # of 250 ms of 16-bit sound at 16 kHz


@pytest.fixture
def strace(need: Callable[[str], None], tmp_path: Path) -> list[str]:
    """The command that watches another, and writes a file for each thread."""
    if why := missing():
        need(why)
    if shutil.which("strace") is None:
        need("strace is not installed (apt-get install strace)")
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False)
    if tried.returncode:
        need("strace may not trace here")
    watched = ["-e", f"trace={WATCHED}", "-e", "signal=none", "-s", "0"]
    return ["strace", "-ff", "-qq", "-yy", *watched, "-o", str(tmp_path / "trace")]


def test_listening_keeps_the_sound_to_itself(strace: list[str], tmp_path: Path) -> None:
    """No file is left, nothing is connected to but the broker, and what is written and sent has
    no room for sound: events as documented, an eighth of its size."""
    place = tmp_path / "place"
    place.mkdir()
    where = topics("kitchen")
    with Broker(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        listen = [sys.executable, "-B", "-m", "edge_ser", "listen", "--input", str(CLIP), "--json"]
        publish = ["--mqtt", f"127.0.0.1:{broker.port}", "--name", "kitchen"]
        done = subprocess.run(
            [*strace, *listen, *publish],
            cwd=place,
            env=os.environ | {"TMPDIR": str(place), "HOME": str(place)},
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        port = broker.port
        events = [json.loads(line) for line in done.stdout.splitlines()]
        until(lambda: len(subscriber.on(where.event)) == len(events))
    received = [message.json for message in subscriber.on(where.event)]
    assert [event["logits"] for event in received] == [event["logits"] for event in events]
    sizes = [len(message.payload) for message in subscriber.messages]
    assert max(sizes) < HOP_BYTES / 4
    for message in [*subscriber.on(where.event), *subscriber.on(where.state)]:
        check_event(message.json)
    assert len(done.stderr) < 1_000

    lines = [
        line
        for trace in tmp_path.glob("trace.*")
        for line in trace.read_text(errors="replace").splitlines()
    ]
    done_calls = [call for line in lines if (call := CALL.match(line)) and call["result"][0] != "-"]
    assert len(done_calls) > 1_000
    assert not [call[0] for call in done_calls if call["name"] in MAKING]
    opened = {call["arguments"].split('"')[1] for call in done_calls if WRITING.search(call[0])}
    # Temporary files only: what the interpreter prints while it starts is held back in one.
    assert {path for path in opened if not path.startswith(str(place))} <= {os.devnull}
    assert not list(place.iterdir())
    assert connected_to(lines) == {port}
    written, sent = bytes_out(done_calls)
    seconds = soundfile.info(CLIP).duration
    assert written < HOP_BYTES / 4
    assert sum(sizes) <= sent < seconds * 4 * HOP_BYTES / 6


def connected_to(lines: list[str]) -> set[int]:
    """Ports that were connected to, but for those that the process listened at itself.

    Fails for whatever is sent elsewhere than over a TCP connection to this machine.
    """
    ports, own = set(), set()
    for line in lines:
        if line.startswith("listen("):
            own.add(int(line.partition("127.0.0.1:")[2].partition("]")[0]))
        elif line.startswith(("connect(", "send")) and "sa_family" in line:
            to = re.search(r'sin_port=htons\((\d+)\), sin_addr=inet_addr\("127.0.0.1"\)', line)
            assert to is not None and line.startswith("connect("), line
            ports.add(int(to[1]))
    return ports - own


def bytes_out(calls: list[re.Match[str]]) -> tuple[int, int]:
    """How many were written to files, and how many sent over the network.

    What is printed goes into the test's own pipes, and is looked at by itself.
    """
    written = sent = 0
    for call in calls:
        if not call["name"].startswith(CARRYING):
            continue
        to = TO.match(call["arguments"])
        assert to is not None, call[0]
        if "TCP:" in to[1]:
            sent += int(call["result"])
        elif not to[1].startswith("pipe:"):
            written += int(call["result"])
    return written, sent

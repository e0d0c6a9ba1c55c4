"""What the processor is called, and whether int8 products are fast on it."""

import platform
from pathlib import Path

import pytest

from firmware_host import cpu
from firmware_host.cpu import read_cpu

PI_4 = "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU part\t: 0xd08\n\n"
PI_5 = "processor\t: 0\nFeatures\t: fp asimd asimdrdm asimddp\nCPU part\t: 0xd0b\n\n"
OLD_X86 = "model name\t: Old Processor\nflags\t\t: fpu sse2 avx2 fma\n\n"
NEW_X86 = "model name\t: New Processor\nflags\t\t: fpu avx2 avx512_vnni\n\n"


@pytest.mark.parametrize(
    ("machine", "text", "name", "dot_product"),
    [
        ("aarch64", PI_4 * 4, "Cortex-A72", False),
        ("aarch64", PI_5 * 4, "Cortex-A76", True),
        ("aarch64", PI_5.replace("0xd0b", "0xfff"), "aarch64", True),
        ("x86_64", OLD_X86, "Old Processor", False),
        ("x86_64", NEW_X86, "New Processor", True),
        ("riscv64", "processor\t: 0\nisa\t: rv64imafdc\n", "riscv64", None),
    ],
)
def test_what_linux_says_of_a_processor(
    machine: str,
    text: str,
    name: str,
    dot_product: bool | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The texts of /proc/cpuinfo on boards that people own."""
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(cpu, "BOARD", tmp_path / "no board")
    (tmp_path / "cpuinfo").write_text(text)
    assert read_cpu(tmp_path / "cpuinfo") == cpu.Cpu(name, dot_product)


def test_a_board_is_named_before_its_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
    (tmp_path / "cpuinfo").write_text(PI_4)
    monkeypatch.setattr(cpu, "BOARD", tmp_path / "model")
    assert read_cpu(tmp_path / "cpuinfo").name.startswith("Raspberry Pi 4 Model B Rev 1.4, ")


def test_what_is_not_known_is_not_claimed(tmp_path: Path) -> None:
    """On another system there is no such file."""
    found = read_cpu(tmp_path / "nothing")
    assert found.dot_product is None
    assert found.name

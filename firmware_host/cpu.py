"""The processor: its name, and whether it has the instructions that int8 products want."""

import platform
from dataclasses import dataclass
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
BOARD = Path("/proc/device-tree/model")  # a Raspberry Pi's name stands there

# Part numbers of Arm's own cores (implementer 0x41), those of boards that people own.
# Source: Main ID Register, in each core's Technical Reference Manual.
ARM_CORES = {
    "0xb76": "ARM1176",
    "0xc07": "Cortex-A7",
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd41": "Cortex-A78",
}
ARM, X86 = ("aarch64", "arm64", "armv7l", "armv6l", "armv8l"), ("x86_64", "amd64")
ARM_DOT_PRODUCT = {"asimddp"}
X86_DOT_PRODUCT = {"avx512_vnni", "avx_vnni"}


@dataclass(frozen=True)
class Cpu:
    """A processor.

    Args:
        name: as its maker calls it, the board's name before it where there is one.
        dot_product: has it instructions that add up int8 products by fours (Arm's dot product,
            x86's VNNI)? None where the system does not say.
    """

    name: str
    dot_product: bool | None


def read_cpu(cpu_info: Path = CPU_INFO) -> Cpu:
    """The processor of this machine.

    Args:
        cpu_info: where Linux describes it.
    """
    machine = platform.machine()
    try:
        text = cpu_info.read_text()
    except OSError:
        return Cpu(platform.processor() or machine, None)
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().casefold(), value.strip())  # the first core's
    flags = set(fields.get("flags", fields.get("features", "")).split())
    known = {
        **dict.fromkeys(ARM, ARM_DOT_PRODUCT),
        **dict.fromkeys(X86, X86_DOT_PRODUCT),
    }.get(machine.lower())
    core = fields.get("model name") or ARM_CORES.get(fields.get("cpu part", "").lower(), machine)
    return Cpu(", ".join([*_board(), core]), bool(flags & known) if known and flags else None)


def _board() -> list[str]:
    try:
        return [BOARD.read_text().strip("\0\n ")]
    except OSError:
        return []

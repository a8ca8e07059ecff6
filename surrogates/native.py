"""C sources of the house, compiled on this machine for its processor, once.

Loops that stay in a core's caches need a compiler that knows the core. A wheel could not know it, so the source is
shipped and compiled where it first runs, by the system's C compiler (`CC`, `cc`, `gcc` or `clang`), into the user's
cache folder. What was compiled is found again by a hash of source, compiler and processor, so that one home directory
serves unlike machines.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from loop.errors import PotentialError

FLAGS: Final = (
    "-std=gnu11",
    "-O3",
    "-march=native",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    f"-I{Path(__file__).parent}",
    "-fPIC",
    "-shared",
)
"""Nothing that lets the compiler reorder sums: the same binary and input give the same bits, NaN included."""
NO_COMPILER: Final = (
    "no C compiler was found: install one (Debian: `apt install gcc`), name it in the environment variable CC, or "
    "set `compiled: false`"
)
HEADER: Final = Path(__file__).with_name("vectors.h")
LONGEST: Final = 300
"""Seconds after which a compiler is taken to hang."""


def compiler() -> str | None:
    """Path of the system's C compiler, or None."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        found = shutil.which(name) if name else None
        if found:
            return found
    return None


@cache
def library(source: Path) -> ctypes.CDLL:
    """Compile a C source for this processor, or find it compiled, and load it.

    Raises:
        PotentialError: there is no compiler, it fails, or the cache folder cannot be written.
    """
    command = compiler()
    if command is None:
        raise PotentialError(f"{source.name} cannot be compiled: {NO_COMPILER}")
    target = _folder() / f"{source.stem}-{_fingerprint(source, command)}.so"
    try:
        if not target.is_file():
            build(source, target, command=command)
        try:
            return ctypes.CDLL(str(target))
        except OSError:  # damaged, by a full disk for instance
            build(source, target, command=command)
            return ctypes.CDLL(str(target))
    except OSError as error:
        raise PotentialError(
            f"{source.name} cannot be compiled into {target.parent} ({error}); make that folder writable, point "
            "XDG_CACHE_HOME elsewhere, or set `compiled: false`"
        ) from error


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "motherlode" / "native"


def _fingerprint(source: Path, command: str) -> str:
    digest = hashlib.sha256(source.read_bytes() + HEADER.read_bytes())
    asked = subprocess.run([command, "--version"], capture_output=True, check=False, timeout=LONGEST)  # noqa: S603 - the user's compiler
    for part in (asked.stdout, " ".join(FLAGS).encode(), _processor().encode()):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def _processor() -> str:
    """What the compiler's `-march=native` depends on."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.is_file() else []
    said = [
        line for line in lines if line.startswith(("vendor_id", "cpu family", "model\t", "flags", "Features"))
    ]
    return "\n".join([platform.machine(), platform.processor(), *dict.fromkeys(said)])


def build(source: Path, target: Path, *, command: str, flags: tuple[str, ...] = FLAGS) -> None:
    """Compile a C source into a shared library, moved into place whole: other processes may be at the same.

    Raises:
        PotentialError: the compiler fails or hangs.
        OSError: the target's folder cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        built = Path(folder) / target.name
        try:
            done = subprocess.run(  # noqa: S603 - the user's compiler on our source
                [command, *flags, str(source), "-o", str(built), "-lm"],
                capture_output=True,
                text=True,
                check=False,
                timeout=LONGEST,
            )
        except subprocess.TimeoutExpired as error:
            raise PotentialError(f"{command} took more than {LONGEST} s to compile {source.name}") from error
        if done.returncode:
            raise PotentialError(
                f"{command} cannot compile {source.name}: {done.stderr.strip()[-500:]}; name another compiler in "
                "the environment variable CC, or set `compiled: false`"
            )
        built.replace(target)

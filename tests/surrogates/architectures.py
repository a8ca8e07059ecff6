"""C sources compiled for every width of vectors that they have code for."""

import ctypes
import platform

import pytest

from surrogates import native

ARCHITECTURES = {"this processor's": "-march=native", "AVX2": "-march=x86-64-v3", "the least": None}


def library_for(architecture, source, folder):
    """The source as a library, by the compiler's name of an architecture (None: whatever it assumes)."""
    if architecture == "-march=x86-64-v3" and platform.machine() != "x86_64":
        pytest.skip("x86-64 only")
    flags = tuple(flag for flag in native.FLAGS if not flag.startswith("-march"))
    target = folder / f"{source.stem}.so"
    native.build(
        source, target, command=native.compiler(), flags=(*flags, *((architecture,) if architecture else ()))
    )
    return ctypes.CDLL(str(target))

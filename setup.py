"""The compiled core and its build switches; everything else is in pyproject.toml.

Switches, from the environment: FASTDAG_DEBUG=1 (bounds of lists and C++ containers checked, and the modules
`fastdag._debug` and `fastdag._starve`, see tests/debug/), FASTDAG_SANITIZE=address|thread (`address` with undefined
behaviour), FASTDAG_COVERAGE=1 (a debug build whose lines gcc counts), FASTDAG_ANNOTATE=1 (an HTML page beside the
generated C++) and FASTDAG_PROFILE=1 (symbols, frame pointers, every lock counted).
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup


def switch(name: str) -> bool:
    value = os.environ.get(name, "0")
    if value not in ("", "0", "1"):
        raise SystemExit(f"{name} must be 0 or 1, not {value!r}")
    return value == "1"


coverage = switch("FASTDAG_COVERAGE")
debug = switch("FASTDAG_DEBUG") or coverage
profile = switch("FASTDAG_PROFILE")
sanitize = os.environ.get("FASTDAG_SANITIZE", "")
if sanitize not in ("", "address", "thread"):
    raise SystemExit(f"FASTDAG_SANITIZE must be address or thread, not {sanitize!r}")

compile_args = ["-std=c++20", "-O1" if debug else "-O3", "-Wall", "-Wextra"]  # C++20: waiting on atomics
link_args = []
macros = []
if debug:
    macros += [("_GLIBCXX_ASSERTIONS", "1"), ("FASTDAG_DEBUG", "1")]
if profile:
    macros.append(("FASTDAG_PROFILE", "1"))
if coverage:  # threads would lose counts, and gcc infers some counts from others
    macros.append(("FASTDAG_COVERAGE", "1"))
    compile_args += ["--coverage", "-O0", "-fprofile-update=atomic"]
    link_args.append("--coverage")
if debug or profile or sanitize:
    compile_args += ["-g", "-fno-omit-frame-pointer"]
if sanitize:
    sanitizers = "-fsanitize=address,undefined" if sanitize == "address" else "-fsanitize=thread"
    compile_args.append(sanitizers)
    link_args.append(sanitizers)


headers = sorted(str(header) for folder in ("src/fastdag", "tests/debug") for header in Path(folder).glob("*.[ph]*"))


def extension(name: str, source: str, *more_arguments: str) -> Extension:
    return Extension(
        name,
        sources=[source],
        depends=headers,
        language="c++",
        define_macros=macros,
        extra_compile_args=[*compile_args, *more_arguments],
        extra_link_args=link_args,
    )


if debug:
    extensions = [
        extension("fastdag._core", "src/fastdag/_core.pyx", "-include", "tests/debug/memory.h"),
        extension(
            *("fastdag._debug", "tests/debug/_debug.pyx", "-DFASTDAG_SCHEDULE"),
            *("-include", "tests/debug/arena.h", "-Itests/debug", "-O2"),
        ),
        extension("fastdag._starve", "tests/debug/_starve.pyx"),
    ]
else:
    extensions = [extension("fastdag._core", "src/fastdag/_core.pyx")]

# One for each kind, so that builds may run beside each other.
kinds = "-debug" * debug, "-coverage" * coverage, "-profile" * profile, sanitize and f"-{sanitize}"
build_dir = "build/cython" + "".join(kinds)

setup(
    ext_modules=cythonize(
        extensions,
        include_path=["src", "tests/debug"],
        build_dir=build_dir,
        annotate=switch("FASTDAG_ANNOTATE"),
        emit_linenums=(debug or profile) and not coverage,  # coverage is told the lines of the C++, see tests/debug/
        compiler_directives={
            "language_level": 3,
            "freethreading_compatible": True,
            "binding": True,
            "boundscheck": debug,
            "wraparound": False,
            "initializedcheck": debug,
            "cdivision": True,
            "embedsignature": False,  # the docstrings carry the signatures, the stub their types
        },
    ),
    # Always compile: neither the switches nor another interpreter's headers show in a time stamp.
    options={"build_ext": {"force": True}},
)

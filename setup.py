"""Builds the extensions; everything else stands in pyproject.toml.

The C core (csrc/) is compiled once into a static archive, and each grove_dp/native/*.pyx becomes one
extension linked with it. Nothing is compiled twice: every object carries the compiler's own list of the
headers it read (-MMD), so touching one C file costs its object, the archive and the links. distutils keeps
no such list and would compile every file again.

    GROVE_DP_DEBUG=1          -O0, assertions on, Cython line tracing (objects live apart: switching is cheap)
    GROVE_DP_NO_EXTENSIONS=1  only the metadata, as `make dev` installs it; `make build` compiles in place
    CC, CFLAGS, LDFLAGS       as everywhere; Python's own build flags are not inherited

Instruction sets beyond the x86-64 baseline are chosen by the C code at run time: one wheel fits all.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


def switched_on(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


DEBUG = switched_on("GROVE_DP_DEBUG")
ROOT = Path(__file__).parent
CORE = ("base", "wire", "route", "meter", "plane")

MODE = ["-O0", "-g3", "-UNDEBUG"] if DEBUG else ["-O3", "-g1", "-DNDEBUG"]
COMMON = [
    "-std=c11",
    *MODE,
    "-fvisibility=hidden",
    "-fno-strict-overflow",
    "-fPIC",
    "-pthread",
]
COMMON += shlex.split(os.environ.get("CFLAGS", ""))
CORE_FLAGS = [*COMMON, "-D_GNU_SOURCE=", "-Wall", "-Wextra", "-Wconversion"]
SHELL_FLAGS = [
    *COMMON,
    "-Wno-unused-function",
    *(["-DCYTHON_TRACE=1", "-DCYTHON_TRACE_NOGIL=1"] if DEBUG else []),
]
LINK_FLAGS = ["-shared", "-pthread", *shlex.split(os.environ.get("LDFLAGS", "")), "-lm"]
DIRECTIVES: dict[str, Any] = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": DEBUG,
    "linetrace": DEBUG,
    "embedsignature": True,
}


class BuildNative(build_ext):
    """build_ext that compiles the core once and rebuilds only what changed."""

    def build_extensions(self) -> None:
        self._cc = compiler()
        self._out = Path(self.build_temp) / f"gdp-{self._fingerprint()}"
        self._out.mkdir(parents=True, exist_ok=True)
        self._include = [str(self._out), "csrc/include", *self.compiler.include_dirs]
        self._write_facts()
        self._archive = self._core()
        super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        from Cython.Build import cythonize  # metadata and an sdist do without it

        [translated] = cythonize(
            [Extension(ext.name, ext.sources, include_dirs=["csrc/include"])],
            build_dir=f"build/cython-{'debug' if DEBUG else 'release'}",
            include_path=["."],
            compiler_directives=DIRECTIVES,
            quiet=True,
        )
        inputs = [self._object(Path(translated.sources[0]), SHELL_FLAGS), *self._archive]
        linked = self._out / f"{ext.name}.so"  # here, not at its target: the other flavour has its own
        if self.force or stale(linked, inputs):
            print(f"  link {ext.name}", flush=True)
            self.spawn([*self._cc, "-o", str(linked), *map(str, inputs), *LINK_FLAGS])
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        self.copy_file(str(linked), str(target), preserve_mode=True)

    def _core(self) -> list[Path]:
        """The archive of the whole core, if there is a core."""
        sources = [path for part in CORE for path in sorted((ROOT / "csrc" / part).glob("*.c"))]
        if not sources:
            return []
        objects = [self._object(path.relative_to(ROOT), CORE_FLAGS) for path in sources]
        archive = self._out / "libgdp.a"
        members = archive.with_suffix(".members")
        listing = "\n".join(map(str, objects))
        if self.force or stale(archive, objects) or not members.exists() or members.read_text() != listing:
            archive.unlink(missing_ok=True)  # ar would keep the members of deleted sources
            self.spawn([os.environ.get("AR", "ar"), "rcs", str(archive), *map(str, objects)])
            members.write_text(listing)
        return [archive]

    def _object(self, source: Path, flags: list[str]) -> Path:
        """The object of one C file, compiled again only when it or a header it read is newer."""
        target = self._out / source.with_suffix(".o")
        record = target.with_suffix(".d")
        if (
            not self.force
            and target.exists()
            and record.exists()
            and not stale(target, prerequisites(record))
        ):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        print(f"  cc {source}", flush=True)
        includes = [f"-I{path}" for path in self._include]
        self.spawn(
            [*self._cc, *flags, *includes, "-MMD", "-MF", str(record), "-c", str(source), "-o", str(target)]
        )
        return target

    def _write_facts(self) -> None:
        """What `grove-dp version` tells about this build, as a header for native/build.pyx."""
        facts = {
            "GDP_BUILD_CYTHON": cython_version(),
            "GDP_BUILD_FLAGS": shlex.join(CORE_FLAGS),
            "GDP_BUILD_COMMIT": commit(),
        }
        lines = [f"#define {name} {json.dumps(value)}" for name, value in facts.items()]
        header = self._out / "gdp_build_facts.h"
        text = "\n".join([*lines, f"#define GDP_BUILD_DEBUG {int(DEBUG)}", ""])
        if not header.exists() or header.read_text() != text:  # an untouched header costs no rebuild
            header.write_text(text)

    def _fingerprint(self) -> str:
        """Names the object folder, so other flags, compilers or Pythons never meet old objects."""
        parts = [
            *self.compiler.compiler_so,
            *CORE_FLAGS,
            *SHELL_FLAGS,
            platform.python_version(),
            platform.machine(),
        ]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]


def compiler() -> list[str]:
    """$CC, or the compiler that built Python if it is here, or cc."""
    built_with = shlex.split(sysconfig.get_config_var("CC") or "cc")[:1]
    return shlex.split(os.environ.get("CC", "")) or (built_with if shutil.which(built_with[0]) else ["cc"])


def stale(target: Path, inputs: list[Path]) -> bool:
    """True when *target* is missing or older than an input, or an input has gone."""
    if not target.exists():
        return True
    made = target.stat().st_mtime_ns
    return any(not path.exists() or path.stat().st_mtime_ns > made for path in inputs)


def prerequisites(record: Path) -> list[Path]:
    """The files named in a make rule written by `cc -MMD`."""
    text = record.read_text().replace("\\\n", " ")
    return [Path(word) for word in shlex.split(text.partition(":")[2])]


def commit() -> str:
    """The commit being built, or "" outside a checkout."""
    if not (ROOT / ".git").exists():
        return ""
    try:
        told = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return told.stdout.strip() if told.returncode == 0 else ""


def cython_version() -> str:
    import Cython  # metadata and an sdist do without it

    return str(Cython.__version__)


def extensions() -> list[Extension]:
    if switched_on("GROVE_DP_NO_EXTENSIONS"):
        return []
    sources = sorted(path.relative_to(ROOT) for path in (ROOT / "grove_dp" / "native").glob("*.pyx"))
    return [Extension(".".join(path.with_suffix("").parts), [str(path)]) for path in sources]


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildNative})

"""Builds stand-ins for the CUDA libraries that torch's CUDA build wants, so that it imports without them.

usage: make_cuda_stubs.py TORCH_LIB_DIR      needs gcc, nm, readelf

Torch asks the loader for libcudart, libcublas and the like by name, and for symbols by name and version. Each
stand-in defines exactly the symbols that torch leaves undefined; every function answers "no device" (100),
so that torch finds "no GPU" instead of failing to load.
"""

import collections
import re
import subprocess
import sys
import tempfile
from pathlib import Path

NO_DEVICE = 100
# Libraries whose symbols carry no version: recognised by the symbol's first letters.
BY_PREFIX = {
    "cusparseLt": "libcusparseLt.so.0",
    "cuFile": "libcufile.so.0",
    "nccl": "libnccl.so.2",
    "curand": "libcurand.so.10",
    "cusolver": "libcusolver.so.12",
    "nvshmem": "libnvshmem_host.so.3",
}
# Functions that return text rather than a code.
TEXT = re.compile(
    r"(cuda|nccl|cudnn|nvrtc|cusparse)GetError(String|Name)|ncclGetLastError|cublas(Lt)?GetStatus(String|Name)"
)
# library -> symbol version ("" for none) -> symbols
Wanted = dict[str, dict[str, set[str]]]


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _owner(name: str, version: str) -> str | None:
    """The library that should define *name*, or None when it is none of CUDA's."""
    if version == "NVSHMEM":
        return "libnvshmem_host.so.3"
    if re.match(r"lib(cu|nv|nccl).*\.so", version):
        return version
    if version:
        return None
    return next((library for prefix, library in BY_PREFIX.items() if name.startswith(prefix)), None)


def survey(folder: Path) -> tuple[set[str], Wanted]:
    """The CUDA libraries needed by what lies in *folder*, and the symbols wanted of them."""
    needed: set[str] = set()
    wanted: Wanted = collections.defaultdict(lambda: collections.defaultdict(set))
    for path in sorted(folder.glob("*.so*")):
        if path.name == "libcaffe2_nvrtc.so":
            continue
        names = re.findall(r"\(NEEDED\).*\[(.*?)\]", _output("readelf", "-d", str(path)))
        needed.update(name for name in names if re.match(r"lib(cu|nv|nccl)", name))
        for line in _output("nm", "-D", "--undefined-only", str(path)).splitlines():
            name, _, version = line.split()[-1].partition("@")
            version = version.lstrip("@")
            if owner := _owner(name, version):
                wanted[owner][version].add(name)
    return needed, wanted


def _source(symbols: set[str]) -> str:
    lines = ['static char no[] = "CUDA is not installed (stub)";', "static void *handle[64];"]
    for name in sorted(symbols):
        if TEXT.fullmatch(name):
            lines.append(f"char *{name}(void) {{ return no; }}")
        elif name == "__cudaRegisterFatBinary":
            lines.append(f"void **{name}(void *fat) {{ return handle; }}")
        else:
            lines.append(f"long {name}(void) {{ return {NO_DEVICE}; }}")
    return "\n".join(lines)


def build(library: Path, versions: dict[str, set[str]]) -> None:
    """Compile one stand-in with its symbol versions."""
    with tempfile.TemporaryDirectory() as folder:
        source, script = Path(folder, "stub.c"), Path(folder, "versions.map")
        source.write_text(_source(set().union(*versions.values())))
        script.write_text(
            "".join(
                f"{version} {{ global: {' '.join(f'{name};' for name in sorted(names))} }};\n"
                for version, names in versions.items()
                if version
            )
        )
        command = ["gcc", "-shared", "-fPIC", "-O1", "-w", "-fno-builtin"]
        command += ["-o", str(library), f"-Wl,-soname,{library.name}", str(source)]
        if script.stat().st_size:
            command.append(f"-Wl,--version-script,{script}")
        subprocess.run(command, check=True)


def main() -> None:
    folder = Path(sys.argv[1])
    needed, wanted = survey(folder)
    for name in sorted(needed):
        if not (folder / name).exists():
            build(folder / name, wanted[name])
            print(f"  {name}: {sum(map(len, wanted[name].values()))} symbols")


if __name__ == "__main__":
    main()

"""The wheel holds everything that the package reads when it runs."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILT = {".pyc", ".so", ".pyx"}  # compiled by whoever builds, or what that is compiled from


def test_every_file_of_the_package_is_in_the_wheel(tmp_path: Path) -> None:
    # All in a folder of its own: what an earlier build left in build/lib would be packed too.
    steps = f"-q egg_info -e {tmp_path} build -b {tmp_path}/build bdist_wheel -d {tmp_path}"
    subprocess.run(
        [sys.executable, "setup.py", *steps.split()],
        cwd=ROOT,
        env={**os.environ, "GROVE_DP_NO_EXTENSIONS": "1"},
        check=True,
        timeout=50,
    )
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as held:
        packed = set(held.namelist())
    wanted = {
        str(path.relative_to(root))
        for root, package in ((ROOT, "grove_dp"), (ROOT / "operator", "grove_operator"))
        for path in (root / package).rglob("*")
        if path.is_file() and path.suffix not in BUILT
    }
    assert len(wanted) > 80
    assert wanted - packed == set()

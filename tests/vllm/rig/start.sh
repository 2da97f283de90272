#!/bin/bash
# usage: start.sh RIG OUT PORT [vllm flags]    starts one worker, waits until healthy; pid in OUT/pid, log in OUT/log
set -u
rig=$1 out=$2 port=$3
shift 3
mkdir -p "$out"
export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 TOKENIZERS_PARALLELISM=false
export TORCHDYNAMO_DISABLE=1 # the set-up drops the headers that compiling a sampler at the first logprobs needs
export CUDA_VISIBLE_DEVICES="" VLLM_CPU_KVCACHE_SPACE=1
export VLLM_CPU_OMP_THREADS_BIND=${CORE:-nobind} # 0 or 1 pins the worker to that core

setsid "$rig/venv/bin/vllm" serve "$rig/model" --served-model-name tiny-llama --host 127.0.0.1 --port "$port" \
  --max-model-len 512 --max-num-seqs 16 --enforce-eager --block-size 32 --enable-prefix-caching \
  --num-gpu-blocks-override 64 --enable-prompt-tokens-details "$@" >> "$out/log" 2>&1 < /dev/null &
pid=$!
echo $pid > "$out/pid"
for _ in $(seq 1 720); do
  [ "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/health")" = 200 ] && exit 0
  kill -0 $pid 2> /dev/null || { echo "start.sh: vLLM ended before it was ready" >&2; tail -20 "$out/log" >&2; exit 1; }
  sleep 0.25
done
echo "start.sh: vLLM was not ready after 180 s" >&2
exit 1

"""How long one engine step takes: a roofline with named profiles.

A step reads all weights once and the KV cache of every decoding sequence (memory side), and multiplies
every new token with every weight (compute side); the slower side counts, and neither can beat the time
that the CPU needs to prepare the step:

    t = max(cpu, (W + C_d * kv) / (BW * eta_m), 2 N (P + S) / (F * eta_f) + 4 L d A_p / (F * eta_a)) + fixed

with S decoding sequences holding C_d tokens of context, and P prefill tokens whose attention work is
A_p = sum of n * (context + n / 2) over the chunks. Calibration: Llama-3.1-8B on one H100 was measured at
6.48 ms between tokens at batch 1 and 10.9 ms at batch 16 under mixed load; the formula gives 6.9 ms and,
for 20,000 prompt tokens per second, the 31-37 k tok/s bound. Per-request models (constant time per token,
as other simulators use) were dropped: they cannot show what batching does to latency.
"""

import msgspec

__all__ = ["PROFILES", "Profile", "StepWork", "profile_named"]


class StepWork(msgspec.Struct):
    """What one step computes."""

    decode_seqs: int = 0
    decode_context: int = 0
    prefill_tokens: int = 0
    prefill_attention: float = 0.0

    def add_decode(self, context: int) -> None:
        self.decode_seqs += 1
        self.decode_context += context

    def add_prefill(self, tokens: int, context: int) -> None:
        self.prefill_tokens += tokens
        self.prefill_attention += tokens * (context + tokens / 2)


class Profile(msgspec.Struct, frozen=True):
    """A model on a machine. Sizes in bytes, rates per second, times in seconds."""

    name: str
    params: float
    weight_bytes: float
    kv_bytes_per_token: float
    layers: int
    hidden: int
    bandwidth: float
    flops: float
    memory_efficiency: float
    compute_efficiency: float
    attention_efficiency: float
    cpu_s: float
    fixed_s: float
    num_gpu_blocks: int
    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    served_model: str

    def step_s(self, work: StepWork) -> float:
        """Seconds that a step with this work takes."""
        moved = self.weight_bytes + work.decode_context * self.kv_bytes_per_token
        memory_s = moved / (self.bandwidth * self.memory_efficiency)
        multiply = 2.0 * self.params * (work.prefill_tokens + work.decode_seqs)
        attend = 4.0 * self.layers * self.hidden * work.prefill_attention
        compute_s = multiply / (self.flops * self.compute_efficiency) + attend / (
            self.flops * self.attention_efficiency
        )
        return max(self.cpu_s, memory_s, compute_s) + self.fixed_s


LLAMA_8B_H100 = Profile(
    name="llama-8b-h100",
    params=8.0e9,
    weight_bytes=16.1e9,
    kv_bytes_per_token=131_072,
    layers=32,
    hidden=4096,
    bandwidth=3.35e12,
    flops=990e12,
    memory_efficiency=0.77,
    compute_efficiency=0.55,
    attention_efficiency=0.35,
    cpu_s=0.002,
    fixed_s=0.0005,
    num_gpu_blocks=26_000,
    max_num_seqs=1024,
    max_num_batched_tokens=8192,
    max_model_len=131_072,
    served_model="llama-8b",
)

LLAMA_70B_TP8_H100 = Profile(
    name="llama-70b-tp8-h100",
    params=70.6e9,
    weight_bytes=141e9,
    kv_bytes_per_token=327_680,
    layers=80,
    hidden=8192,
    bandwidth=8 * 3.35e12,
    flops=8 * 990e12,
    memory_efficiency=0.6,
    compute_efficiency=0.45,
    attention_efficiency=0.3,
    cpu_s=0.003,
    fixed_s=0.003,
    num_gpu_blocks=80_000,
    max_num_seqs=1024,
    max_num_batched_tokens=8192,
    max_model_len=131_072,
    served_model="llama-70b",
)

# Two layers with random weights on two CPU cores: 1.9 ms between tokens for one stream, 6.7 ms for sixteen.
TINY_CPU = Profile(
    name="tiny-cpu",
    params=2.2e6,
    weight_bytes=4.4e6,
    kv_bytes_per_token=1024,
    layers=2,
    hidden=256,
    bandwidth=20e9,
    flops=60e9,
    memory_efficiency=0.5,
    compute_efficiency=0.25,
    attention_efficiency=0.1,
    cpu_s=0.0015,
    fixed_s=0.0004,
    num_gpu_blocks=4096,
    max_num_seqs=256,
    max_num_batched_tokens=2048,
    max_model_len=32_768,
    served_model="tiny-llama",
)

PROFILES: dict[str, Profile] = {p.name: p for p in (LLAMA_8B_H100, LLAMA_70B_TP8_H100, TINY_CPU)}


def profile_named(name: str) -> Profile:
    """The profile of that name; ValueError names the known ones."""
    try:
        return PROFILES[name]
    except KeyError:
        raise ValueError(f"no profile {name!r}; choose one of {', '.join(sorted(PROFILES))}") from None

"""How a simulated worker is started; names and defaults follow `vllm serve`."""

import msgspec

from grove_dp.sim.digests import Adapter
from grove_dp.sim.profiles import Profile, profile_named
from grove_dp.sim.publisher import EventSettings
from grove_dp.sim.tokenizer import DEFAULT_MODEL

__all__ = ["WorkerSettings"]

_RELEASE = "0.32.0"


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker is started; names follow `vllm serve`. None keeps the profile's value."""

    profile: str = "llama-8b-h100"
    speed: float = 1.0
    seed: int = 0
    served_model_name: tuple[str, ...] = ()
    tokenizer: str = str(DEFAULT_MODEL)
    block_size: int = 16
    num_gpu_blocks: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    max_model_len: int | None = None
    long_prefill_token_threshold: int = 0
    prefix_caching: bool = True
    max_num_queued_reqs: int | None = None
    answer_tokens: int = 256  # length of an answer that is free to end
    shutdown_timeout_s: float = 0.0
    keep_alive_s: float = 5.0
    sse_keep_alive_s: float = 0.0
    api_key: str | None = None
    enable_prompt_tokens_details: bool = False
    enable_per_request_metrics: bool = False
    enable_request_id_headers: bool = False
    enable_auto_tool_choice: bool = False
    enable_tokenizer_info_endpoint: bool = False
    server_dev_mode: bool = False  # VLLM_SERVER_DEV_MODE: /reset_prefix_cache
    data_parallel_size: int = 1
    lora_modules: tuple[tuple[str, str], ...] = ()  # name and path of each adapter
    kv_events: EventSettings | None = None
    prefix_caching_hash_algo: str = "sha256"
    hash_seed: str | None = None  # PYTHONHASHSEED; None: vLLM's own choice

    @property
    def of_profile(self) -> Profile:
        return profile_named(self.profile)

    @property
    def release(self) -> str:
        """What the worker says that it is: the release whose KV events it was told to speak."""
        form = "" if self.kv_events is None else self.kv_events.format
        return form if form[:1].isdigit() else _RELEASE

    @property
    def models(self) -> tuple[str, ...]:
        return self.served_model_name or (self.of_profile.served_model,)

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        return tuple(Adapter(n, *module) for n, module in enumerate(self.lora_modules, 1))

    @property
    def model_len(self) -> int:
        return self.max_model_len or self.of_profile.max_model_len

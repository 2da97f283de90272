"""Makes a LoRA adapter of random weights for the model of make_tiny_model.py.

usage: make_tiny_lora.py FOLDER
"""

import json
import sys
from pathlib import Path

import torch
from make_tiny_model import HIDDEN, LAYERS
from safetensors.torch import save_file

RANK, SCALE = 8, 0.02
WIDTHS = {"q_proj": HIDDEN, "v_proj": HIDDEN // 2}
CONFIG = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "r": RANK,
    "lora_alpha": 2 * RANK,
    "lora_dropout": 0.0,
    "target_modules": list(WIDTHS),
    "bias": "none",
    "base_model_name_or_path": "tiny-llama",
}


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    weights = {}
    for layer in range(LAYERS):
        for name, width in WIDTHS.items():
            path = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            weights[f"{path}.lora_A.weight"] = torch.randn(RANK, HIDDEN, dtype=torch.bfloat16) * SCALE
            weights[f"{path}.lora_B.weight"] = torch.randn(width, RANK, dtype=torch.bfloat16) * SCALE
    save_file(weights, str(folder / "adapter_model.safetensors"))
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG))


if __name__ == "__main__":
    main()

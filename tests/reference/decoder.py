"""Writes tests/reference/decoder/: tiny random checkpoints and what transformers computes with them.

    pip install -r tests/reference/requirements.txt
    python tests/reference/decoder.py            # writes decoder/
    python tests/reference/decoder.py --check    # makes it again and compares

Each case is a checkpoint folder as on the hub, less the tokenizer, and expected.json: the residual stream after each
decoder layer, before the final norm, at some positions; the logits at all positions, of long sequences at some;
log-softmax of given targets at the last positions. All in float32 with eager attention. config.json is written by hand, in the older form of rope,
except where a case says that transformers writes it; the model is always read back from the folder.
"""

import json
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoConfig, AutoModelForCausalLM

HERE = Path(__file__).resolve().parent / "decoder"
VOCABULARY = 131
LAYERS = 3
LENGTHS = [1, 2, 7, 40, 300, 2048]

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 32,
    "intermediate_size": 44,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_hidden_layers": LAYERS,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "torch_dtype": "float32",
}
QWEN2 = {
    **{k: v for k, v in LLAMA.items() if k not in ("attention_bias", "mlp_bias", "rope_scaling")},
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "use_sliding_window": False,
    "sliding_window": 4,
    "max_window_layers": 1,
}
# Wavelengths start at 2 pi: one is below 32 / 4 (kept), some between (ramp), the others above 32 / 1 (divided).
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}

MULTI_HEAD = {"num_attention_heads": 4, "num_key_value_heads": 4}

# Case: config.json, standard deviation of the embedding, how it is written.
CASES = {
    "llama-tied-gqa": (LLAMA, 0.3, ""),
    "llama-untied-llama3": (
        {
            **LLAMA,
            "num_attention_heads": 4,
            "head_dim": 16,
            "rope_theta": 500.0,
            "rope_scaling": LLAMA3,
            "tie_word_embeddings": False,
        },
        0.3,
        "",
    ),
    # A small embedding: the first norm feels even this epsilon.
    "llama-mha": ({**LLAMA, **MULTI_HEAD, "tie_word_embeddings": False}, 0.02, ""),
    "llama-mha-large-eps": ({**LLAMA, **MULTI_HEAD, "rms_norm_eps": 0.25}, 0.3, ""),
    "llama-rope-parameters": (
        {**LLAMA, "num_attention_heads": 4, "num_key_value_heads": 1, "rope_theta": 300.0, "rope_scaling": LLAMA3},
        0.3,
        "by transformers",
    ),
    "qwen2-tied": (
        {**QWEN2, "hidden_size": 56, "intermediate_size": 24, "num_attention_heads": 7, "num_key_value_heads": 1},
        0.25,
        "",
    ),
    "qwen2-untied-sharded": ({**QWEN2, "num_attention_heads": 4, "tie_word_embeddings": False}, 0.3, "in shards"),
}


def tensors(config: dict, embedding: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    width, inner, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    head_dim = config.get("head_dim", width // heads)
    wide, narrow = heads * head_dim, config["num_key_value_heads"] * head_dim

    def normal(deviation: float, *shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * deviation).astype(np.float32)

    def norm() -> np.ndarray:
        return rng.uniform(0.5, 1.5, width).astype(np.float32)

    def matrix(rows: int, columns: int, gain: float = 1.0) -> np.ndarray:
        return normal(gain / columns**0.5, rows, columns)

    vocabulary = config["vocab_size"]
    out = {"model.embed_tokens.weight": normal(embedding, vocabulary, width)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        # Queries large enough that attention is far from uniform.
        for name, rows, gain in [("q", wide, 2.0), ("k", narrow, 1.5), ("v", narrow, 1.0)]:
            out[f"{prefix}self_attn.{name}_proj.weight"] = matrix(rows, width, gain)
            if config["model_type"] == "qwen2":
                out[f"{prefix}self_attn.{name}_proj.bias"] = normal(0.5, rows)
        out[f"{prefix}self_attn.o_proj.weight"] = matrix(width, wide)
        out[f"{prefix}mlp.gate_proj.weight"] = matrix(inner, width)
        out[f"{prefix}mlp.up_proj.weight"] = matrix(inner, width)
        out[f"{prefix}mlp.down_proj.weight"] = matrix(width, inner)
        out[f"{prefix}input_layernorm.weight"] = norm()
        out[f"{prefix}post_attention_layernorm.weight"] = norm()
    out["model.norm.weight"] = norm()
    if not config["tie_word_embeddings"]:
        out["lm_head.weight"] = matrix(vocabulary, width, 2.0)
    return out


def write_checkpoint(folder: Path, config: dict, weights: dict[str, np.ndarray], how: str) -> None:
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    if how == "by transformers":
        AutoConfig.from_pretrained(folder).save_pretrained(folder)
    if how != "in shards":
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(weights)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: weights[name] for name in part}, folder / file, metadata={"format": "pt"})
    index = {
        "metadata": {"total_size": sum(w.nbytes for w in weights.values())},
        "weight_map": {name: file for file, part in parts.items() for name in part},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def digits(values: torch.Tensor):
    """Nested lists with 7 significant digits."""
    if values.dim():
        return [digits(v) for v in values]
    return float(f"{values.item():.7g}")


@torch.no_grad()
def expected(model, ids: list[int], targets: list[int]) -> dict:
    after = []

    def keep(_module, _inputs, out):
        hidden = out[0] if isinstance(out, tuple) else out
        after.append(hidden.reshape(len(ids), -1))

    hooks = [layer.register_forward_hook(keep) for layer in model.model.layers]
    logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    for hook in hooks:
        hook.remove()
    assert len(after) == LAYERS and logits.dtype == torch.float32
    # The residual stream lacks only the final norm and the head.
    assert torch.allclose(model.lm_head(model.model.norm(after[-1])), logits, atol=1e-5)
    positions = sorted({0, len(ids) // 2, len(ids) - 1})
    logit_positions = list(range(len(ids))) if len(ids) <= 40 else positions
    rows = torch.log_softmax(logits[-len(targets) :].double(), dim=-1)
    return {
        "ids": ids,
        "positions": positions,
        "layers": [digits(hidden[positions]) for hidden in after],
        "logit_positions": logit_positions,
        "logits": digits(logits[logit_positions]),
        "targets": targets,
        "log_softmax": digits(rows[torch.arange(len(targets)), torch.tensor(targets)]),
    }


def make(root: Path) -> None:
    for seed, (case, (config, embedding, how)) in enumerate(CASES.items()):
        folder = root / case
        folder.mkdir(parents=True)
        rng = np.random.default_rng(1000 + seed)
        weights = tensors(config, embedding, rng)
        write_checkpoint(folder, config, weights, how)

        model, info = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
        model.eval()
        assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
        assert model.config._attn_implementation == "eager"
        tied = model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
        assert tied == config["tie_word_embeddings"], case

        sequences = []
        for length in LENGTHS:
            ids = rng.integers(0, VOCABULARY, length).tolist()
            # The first and the last id of the vocabulary, and a repetition.
            if length >= 7:
                ids[1], ids[3], ids[4] = VOCABULARY - 1, 0, ids[2]
            targets = rng.integers(0, VOCABULARY, min(length, 5)).tolist()
            sequences.append(expected(model, ids, targets))
        spread = np.std(sequences[-1]["logits"])
        frequencies = model.model.rotary_emb.inv_freq.tolist()
        print(f"{case}: logits vary by {spread:.2f}, inverse frequencies {[round(f, 5) for f in frequencies]}")
        out = {
            "transformers": version("transformers"),
            "torch": version("torch").split("+")[0],
            "sequences": sequences,
        }
        (folder / "expected.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


def close(a, b) -> bool:
    """Whether two JSON values are equal, numbers to 1e-4 of the larger (or of 1): other processors round otherwise."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(close, a, b))
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return abs(a - b) <= 1e-4 * max(1.0, abs(a), abs(b))
    return a == b


def same_files(made: Path, kept: Path, without: frozenset[str] | set[str] = frozenset()) -> bool:
    """Compares all files of two folders but those named so; JSON by `close`, others byte by byte."""

    def names(root: Path) -> set[str]:
        return {str(f.relative_to(root)) for f in root.rglob("*") if f.is_file() and f.name not in without}

    differ = sorted(names(made) ^ names(kept))
    for name in sorted(names(made) & names(kept)):
        a, b = (made / name).read_bytes(), (kept / name).read_bytes()
        if a != b and not (name.endswith(".json") and close(json.loads(a), json.loads(b))):
            differ.append(name)
    print(f"{kept.name}: {'DIFFERS: ' + ', '.join(differ) if differ else 'equal'}")
    return not differ


if __name__ == "__main__":
    if "--check" in sys.argv:
        with tempfile.TemporaryDirectory() as temporary:
            make(Path(temporary))
            sys.exit(not same_files(Path(temporary), HERE))
    shutil.rmtree(HERE, ignore_errors=True)
    make(HERE)

"""Scoring speed beside lm-evaluation-harness with transformers, in one run on one machine: sequences per second, no codec.

    python benches/peers.py --tokenizer tokenizer.json --data-dir DIR [--dataset arc_easy] [--limit 50]

A checkpoint of Qwen2.5-0.5B's shape with random weights is made in a temporary folder; speed does not depend on their
values. Both programs run in f32 on all cores and are timed on the scoring alone: splitbench by the difference of two runs
(with and without most of the rows), the harness around its `loglikelihood`, at the best of several batch sizes.
"""

import argparse
import json
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "reference"))
SHAPE = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_act": "silu",
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "num_hidden_layers": 24,
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "float16",
}
BATCH_SIZES = [1, 4, 8, 16, 32]


def write_model(folder: pathlib.Path, tokenizer: pathlib.Path) -> int:
    import numpy as np
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    width, inner, narrow = SHAPE["hidden_size"], SHAPE["intermediate_size"], 128
    matrix = lambda *shape: (rng.standard_normal(shape, dtype=np.float32) * 0.02).astype(np.float16)
    tensors = {"model.embed_tokens.weight": matrix(SHAPE["vocab_size"], width), "model.norm.weight": np.ones(width, np.float16)}
    for i in range(SHAPE["num_hidden_layers"]):
        at = f"model.layers.{i}."
        for name, rows, columns in [
            ("self_attn.q_proj", width, width),
            ("self_attn.k_proj", narrow, width),
            ("self_attn.v_proj", narrow, width),
            ("self_attn.o_proj", width, width),
            ("mlp.gate_proj", inner, width),
            ("mlp.up_proj", inner, width),
            ("mlp.down_proj", width, inner),
        ]:
            tensors[f"{at}{name}.weight"] = matrix(rows, columns)
            if name[-6] in "qkv" and "attn" in name:
                tensors[f"{at}{name}.bias"] = matrix(rows)
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{at}{name}.weight"] = np.ones(width, np.float16)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(SHAPE))
    shutil.copy(tokenizer, folder / "tokenizer.json")
    return sum(t.size for t in tensors.values())


def ours(binary: str, folder: pathlib.Path, args: argparse.Namespace, limit: int) -> float:
    command = [binary, "score", "--model", str(folder), "--dataset", args.dataset, "--data-dir", str(args.data_dir)]
    start = time.perf_counter()
    subprocess.run([*command, "--limit", str(limit)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--data-dir", type=pathlib.Path, required=True)
    parser.add_argument("--dataset", default="arc_easy")
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--binary", default=str(ROOT / "target" / "release" / "splitbench"))
    args = parser.parse_args()
    try:
        import torch
        from harness import make_task
        from lm_eval.models.huggingface import HFLM
        from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
    except ImportError as missing:
        print(f"skipped: {missing}; pip install -r tests/reference/requirements.txt")
        return

    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        weights = 4 * write_model(folder, args.tokenizer)
        text = (args.data_dir / args.dataset / "eval.jsonl").read_text(encoding="utf-8").split("\n")
        task = make_task(args.dataset, [json.loads(line) for line in text[: args.limit] if line])
        requests = [task.construct_requests(doc, task.fewshot_context(doc, 0)) for doc in task.validation_docs()]
        few = max(1, args.limit // 10)
        timed = sum(map(len, requests[few:]))

        ours(args.binary, folder, args, few)
        seconds = min(ours(args.binary, folder, args, args.limit) - ours(args.binary, folder, args, few) for _ in range(2))
        splitbench = timed / seconds
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024

        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"), eos_token="<|endoftext|>", pad_token="<|endoftext|>"
        )
        flat = [request for question in requests[few:] for request in question]
        peer = {}
        for size in BATCH_SIZES:
            harness = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=size, device="cpu")
            harness.loglikelihood(flat[:size], disable_tqdm=True)
            start = time.perf_counter()
            harness.loglikelihood(flat, disable_tqdm=True)
            peer[size] = len(flat) / (time.perf_counter() - start)
        best = max(peer, key=peer.get)

    print(f"{args.dataset}, {timed} sequences, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print("harness, sequences/s by batch size: " + ", ".join(f"{size}: {speed:.2f}" for size, speed in peer.items()))
    print(f"splitbench {splitbench:.2f} sequences/s, harness {peer[best]:.2f}: ratio {splitbench / peer[best]:.2f}")
    print(f"splitbench peak memory {peak / 1e9:.2f} GB, f32 weights {weights / 1e9:.2f} GB")


if __name__ == "__main__":
    main()

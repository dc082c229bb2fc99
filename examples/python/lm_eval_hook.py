"""lm-evaluation-harness with a codec as a hook, beside `splitbench run` on the same rows: the same answers twice.

    python examples/python/lm_eval_hook.py                                        # the embedded model, our own rows
    python examples/python/lm_eval_hook.py --model model.gguf --set piqa --rows piqa/eval.jsonl --limit 40 --codec topk

Needs the package splitbench with its command, torch, transformers and lm_eval (and gguf for .gguf files); without them it says so and
ends well. Ends with 1 where an accuracy differs, or a log-likelihood by more than --tolerance; a codec that rounds, as int8, needs 1e-2.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
try:
    import datasets
    import lm_eval
    import torch
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks._yaml_loader import load_yaml
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(0)
from splitbench.__main__ import find_command
from splitbench.torch import CutHook

ROOT = Path(__file__).resolve().parents[2]
TASKS = {"piqa": "piqa/piqa.yaml", "arc_easy": "arc/arc_easy.yaml", "openbookqa": "openbookqa/openbookqa.yaml"}


def load(path):
    """Model in f32 and tokenizer of a folder or of a GGUF file."""
    kinds = {"dtype": torch.float32, "attn_implementation": "eager"}
    if path.suffix != ".gguf":
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path / "tokenizer.json"))
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(0)
        return AutoModelForCausalLM.from_pretrained(path, **kinds).eval(), tokenizer
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    if "smollm" in path.name.lower():
        # The published tokenizer.json splits digits; what transformers 5.23 makes of a GGUF file does not.
        parts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
    return AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, **kinds).eval(), tokenizer


def make_task(name, rows):
    """The harness's own task, with rows from a file in place of those of the hub."""
    config = load_yaml(Path(lm_eval.__file__).parent / "tasks" / TASKS[name])
    config |= {"task": name, "dataset_path": None, "dataset_name": None, "validation_split": "validation"}
    data = datasets.DatasetDict({s: datasets.Dataset.from_list(rows) for s in ("train", "validation", "test")})
    config["custom_dataset"] = lambda **_: data
    config.pop("tag", None)
    return ConfigurableTask(config=config)


def harness_side(model, tokenizer, name, rows):
    """Accuracy of the harness, and the log-likelihoods of each question's choices."""
    harness = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=1, device="cpu")
    task = make_task(name, rows)
    right, logliks = 0.0, []
    for doc in task.validation_docs():
        requests = task.construct_requests(doc, task.fewshot_context(doc, 0))
        results = harness.loglikelihood(requests, disable_tqdm=True)
        right += task.process_results(doc, results)["acc"]
        logliks.append([value for value, _ in results])
    return right / len(logliks), logliks


def splitbench_side(arguments, dataset, count):
    """The same of `splitbench run`."""
    with tempfile.TemporaryDirectory() as place:
        experiment = Path(place) / "hook.toml"
        experiment.write_text(
            f'analysis = "A hook and splitbench on the same rows."\nmodels = ["pocket"]\ndatasets = ["{dataset}"]\n'
            f"split_layers = [{arguments.layer}]\ncodecs = [{json.dumps(arguments.codec)}]\nratios = [{arguments.ratio}]\n"
        )
        line = [find_command(), "run", experiment, "--limit", str(count), "--out", place, "--run", "hook"]
        if arguments.model:
            line += ["--model", arguments.model]
        if arguments.rows:
            # DATA/<set>/eval.jsonl.
            line += ["--data-dir", arguments.rows.resolve().parents[1]]
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        lines = (path.read_text().splitlines() for path in Path(place).glob("results/hook/hook/samples/*.jsonl"))
        samples = [json.loads(text) for file in lines for text in file]
    samples = sorted((s for s in samples if s["codec"] != "baseline"), key=lambda s: s["index"])
    return sum(s["pred"] == s["gold"] for s in samples) / len(samples), [s["loglik"] for s in samples]


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a folder or a .gguf file; the embedded model if not given")
    parser.add_argument("--set", choices=TASKS, default="piqa")
    parser.add_argument("--rows", type=Path, help="<set>/eval.jsonl; our own rows if not given")
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--layer", type=int, default=1, help="cut after this layer, from 1")
    parser.add_argument("--codec", default="topk")
    parser.add_argument("--ratio", type=float, default=8.0)
    parser.add_argument("--tolerance", type=float, default=2e-3, help="largest difference of a log-likelihood, nats")
    arguments = parser.parse_args()
    try:
        find_command()
    except FileNotFoundError as error:
        print(f"skipped: {error}")
        return
    file = arguments.rows or ROOT / "datasets/mini" / arguments.set / "eval.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[: arguments.limit] if line]
    model, tokenizer = load(arguments.model or ROOT / "models/pocket")
    layer = model.model.layers[arguments.layer - 1]
    with CutHook(layer, arguments.codec, ratio=arguments.ratio) as hook:
        accuracy, logliks = harness_side(model, tokenizer, arguments.set, rows)
    dataset = arguments.set if arguments.rows else f"{arguments.set}-mini"
    our_accuracy, our_logliks = splitbench_side(arguments, dataset, len(rows))
    differences = [abs(a - b) for left, right in zip(logliks, our_logliks, strict=True) for a, b in zip(left, right, strict=True)]
    print(f"{arguments.codec}, {len(rows)} questions of {dataset}, {hook.bytes_raw / hook.bytes_wire:.2f} times fewer bytes than f16")
    print(f"accuracy         harness {accuracy:.4f}   splitbench {our_accuracy:.4f}")
    print(f"log-likelihoods  largest difference {max(differences):.1e}, of {len(differences)}")
    if accuracy != our_accuracy or max(differences) > arguments.tolerance:
        sys.exit("the two differ")


if __name__ == "__main__":
    main()

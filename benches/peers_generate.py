"""Generation by the unsplit model and through a server beside transformers' `generate`, in one run on one machine.

    python benches/peers_generate.py --model SmolLM2-135M-Instruct.Q4_1.gguf [--prompts 128,512] [--generate 64] [--rounds 3]

All in f32 (a GGUF file's weights are taken out of their blocks by both), greedy, the same token ids, `--threads` threads (ours takes as
many by RAYON_NUM_THREADS). In turns: `splitbench net-bench`, which times the unsplit model and noop through a server on loopback, after a
generation that is not counted; then transformers, its own first one not counted. Per prompt length: time to the first token, ms, and
tokens/s after it, the best of all rounds and their median, and ours over the peer's.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

from peers import ROOT

SPEC = """
analysis = "unsplit, loopback and a peer"
[live]
split_layer = {layer}
links = []
prompts = [{prompts}]
generate = {generate}
chunk = 512
warm_up = 1
repeats = 1
[[live.codecs]]
prompt = "noop"
step = "noop"
"""


class Transformers:
    """Its own `generate`, with the time of the first token taken by a streamer."""

    def __init__(self, path, threads):
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(threads)
        self.torch = torch
        kind = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
        folder = path.parent if path.suffix == ".gguf" else path
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **kind).eval()

    def generate(self, ids, tokens):
        """New ids; ms to the first and tokens/s after it."""
        times = []

        class Clock:
            def put(self, _):
                times.append(time.perf_counter())

            def end(self):
                pass

        prompt = self.torch.tensor([ids])
        start = time.perf_counter()
        with self.torch.inference_mode():
            out = self.model.generate(prompt, attention_mask=self.torch.ones_like(prompt), max_new_tokens=tokens, min_new_tokens=tokens,
                                      do_sample=False, streamer=Clock())
        # The first call of the streamer brings the prompt.
        first, last = times[1], times[-1]
        return out[0, len(ids):].tolist(), (first - start) * 1e3, (tokens - 1) / (last - first)


def ours(args, folder, nth):
    """Rows of unsplit and loopback by prompt length."""
    spec = folder / "spec.toml"
    prompts = ", ".join(map(str, args.prompts))
    spec.write_text(SPEC.format(layer=args.layer, prompts=prompts, generate=args.generate))
    command = [args.program, "net-bench", spec, "--model", args.model, "--out", folder, "--run", str(nth), "--json"]
    rows = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, "RAYON_NUM_THREADS": str(args.threads)})
    return {(row["prompt_tokens"], row["link"]): row for row in json.loads(rows.stdout)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--program", default=ROOT / "target/release/splitbench")
    parser.add_argument("--prompts", type=lambda text: [int(one) for one in text.split(",")], default=[128, 512])
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--layer", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    peer = Transformers(args.model, args.threads)
    ids = [(37 * i + 11) % 20000 + 300 for i in range(max(args.prompts))]
    found = {}
    for nth in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for (tokens, link), row in ours(args, pathlib.Path(folder), nth).items():
                found.setdefault((tokens, link), []).append((row["ttft_ms"], row["tokens_per_s"]))
        for tokens in args.prompts:
            peer.generate(ids[:tokens], 4)
            _, first, rate = peer.generate(ids[:tokens], args.generate)
            found.setdefault((tokens, "transformers"), []).append((first, rate))
    for tokens in args.prompts:
        print(f"prompt of {tokens} tokens, {args.generate} generated, {args.rounds} rounds")
        best = {}
        for who in ["unsplit", "loopback", "transformers"]:
            firsts, rates = zip(*found[tokens, who])
            best[who] = (min(firsts), max(rates))
            print(f"  {who:13} TTFT {min(firsts):8.1f} ms (median {statistics.median(firsts):8.1f})   {max(rates):6.2f} tokens/s "
                  f"(median {statistics.median(rates):6.2f})")
        print(f"  unsplit over transformers: prompt {best['transformers'][0] / best['unsplit'][0]:.2f} times as fast, steps "
              f"{best['unsplit'][1] / best['transformers'][1]:.2f}; loopback over unsplit, steps: {best['loopback'][1] / best['unsplit'][1]:.3f}")


if __name__ == "__main__":
    main()

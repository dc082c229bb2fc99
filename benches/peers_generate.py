"""Generation by the unsplit model and through a server beside transformers' `generate`, in one run on one machine.

    python benches/peers_generate.py --model SmolLM2-135M-Instruct.Q4_1.gguf [--prompts 128,512] [--generate 64] [--rounds 3]

All in f32 (a GGUF file's weights are taken out of their blocks by both), greedy, the same token ids, `--threads` threads (ours takes as
many by RAYON_NUM_THREADS). In turns: `splitbench net-bench`, which times the unsplit model and noop through a server on loopback, after a
generation that is not counted; then transformers, its own first one not counted. Per prompt length: time to the first token, ms, and
tokens/s after it, the best of all rounds and their median, and ours over the peer's. Protocol and socket of a step (what its layers, codec
and wait at the server leave) stand beside a bare echo of as many bytes over loopback, whose far end goes through 400 MB for as long as a
step takes, as the server half does: what the machine itself asks for.
"""

import argparse
import json
import os
import pathlib
import socket
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


def bare_echo(sent, returned, seconds, rounds=100):
    """Median ms of `sent` bytes there and `returned` back, without the `seconds` that the far end takes between."""
    import numpy

    listener = socket.create_server(("127.0.0.1", 0))

    def ends(end):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return end

    def receive(end, bytes):
        while bytes:
            bytes -= len(end.recv(bytes)) or os._exit(0)

    if os.fork() == 0:
        end = ends(listener.accept()[0])
        weights = numpy.ones(100 << 20, numpy.float32)
        at = 0
        while True:
            receive(end, sent)
            start = time.perf_counter()
            while time.perf_counter() - start < seconds:
                weights[at << 16:][:1 << 16].sum()
                at = (at + 1) % (weights.size >> 16)
            end.sendall(numpy.float64(time.perf_counter() - start).tobytes() + bytes(returned - 8))
    end = ends(socket.create_connection(listener.getsockname()))
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        end.sendall(bytes(sent))
        reply = end.recv(returned, socket.MSG_WAITALL)
        total = time.perf_counter() - start
        times.append((total - numpy.frombuffer(reply[:8])[0]) * 1e3)
    end.close()
    os.wait()
    return statistics.median(times)


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
    found, overheads = {}, {}
    for nth in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for (tokens, link), row in ours(args, pathlib.Path(folder), nth).items():
                found.setdefault((tokens, link), []).append((row["ttft_ms"], row["tokens_per_s"]))
                if link == "loopback":
                    echo = bare_echo(int(row["step_bytes"]), int(row["token_bytes"]), row["step_server_ms"] * 1e-3)
                    overheads.setdefault(tokens, []).append((row["step_link_ms_p50"], echo))
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
        link, echo = map(min, zip(*overheads[tokens]))
        print(f"  protocol and socket of a step {link:.3f} ms, a bare echo {echo:.3f} ms: {link / echo:.2f} times")


if __name__ == "__main__":
    main()

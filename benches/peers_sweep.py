"""A sweep beside transformers with a forward hook, in one run on one machine, and what many cells cost in passes of the model.

    python benches/peers_sweep.py --tokenizer tokenizer.json --data-dir DIR [--datasets piqa,arc_easy] [--limit 100]
    python benches/peers_sweep.py --model FOLDER --data-dir DIR --what peer [--peers scored,onednn]
    python benches/peers_sweep.py --model pocket --datasets piqa-mini,arc_easy-mini --what cells,layers

The sweep: a model's folder, or a checkpoint of Qwen2.5-0.5B's shape with random weights, f32, all cores, no codec and FC
(mirrored, proportional) at ratios 10, 9, 8, 7, 6 after layer 1. The peer `plain` is the script one would write: requests sorted by length, right padding, a forward hook on the
layer that takes each sequence's rows through torch's FFT and back, at its best of several batch sizes, and `logits` of the whole batch. Beside
it `scored`, the same with the head at the scored positions alone, and `onednn`, as that with torch's oneDNN products: its default, MKL, leaves
AVX-512 unused on processors that are not Intel's. Loading and calibration are left out, ours runs before and after, and log-likelihoods of
both must agree. Then splitbench alone: six codecs at five ratios after layer 1, and all layers by one codec, in passes of the model over the
same requests: whole requests one by one, and with the beginnings that choices share computed once.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import time

from peers import ROOT, write_model

RATIOS = [10.0, 9.0, 8.0, 7.0, 6.0]
BATCH_SIZES = [1, 2, 4, 8, 16]
SIX = ["fc", "topk", "qr", "svd", "fc:band=centered", "klt"]


class Peer:
    """transformers with a hook."""

    def __init__(self, folder, kind):
        import torch
        from torch.utils.mkldnn import MkldnnLinear
        from transformers import AutoModelForCausalLM

        self.torch, self.frugal = torch, kind != "plain"
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        if kind == "onednn":
            for parent in list(self.model.modules()):
                for name, child in parent.named_children():
                    if isinstance(child, torch.nn.Linear):
                        setattr(parent, name, MkldnnLinear(child, torch.float))
        self.ratio, self.lengths = None, []
        self.model.model.layers[0].register_forward_hook(self.hook)

    def hook(self, _module, _inputs, output):
        if self.ratio is None:
            return output
        hidden = output[0] if isinstance(output, tuple) else output
        for row, length in enumerate(self.lengths):
            hidden[row, :length] = self.round_trip(hidden[row, :length])
        return output

    def round_trip(self, a):
        """K_S x K_D low frequencies and their mirrors, coefficients in f16 as they are sent."""
        torch = self.torch
        s, d = a.shape
        ks = min(max(math.floor(s / math.sqrt(self.ratio) + 0.5), 1), s)
        kd = min(max(math.floor(s * d / (self.ratio * ks)), 1), d)
        half = d // 2 + 1
        spectrum = torch.fft.rfft2(a)
        if kd > half:
            spectrum = torch.fft.fft2(a)
        kept = spectrum[:ks, :kd]
        scale = kept.abs().max()
        kept = torch.view_as_complex((torch.view_as_real(kept) / scale).half().float()) * scale
        grid = torch.zeros(s, half, dtype=torch.complex64)
        grid[:ks, : min(kd, half)] = kept[:, :half]
        # Column 0 is its own mirror: the rows -u of it come back as conjugates.
        u = torch.arange(1, ks)
        u = u[s - u >= ks]
        grid[s - u, 0] = kept[u, 0].conj()
        assert kd < half, "ratios below 2.83 keep mirrors in the half spectrum, which this script does not do"
        return torch.fft.irfft2(grid, s=(s, d))

    def score(self, requests, batch_size):
        """Log-likelihoods, and seconds."""
        torch = self.torch
        order = sorted(range(len(requests)), key=lambda i: -len(requests[i][0]))
        out = [0.0] * len(requests)
        start = time.perf_counter()
        with torch.no_grad():
            for at in range(0, len(order), batch_size):
                chosen = order[at : at + batch_size]
                self.lengths = [len(requests[i][0]) for i in chosen]
                ids = torch.zeros(len(chosen), self.lengths[0], dtype=torch.long)
                for row, i in enumerate(chosen):
                    ids[row, : self.lengths[row]] = torch.tensor(requests[i][0])
                # No mask is needed: padding is on the right and attention is causal.
                hidden = self.model.model(input_ids=ids, use_cache=False).last_hidden_state
                states = hidden if self.frugal else self.model.lm_head(hidden)
                rows = [states[row, self.lengths[row] - len(requests[i][1]) : self.lengths[row]] for row, i in enumerate(chosen)]
                counts, rows = [len(one) for one in rows], torch.cat(rows)
                logits = self.model.lm_head(rows) if self.frugal else rows
                targets = torch.tensor([target for i in chosen for target in requests[i][1]])[:, None]
                each = torch.log_softmax(logits, -1).gather(-1, targets)[:, 0]
                for i, one in zip(chosen, each.split(counts)):
                    out[i] = float(one.sum())
        return out, time.perf_counter() - start


def products(rows, config):
    """GFLOP/s of the largest matrix product of a layer, by torch's default and by oneDNN: the best of ten."""
    import torch
    from torch.utils.mkldnn import MkldnnLinear

    width, inner = config["hidden_size"], config["intermediate_size"]
    plain, x = torch.nn.Linear(width, inner), torch.rand(rows, width)
    found = []
    with torch.no_grad():
        for product in [plain, MkldnnLinear(plain, torch.float)]:
            best = math.inf
            for _ in range(10):
                start = time.perf_counter()
                product(x)
                best = min(best, time.perf_counter() - start)
            found.append(2e-9 * rows * width * inner / best)
    return found


def encode(tokenizer, task, docs):
    """Token ids and targets of every request, as lm-evaluation-harness makes them."""
    requests = []
    for doc in docs:
        for request in task.construct_requests(doc, task.fewshot_context(doc, 0)):
            context, continuation = request.args
            spaces = len(context) - len(context.rstrip())
            if spaces:
                context, continuation = context[:-spaces], context[-spaces:] + continuation
            whole, first = tokenizer.encode(context + continuation).ids, len(tokenizer.encode(context).ids)
            requests.append((whole[:-1], whole[first:]))
    return requests


def run(args, model, out, name, codecs, layers, ratios):
    """Seconds without loading and calibrating, where they went, and the folder of results."""
    quoted = lambda values: ", ".join(json.dumps(value) for value in values)
    experiment = out / f"{name}.toml"
    experiment.write_text(
        f"analysis = \"sweep\"\nmodels = [{json.dumps(str(model))}]\ndatasets = [{quoted(args.datasets)}]\nlimit = {args.limit}\n"
        f"split_layers = {layers}\ncodecs = [{quoted(codecs)}]\nratios = {ratios}\nscopes = [{json.dumps(args.scope)}]\n"
    )
    command = [args.binary, "run", str(experiment), "--out", str(out), "--run", f"{time.time_ns()}"]
    command += ["--data-dir", str(args.data_dir)] if args.data_dir else []
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    results = out / "results" / name / command[command.index("--run") + 1]
    manifest = json.loads((results / "manifest.json").read_text())
    spent = manifest["spent"]
    parts = ", ".join(f"{key[:-2]} {value:.2f}" for key, value in spent.items())
    print(f"  {name}: {manifest['wall_seconds']:.1f} s ({parts})", flush=True)
    return manifest["wall_seconds"] - spent["load_s"] - spent["calibrate_s"], spent, results


def logliks(results, datasets, ratio):
    """What ours has of the baseline or a ratio, request by request."""
    out = []
    for dataset in datasets:
        (path,) = (results / "samples").glob(f"*--{dataset}.jsonl")
        lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        out += [value for line in lines if line["ratio"] == ratio for value in line["loglik"]]
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=pathlib.Path)
    parser.add_argument("--data-dir", type=pathlib.Path)
    parser.add_argument("--model", help="a folder, or `pocket`, in place of the random one")
    parser.add_argument("--datasets", type=lambda text: text.split(","), default=["piqa", "arc_easy"])
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--scope", default="prompt+choice")
    parser.add_argument("--what", default="peer,cells,layers")
    parser.add_argument("--peers", type=lambda text: text.split(","), default=["plain", "scored", "onednn"])
    parser.add_argument("--binary", default=str(ROOT / "target" / "release" / "splitbench"))
    args = parser.parse_args()
    what = args.what.split(",")
    if not args.model and not (args.tokenizer and args.data_dir):
        parser.error("the random model needs --tokenizer and --data-dir")
    if "peer" in what and not args.data_dir:
        parser.error("the peer needs --data-dir")

    with tempfile.TemporaryDirectory() as temporary:
        out = pathlib.Path(temporary)
        if args.model:
            folder = ROOT / "models" / "pocket" if args.model == "pocket" else pathlib.Path(args.model)
        else:
            folder = out / "model"
            folder.mkdir()
            write_model(folder, args.tokenizer)
        config = json.loads((folder / "config.json").read_text())
        if "peer" in what:
            against_hook(args, folder, config, out)
        if "cells" in what or "layers" in what:
            in_passes(args, folder, config["num_hidden_layers"], out, what)


def against_hook(args, folder, config, out):
    try:
        import torch
        from harness import make_task
        from tokenizers import Tokenizer
        import transformers
    except ImportError as missing:
        print(f"skipped: {missing}; pip install -r tests/reference/requirements.txt")
        return
    tokenizer = Tokenizer.from_file(str(args.tokenizer or folder / "tokenizer.json"))
    requests = []
    for name in args.datasets:
        lines = (args.data_dir / name / "eval.jsonl").read_text(encoding="utf-8").split("\n")
        task = make_task(name, [json.loads(line) for line in lines[: args.limit] if line])
        requests += encode(tokenizer, task, list(task.validation_docs()))
    print("torch's products of {} rows: {:.0f} GFLOP/s by default, {:.0f} by oneDNN".format(2048, *products(2048, config)), flush=True)
    before, _, results = run(args, folder, out, "sweep", ["fc"], [1], RATIOS)
    some = requests[:: max(1, len(requests) // 64)]
    seconds, found = {}, {}
    for kind in args.peers:
        peer = Peer(folder, kind)
        peer.score(some[:4], 1)
        sizes = {size: peer.score(some, size)[1] for size in BATCH_SIZES}
        best = min(sizes, key=sizes.get)
        total = 0.0
        for ratio in [None, *RATIOS]:
            peer.ratio = ratio
            found[ratio], taken = peer.score(requests, best)
            total += taken
        seconds[kind] = total
        print(f"  transformers {transformers.__version__}, {kind}: {total:.1f} s, batch {best}", flush=True)
        del peer
    after, _, _ = run(args, folder, out, "sweep", ["fc"], [1], RATIOS)
    for ratio, theirs in found.items():
        mine = logliks(results, args.datasets, ratio)
        assert len(mine) == len(theirs)
        apart = sorted(abs(a - b) for a, b in zip(mine, theirs))
        print(f"  ratio {ratio}: log-likelihoods apart by {apart[len(apart) // 2]:.1e} nats in the median, {apart[-1]:.1e} at most")
    mine = (before + after) / 2
    print(f"{len(requests)} requests, {torch.get_num_threads()} threads, torch {torch.__version__}, scope {args.scope}")
    times = ", ".join(f"{theirs / mine:.2f} times {kind}" for kind, theirs in seconds.items())
    print(f"sweep: ours {before:.1f} and {after:.1f} s; {times}")


def in_passes(args, model, layers, out, what):
    # Where choices are compressed too, the server half of noop has every request by itself: after the first layer all layers but one,
    # after the last the head alone.
    _, spent, _ = run(args, model, out, "whole", ["noop"], [1], [8.0])
    shared = spent["client_s"] + spent["baseline_s"]
    head = run(args, model, out, "head", ["noop"], [layers], [8.0])[1]["server_s"]
    one = spent["server_s"] + (spent["server_s"] - head) / (layers - 1)
    apart = args.scope == "prompt+choice"

    def passes(taken, unit, over=1):
        whole = f", {taken / one / over:.2f} {unit} without" if apart else ""
        return f"{taken / shared / over:.2f} {unit} with shared beginnings{whole}"

    print(f"one pass: {shared:.2f} s with shared beginnings" + (f", {one:.2f} s without" if apart else ""), flush=True)
    if "cells" in what:
        taken, _, _ = run(args, model, out, "cells", SIX, [1], RATIOS)
        print(f"{len(SIX)} codecs x {len(RATIOS)} ratios: {passes(taken, 'passes')}", flush=True)
    if "layers" in what:
        taken, _, _ = run(args, model, out, "layers", ["fc"], list(range(1, layers + 1)), [8.0])
        print(f"{layers} layers: {passes(taken, 'N passes', layers)}", flush=True)


if __name__ == "__main__":
    main()

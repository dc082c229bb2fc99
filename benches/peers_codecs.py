"""Codecs beside what Python offers, over the same lengths, one thread, in one run on one machine.

    python benches/peers_codecs.py [--hidden 2048] [--codecs fc,topk,svd,qr]
    python benches/peers_codecs.py --kernel [--hidden 2048]

Ours are whole codecs: bytes in f16 come out of `encode` and go into `decode`. The peers do the arithmetic alone and keep
f32. FC's peers: the block of rfft2, and row transforms whose kept columns alone are transformed along the tokens, by
torch.fft, scipy.fft and FFTW (pyfftw, plans by estimate) where they are installed. Printed are the ratios to the fastest rfft2,
to the fastest of all, and to a peer that would choose the fastest of all at every length. Ours run before and after the peers.
`--kernel` measures FC's transform alone, ratio 8, by least times on either side, with MKL (mkl_fft) among the peers.
"""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import time

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

ROOT = pathlib.Path(__file__).resolve().parent.parent
RATIO = 7.6
KERNEL_RATIO = 8.0
CALLS = 5


def median(times):
    return sorted(times)[CALLS // 2]


def take(call, calls, of_times):
    call()
    times = []
    for _ in range(calls):
        # Processor time of this thread, as ours: other processes lengthen it less than they do the clock's.
        start = time.thread_time()
        call()
        times.append(time.thread_time() - start)
    return of_times(times)


def fc_peers(a, torch, libraries, ratio):
    """Functions by name: encode and decode in turn, at the block that `fc` keeps."""
    import numpy as np

    s, d = a.shape
    ks = min(max(round(s / ratio**0.5), 1), s)
    kd = min(max(int(s * d / (ratio * ks)), 1), d // 2 + 1)
    numpy = a.numpy()
    peers = {}

    def torch_whole():
        kept = torch.fft.rfft2(a)[:ks, :kd].contiguous()
        grid = torch.zeros(s, d // 2 + 1, dtype=torch.complex64)
        grid[:ks, :kd] = kept
        torch.fft.irfft2(grid, s=(s, d))

    def torch_columns():
        kept = torch.fft.fft(torch.fft.rfft(a)[:, :kd], dim=0)[:ks].contiguous()
        grid = torch.zeros(s, kd, dtype=torch.complex64)
        grid[:ks] = kept
        torch.fft.irfft(torch.fft.ifft(grid, dim=0), n=d)

    peers["torch rfft2"], peers["torch kept columns"] = torch_whole, torch_columns
    for name, fft in libraries.items():

        def whole(fft=fft):
            kept = np.ascontiguousarray(fft.rfft2(numpy)[:ks, :kd])
            grid = np.zeros((s, d // 2 + 1), np.complex64)
            grid[:ks, :kd] = kept
            fft.irfft2(grid, s=(s, d))

        def columns(fft=fft):
            kept = np.ascontiguousarray(fft.fft(fft.rfft(numpy)[:, :kd], axis=0)[:ks])
            grid = np.zeros((s, kd), np.complex64)
            grid[:ks] = kept
            fft.irfft(fft.ifft(grid, axis=0), n=d)

        peers[f"{name} rfft2"], peers[f"{name} kept columns"] = whole, columns
    return peers


def other_peers(codec, a, torch):
    import scipy.linalg

    s, d = a.shape
    k = max(int(s * d / RATIO), 1)
    rank = max(int(s * d / (RATIO * (s + d))), 1)

    def topk():
        flat = a.flatten()
        at = torch.topk(flat.abs(), k).indices
        kept = flat[at]
        torch.zeros(s * d).scatter_(0, at, kept)

    def svd():
        u, values, v = torch.linalg.svd(a, full_matrices=False)
        (u[:, :rank] * values[:rank]) @ v[:rank]

    def qr():
        q, r, order = scipy.linalg.qr(a.numpy(), mode="economic", pivoting=True)
        back = q[:, :rank] @ r[:rank]
        out = back.copy()
        out[:, order] = back

    return {"topk": {"torch.topk": topk}, "svd": {"torch.linalg.svd": svd}, "qr": {"scipy.linalg.qr": qr}}[codec]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", default="1536,2048,3072")
    parser.add_argument("--codecs", default="fc,topk,svd,qr")
    parser.add_argument("--kernel", action="store_true", help="FC's transform alone instead of codecs")
    args = parser.parse_args()
    if args.kernel:
        args.codecs = "fc"
    try:
        import scipy.fft
        import torch
    except ImportError as missing:
        print(f"skipped: {missing}; pip install -r tests/reference/requirements.txt")
        return
    torch.set_num_threads(1)
    libraries = {"scipy": scipy.fft}
    try:
        import pyfftw

        pyfftw.interfaces.cache.enable()
        libraries["FFTW"] = pyfftw.interfaces.scipy_fft
    except ImportError:
        print("FFTW is left out: no pyfftw")
    if args.kernel:
        try:
            import mkl_fft

            libraries["MKL"] = mkl_fft
        except ImportError:
            print("MKL is left out: no mkl_fft")
    with open(ROOT / "experiments" / "traces" / "ten-sets.json", encoding="utf-8") as file:
        counts = collections.Counter()
        for dataset in json.load(file)["datasets"]:
            counts.update({int(tokens): count for tokens, count in dataset["lengths"].items()})
        lengths = sorted(counts.items())

    def kernel(hidden):
        command = ["cargo", "bench", "--quiet", "-p", "splitbench-codec", "--bench", "kernel", "--", str(hidden)]
        table = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        whole = next(line for line in table.splitlines() if line.startswith("all"))
        return float(whole.split()[1])

    def ours(codec, hidden):
        if args.kernel:
            return kernel(hidden)
        command = ["cargo", "bench", "--quiet", "--bench", "round_trip", "--", "--json", codec, str(hidden)]
        line = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
        return line["encode"] + line["decode"]

    what = "kernel, forward + inverse" if args.kernel else "encode + decode"
    print(f"{sum(count for _, count in lengths)} requests, {what}, seconds a pass, one thread, torch {torch.__version__}")
    for codec in args.codecs.split(","):
        for hidden in map(int, args.hidden.split(",")):
            before = ours(codec, hidden)
            choosing, seconds = 0.0, {}
            for tokens, count in lengths:
                a = torch.rand(tokens, hidden) * 2 - 1
                peers = fc_peers(a, torch, libraries, KERNEL_RATIO if args.kernel else RATIO) if codec == "fc" else other_peers(codec, a, torch)
                times = {name: count * take(call, *((3, min) if args.kernel else (CALLS, median))) for name, call in peers.items()}
                choosing += min(times.values())
                for name, value in times.items():
                    seconds[name] = seconds.get(name, 0.0) + value
            after = ours(codec, hidden)
            mine = (before + after) / 2
            each = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
            best = {"": min(seconds.values())}
            if codec == "fc":
                best = {
                    " (rfft2)": min(value for name, value in seconds.items() if name.endswith("rfft2")),
                    " (all)": min(seconds.values()),
                    " (all, by length)": choosing,
                }
            ratios = ", ".join(f"{value / mine:.2f} times{name}" for name, value in best.items())
            print(f"{codec:<5} D {hidden}: ours {before:.2f} and {after:.2f}; {each}: {ratios}", flush=True)


if __name__ == "__main__":
    main()

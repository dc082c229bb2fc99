"""Codecs beside what Python offers, over the same lengths, one thread, in one run on one machine.

    python benches/peers_codecs.py [--hidden 2048] [--codecs fc,topk,svd,qr]
    python benches/peers_codecs.py --kernel [--hidden 2048]

Ours are whole codecs: bytes in f16 come out of `encode` and go into `decode`. The peers do the arithmetic alone and keep
f32. FC's peers: the block of rfft2, and row transforms whose kept columns alone are transformed along the tokens, by
torch.fft, scipy.fft and FFTW (pyfftw, plans by `--fftw`) where they are installed. Printed are the ratios to the fastest rfft2,
to the fastest of all, and to a peer that would choose the fastest of all at every length. Ours run before and after the peers.
`--kernel` measures FC's transform alone, ratio 8, by least times on either side, with MKL (mkl_fft) among the peers. `--pieces`
times what the kernel would be put together of by FFTW with patient plans: transforms along the tokens of pairs of channels, then of the
kept rows, there and back; what takes pairs apart and puts them together is left out.
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


class Fftw:
    """pyfftw's plans, made once per shape. The inverse is not normalised: that factor is free elsewhere."""

    def __init__(self, effort):
        import numpy as np
        import pyfftw

        self.numpy, self.pyfftw, self.effort, self.plans = np, pyfftw, f"FFTW_{effort.upper()}", {}

    def run(self, a, name, axes, inverse, real, last=None):
        """Transforms `a` along the axes; `last` is the length of the last one of real results."""
        np, complex_, float_ = self.numpy, "complex64", "float32"
        key = (name, a.shape, last)
        if key not in self.plans:
            out = list(a.shape)
            if real:
                out[-1] = last if inverse else a.shape[-1] // 2 + 1
            types = (float_, complex_) if real and not inverse else (complex_, float_ if real else complex_)
            source = self.pyfftw.empty_aligned(a.shape, types[0])
            target = self.pyfftw.empty_aligned(tuple(out), types[1])
            direction = "FFTW_BACKWARD" if inverse else "FFTW_FORWARD"
            # Back to real numbers along two axes FFTW has no plan that keeps its input.
            flags = (self.effort, "FFTW_DESTROY_INPUT") if real and inverse else (self.effort,)
            self.plans[key] = self.pyfftw.FFTW(source, target, axes=axes, direction=direction, flags=flags)
        # `normalise_idft` is about both directions: without it the forward one is divided.
        return self.plans[key](np.asarray(a), normalise_idft=not inverse)

    def rfft2(self, a):
        return self.run(a, "rfft2", (0, 1), False, True)

    def irfft2(self, a, s):
        return self.run(a, "irfft2", (0, 1), True, True, s[1])

    def rfft(self, a):
        return self.run(a, "rfft", (1,), False, True)

    def irfft(self, a, n):
        grid = self.numpy.zeros((len(a), n // 2 + 1), self.numpy.complex64)
        grid[:, : a.shape[1]] = a
        return self.run(grid, "irfft", (1,), True, True, n)

    def fft(self, a, axis):
        return self.run(a, "fft", (axis,), False, False)

    def ifft(self, a, axis):
        return self.run(a, "ifft", (axis,), True, False)


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


def pieces(hidden):
    """Microseconds of FFTW's transforms of complex numbers, there and back, at some lengths."""
    import pyfftw

    for tokens in (16, 64, 97, 128, 200, 256, 490):
        times = []
        for shape, axis in (((tokens, hidden // 2), 0), ((round(tokens / KERNEL_RATIO**0.5), hidden), 1)):
            for direction in ("FFTW_FORWARD", "FFTW_BACKWARD"):
                source, target = (pyfftw.empty_aligned(shape, "complex64") for _ in range(2))
                plan = pyfftw.FFTW(source, target, (axis,), direction, ("FFTW_PATIENT",), planning_timelimit=5)
                source[:] = 1
                times.append(1e6 * take(plan.execute, 40, min))
        print(f"D {hidden}, {tokens} tokens: {sum(times):.0f} µs, of which along the tokens {times[0] + times[1]:.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", default="1536,2048,3072")
    parser.add_argument("--codecs", default="fc,topk,svd,qr")
    parser.add_argument("--fftw", default="measure", choices=["estimate", "measure", "patient"], help="patient takes an hour")
    parser.add_argument("--kernel", action="store_true", help="FC's transform alone instead of codecs")
    parser.add_argument("--pieces", action="store_true", help="FFTW's transforms that FC's could be put together of")
    args = parser.parse_args()
    if args.pieces:
        for hidden in map(int, args.hidden.split(",")):
            pieces(hidden)
        return
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
        libraries["FFTW"] = Fftw(args.fftw)
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

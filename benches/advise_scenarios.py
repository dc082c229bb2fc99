"""Ten scenarios: what `splitbench advise` predicts and chooses, beside the same cuts measured live over emulated links.

For each scenario: `advise --json` from the rows and profiles at hand; then `net-bench` of the best three, of f16 at the best cut and of
the client alone. Client and server are processes on this machine; a slow client has one thread. Let nothing else run. Goes on where it
was stopped. Needs Python only.

    python benches/advise_scenarios.py --model MODEL.gguf --losses results/where-to-cut/RUN --slug NAME --out target/scenarios
"""

import argparse
import csv
import json
import pathlib
import subprocess

# Client's threads, link, tokens of prompt and answer, least layers on the client.
SCENARIOS = [
    (1, "home-cable", 128, 32, 1),
    (1, "fibre", 128, 32, 1),
    (2, "5g", 128, 32, 1),
    (1, "4mbit/4mbit,10ms", 256, 16, 1),
    (1, "home-cable", 128, 32, 10),
]
CODECS = ["noop:values=f16", "int8", "int8:coder=rans", "hadamard-int4:coder=rans", "sparse-rans", "fc"]
MAX_KL = "0.01"


def run(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def profile(args, threads):
    path = args.out / f"{args.slug}-threads-{threads}.toml"
    if not path.exists():
        codecs = [word for codec in CODECS for word in ("--codec", codec.replace(",", "\\,"))]
        run(args.program, "profile", "--model", args.model, "--threads", threads, *codecs, "--ratio", "4,8", "--output", path)
    return path


def pair(cut):
    prompt, step = cut["prompt"], cut["step"]
    line = f'{{ prompt = "{prompt["codec"]}", step = "{step["codec"]}"'
    rated = next((one for one in (prompt, step) if one["ratio"]), None)
    if rated:
        line += f', ratio = {rated["ratio"]}, accounting = "{rated["accounting"]}"'
    return line + " }"


def measure(args, scenario, cuts):
    """Rows of live.csv by what was sent; the client alone is `unsplit`."""
    threads, link, prompt, tokens, least = scenario
    found = {}
    for layer in sorted({cut["after_layer"] for cut in cuts if cut["prompt"]}):
        here = [cut for cut in cuts if cut["prompt"] and cut["after_layer"] == layer]
        pairs = list(dict.fromkeys(pair(cut) for cut in here))
        name = f"{args.slug}-{threads}-{''.join(c if c.isalnum() else '-' for c in link)}-{prompt}-{least}-after-{layer}"
        spec = args.out / f"{name}.toml"
        spec.write_text(
            f'analysis = "A scenario of advise."\n[live]\nsplit_layer = {layer}\nlinks = ["{link}"]\nprompts = [{prompt}]\n'
            f"generate = {tokens}\nchunk = 512\nwarm_up = 1\nrepeats = {args.repeats}\ncodecs = [{', '.join(pairs)}]\n"
        )
        run(args.program, "net-bench", spec, "--model", args.model, "--threads", threads, "--out", args.out, "--run", args.slug)
        with open(args.out / "results" / name / args.slug / "live.csv") as file:
            for row in csv.DictReader(file):
                if row["link"] == "unsplit":
                    found["client alone"] = row
                elif row["link"] == link:
                    ratio = float(row["ratio"]) if row["ratio"] else None
                    found[(layer, row["prompt_codec"], row["step_codec"], ratio)] = row
    return found


def key(cut):
    if not cut["prompt"]:
        return "client alone"
    prompt, step = cut["prompt"], cut["step"]
    return (cut["after_layer"], prompt["codec"], step["codec"], prompt["ratio"] or step["ratio"])


def sent(cut):
    if not cut["prompt"]:
        return "client alone"
    word = lambda one: one["codec"] + (f" at {one['ratio']:g} {one['accounting']}" if one["ratio"] else "")
    prompt, step = word(cut["prompt"]), word(cut["step"])
    return f"{cut['after_layer']}, {prompt}" + ("" if prompt == step else f"; {step}")


def markdown(lines, planners):
    """The table of what was predicted and measured, and that of what each planner chooses."""
    out = "| client, link, tokens | sent | first token, ms | measured | per token, ms | measured | answer, s | measured |\n"
    out += "| :-- | :-- | --: | --: | --: | --: | --: | --: |\n"
    before = None
    for line in lines:
        name = setting(line["client_threads"], line["link"], line["prompt"], line["tokens"], line["min_layer"])
        place = f"{line['place']}: " if line["place"] else ""
        out += (
            f"| {'' if name == before else name} | {place}{line['sent']} | {line['ttft_ms']:.0f} | {line['measured_ttft_ms']:.0f} "
            f"| {line['step_ms']:.1f} | {line['measured_step_ms']:.1f} | {line['answer_s']:.2f} | {line['measured_answer_s']:.2f} |\n"
        )
        before = name
    names = list(dict.fromkeys(one["planner"] for _, advice in planners for one in advice["planners"]))
    out += "\n| client, link, tokens | ours | " + " | ".join(names) + " |\n| :-- |" + " --: |" * (1 + len(names)) + "\n"
    for scenario, advice in planners:
        layers = max(one["after_layer"] for one in advice["compared"])
        cell = lambda layer, seconds, kl: (
            f"{'server' if layer == 0 else 'client' if layer == layers else layer}, {seconds:.2f}"
            + (f" (KL {kl:.2g})" if kl is not None and kl > float(MAX_KL) else "")
        )
        best = advice["cuts"][0]
        cells = [cell(best["after_layer"], best["cost"]["response_s"], best["kl_nats"])]
        for name in names:
            plan = next((one["plan"] for one in advice["planners"] if one["planner"] == name), None)
            choice = plan and plan["choice"]
            cells.append(cell(choice["after_layer"], plan["cost"]["response_s"], choice["loss"]["kl_nats"]) if plan else "none")
        out += f"| {setting(*scenario)} | {' | '.join(cells)} |\n"
    return out


def setting(threads, link, prompt, tokens, least):
    return f"{threads} thread{'s' if threads > 1 else ''}, {link}, {prompt}+{tokens}" + (f", at least {least} layers" if least > 1 else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/release/splitbench")
    parser.add_argument("--model", required=True)
    parser.add_argument("--losses", required=True, action="append")
    parser.add_argument("--slug", required=True, help="name of the model in files")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("target/scenarios"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", type=int, help="only this scenario, counted from 0")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    lines, planners = [], []
    for nth, scenario in enumerate(SCENARIOS):
        if args.only is not None and nth != args.only:
            continue
        threads, link, prompt, tokens, least = scenario
        command = [args.program, "advise", "--json", "--client", profile(args, threads), "--server", profile(args, 2)]
        command += ["--link", link, "--prompt", prompt, "--tokens", tokens, "--min-layer", least, "--max-kl", MAX_KL]
        for losses in args.losses:
            command += ["--from", losses]
        advice = json.loads(run(*command))
        cuts = advice["cuts"][:3] + [cut for cut in advice["compared"] if cut["prompt"] or cut["after_layer"] > 0]
        rows = measure(args, scenario, cuts)
        best = min(rows.values(), key=lambda row: float(row["response_s"]))
        planners.append((scenario, advice))
        for place, cut in enumerate(cuts):
            row = rows.get(key(cut))
            if row is None:
                continue
            cost = cut["cost"]
            lines.append({
                "model": args.slug, "client_threads": threads, "link": link, "prompt": prompt, "tokens": tokens, "min_layer": least,
                "place": place + 1 if place < len(advice["cuts"][:3]) else "", "sent": sent(cut),
                "ttft_ms": 1e3 * cost["ttft_s"], "measured_ttft_ms": float(row["ttft_ms"]),
                "step_ms": 1e3 * cost["step_s"], "measured_step_ms": float(row["step_ms_p50"]),
                "answer_s": cost["response_s"], "measured_answer_s": float(row["response_s"]),
                "over_best_measured": float(row["response_s"]) / float(best["response_s"]) - 1.0,
                "version": row["version"],
            })
    path = args.out / f"{args.slug}.csv"
    if args.only is None:
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, lines[0].keys())
            writer.writeheader()
            writer.writerows(lines)
        print(f"wrote {path}")
        path = args.out / f"{args.slug}.md"
        path.write_text(markdown(lines, planners))
        print(f"wrote {path}")
    for line in lines:
        print(
            f"{line['model']} {line['client_threads']} {line['link']} {line['prompt']}+{line['tokens']} >={line['min_layer']} "
            f"#{line['place']} {line['sent']}: first {line['ttft_ms']:.0f} / {line['measured_ttft_ms']:.0f} ms, token "
            f"{line['step_ms']:.1f} / {line['measured_step_ms']:.1f} ms, answer {line['answer_s']:.2f} / "
            f"{line['measured_answer_s']:.2f} s, {100 * line['over_best_measured']:+.0f} % over the best measured"
        )


if __name__ == "__main__":
    main()

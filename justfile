# Each recipe is one visible command. MODEL: `pocket` (embedded), a name of `splitbench list models`, a folder, or `paper`
# for the paper's four. Further arguments go to the command: `just table2 llama-3.2-1b --limit 50`.

# Everything once on the embedded model, under a minute.
smoke model="pocket" *args="":
    cargo run --release -- run smoke --model {{model}} {{args}}

# Models and data sets of an experiment from the hub: `just prepare table2 --model qwen2.5-1.5b`.
prepare *args:
    cargo run --release -- prepare {{args}}

# Table II: accuracy of FC by ratio.
table2 model="pocket" *args="":
    cargo run --release -- run table2 --model {{model}} {{args}}

# Table III: all methods at each set's ratio.
table3 model="pocket" *args="":
    cargo run --release -- run table3 --model {{model}} {{args}}

# Table IV: seconds to compress and decompress what a pass over the ten sets sends, at the paper's hidden sizes; 8 minutes. No
# model or data is needed. Where a GPU is: `just features="--features cuda-kernel" table4`.
features := ""
table4 *args="":
    cargo run --release {{features}} -- replay table4 {{args}}

# Any codec over a trace: `just replay ten-sets --hidden 2048 --codecs fc,topk --seconds 20`.
replay trace *args="":
    cargo run --release {{features}} -- replay {{trace}} {{args}}

# Figure 4: accuracy by split layer.
layer-sweep model="pocket" *args="":
    cargo run --release -- run layer-sweep --model {{model}} {{args}}

# Split layers: indicators, what the codec loses, error behind the cut. `just layers pocket --codec topk`.
layers model="pocket" *args="":
    cargo run --release -- layers --model {{model}} {{args}}

# Figure 5: accuracy by ratio, all methods.
ratio-sweep model="pocket" *args="":
    cargo run --release -- run ratio-sweep --model {{model}} {{args}}

# Every codec at 8 in elements and on the wire, and those that take a ratio at 4 and 16 on the wire.
codecs model="pocket" *args="":
    cargo run --release -- run codecs --model {{model}} {{args}}
wire model="pocket" *args="":
    cargo run --release -- run wire --model {{model}} {{args}}

# The systems of the paper's Table I as codecs, at 4, 8 and 16 on the wire.
table1 model="pocket" *args="":
    cargo run --release -- run table1 --model {{model}} {{args}}

# What codecs lose at every cut: the rows of `splitbench advise`.
where-to-cut model="pocket" *args="":
    cargo run --release -- run where-to-cut --model {{model}} {{args}}

# Ten scenarios of `advise`, predicted and measured live; LOSSES is a run with codecs of MODEL, a GGUF file or a folder. Let
# nothing else run: a quarter of an hour for a model of 135 million weights.
advise-scenarios model losses name python="python3" *args:
    cargo build --release
    {{python}} benches/advise_scenarios.py --model {{model}} --losses {{losses}} --slug {{name}} {{args}}

# Which reading of FC would have to be true.
readings model="pocket" *args="":
    cargo run --release -- run readings --model {{model}} {{args}}

# What CI runs, without the smoke experiment: format, lints, tests, docs.
check:
    cargo fmt --all --check
    cargo clippy --release --workspace --all-targets -- -D warnings
    cargo test --release --workspace --exclude splitbench-python
    RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps

# 32 clients for so many minutes that come, go, are killed and reconnect through a relay that breaks connections.
soak minutes="10":
    SPLITBENCH_SOAK_MINUTES={{minutes}} cargo test --release --test soak -- --ignored --nocapture

# Encrypted connections, which the default build does not have: lints and their tests.
noise:
    cargo clippy --release --features noise --all-targets -- -D warnings
    cargo test --release --features noise --lib live::
    cargo test --release --features noise --test live --test live_noise

# The Python package: a wheel as of `pip install .` in an environment of its own, its tests, and its speed beside the Rust bench.
python python="python3":
    #!/usr/bin/env bash
    set -euo pipefail
    command -v {{python}} > /dev/null || { echo "skipped: no {{python}}"; exit 0; }
    {{python}} -m venv target/python
    target/python/bin/pip install --quiet . pytest ml_dtypes pandas polars pyarrow
    target/python/bin/python -m pytest -q -rs crates/python/tests
    target/python/bin/python crates/python/bench.py

# Speed, as ratios against a peer in the same run.
bench *args="":
    cargo bench {{args}}

# Remakes the reference numbers of the tests with Python (transformers, lm-evaluation-harness, NumPy, SciPy) and compares.
reference python="python3":
    #!/usr/bin/env bash
    set -euo pipefail
    command -v {{python}} > /dev/null || { echo "skipped: no {{python}}"; exit 0; }
    {{python}} -m venv target/reference
    target/reference/bin/pip install --quiet --requirement tests/reference/requirements.txt
    for script in harness metrics paired multiple decoder loglik codecs adaptive coefficients indicators transforms fidelity perplexity checkpoints special_tokens gguf_files sampling chat table1_transforms best; do target/reference/bin/python tests/reference/$script.py --check; done

# The program with both CUDA features, where there need be no GPU: a toolkit from PyPI (or the machine's own), then the build, a
# quarter of an hour on two cores. `just cuda-build full` fetches cuBLAS and the others to run with, too.
cuda-build kind="":
    #!/usr/bin/env bash
    set -euo pipefail
    environment=$(tools/cuda/toolkit target/cuda {{kind}})
    eval "$environment"
    cargo build --release --features cuda-model,cuda-kernel --target-dir target/cuda/build
    ls -l target/cuda/build/release/splitbench
    echo "run with cuBLAS, cuRAND, NVRTC and cuFFT on LD_LIBRARY_PATH; a full toolkit has them in target/cuda/lib, libcuda is the driver's"

# The program with both CUDA features where there is neither CUDA nor GPU: built with a stub, run on an emulated driver, compared with the CPU.
cuda-emulated:
    tests/cuda/emulated-run

# Real GGUF files (DIR/*.gguf) against transformers' own reader and lm-evaluation-harness on 20 rows of each of its sets; DATA holds
# <set>/eval.jsonl. What Python computes stays in target/real-models: only the first time takes long.
real-models models data python="python3":
    #!/usr/bin/env bash
    set -euo pipefail
    command -v {{python}} > /dev/null || { echo "skipped: no {{python}}"; exit 0; }
    compgen -G "{{models}}/*.gguf" > /dev/null || { echo "skipped: no .gguf file in {{models}}"; exit 0; }
    {{python}} -m venv target/reference
    target/reference/bin/pip install --quiet --requirement tests/reference/requirements.txt
    target/reference/bin/python tests/reference/real_models.py {{models}} {{data}} target/real-models
    SPLITBENCH_MODELS={{models}} SPLITBENCH_DATA={{data}} SPLITBENCH_EXPECTED=target/real-models \
        cargo test --release --test gguf real_files -- --nocapture

# Scoring speed beside lm-evaluation-harness with transformers. TOKENIZER is a Qwen2 tokenizer.json, DATA holds
# arc_easy/eval.jsonl; further arguments such as `--dataset piqa --limit 30` go to the script.
peers tokenizer data python="python3" *args:
    #!/usr/bin/env bash
    set -euo pipefail
    cargo build --release
    command -v {{python}} > /dev/null || { echo "skipped: no {{python}}"; exit 0; }
    {{python}} benches/peers.py --tokenizer {{tokenizer}} --data-dir {{data}} {{args}}

# A sweep of FC beside transformers with a forward hook, and what many cells and layers cost in passes of the model; DATA holds
# piqa and arc_easy. An hour at the 100 rows a set of `--limit`; `--what cells,layers` needs no Python beyond NumPy and safetensors.
peers-sweep tokenizer data python="python3" *args:
    #!/usr/bin/env bash
    set -euo pipefail
    cargo build --release
    command -v {{python}} > /dev/null || { echo "skipped: no {{python}}"; exit 0; }
    {{python}} benches/peers_sweep.py --tokenizer {{tokenizer}} --data-dir {{data}} {{args}}

# Generation, in one process and through a server, beside transformers' `generate`; MODEL is a GGUF file or a folder. Minutes.
peers-generate model python="python3" *args:
    #!/usr/bin/env bash
    set -euo pipefail
    cargo build --release
    command -v {{python}} > /dev/null || { echo "skipped: no {{python}}"; exit 0; }
    {{python}} benches/peers_generate.py --model {{model}} {{args}}

# Codecs over the lengths of the real sets beside torch, SciPy and FFTW, one thread; minutes. Arguments such as
# `--codecs fc --hidden 2048` go to the script.
peers-codecs python="python3" *args:
    #!/usr/bin/env bash
    set -euo pipefail
    command -v {{python}} > /dev/null || { echo "skipped: no {{python}}"; exit 0; }
    {{python}} benches/peers_codecs.py {{args}}

# Figure 2: activations, their similarity, spectra and indicators.
figure2 model="pocket" *args="":
    cargo run --release -- run figure2 --model {{model}} {{args}}

# Figure 6: where a request's time goes, and from which link rate down a codec pays.
figure6 model="pocket" *args="":
    cargo run --release -- run figure6 --model {{model}} {{args}}

# Figure 7: many clients, from the service times of a run of figure6 or of a profile (`--profile FILE`).
figure7 *args="--from results/figure6/pocket":
    cargo run --release -- simulate figure7 {{args}}

# Figures 2, 4, 5, 6 and 7 of the pocket model from nothing, 32 questions a set, in results/*/figures and plots/*/figures.
figures limit="32":
    cargo run --release -- run figure2 --limit {{limit}} --run figures
    cargo run --release -- run layer-sweep --limit {{limit}} --run figures
    cargo run --release -- run ratio-sweep --limit {{limit}} --run figures
    cargo run --release -- run figure6 --limit {{limit}} --run figures
    cargo run --release -- simulate figure7 --from results/figure6/figures --run figures

# The pages of the pocket model's runs and of the real models: the paper's claims, tables and figures, as HTML and as Markdown, in
# results/report. The points of Figure 7 are simulated again first, 2 minutes.
report:
    cargo run --release -- simulate figure7 --from results/figure6/pocket --run pocket --out target/report
    cargo run --release -- simulate figure7 --profile experiments/services/rtx4090-llama-3.2-1b.toml --run assumed --out target/report
    rm -r target/report/plots
    cargo run --release -- report results/table2/pocket results/table3/pocket results/table4/ten-sets results/figure2/pocket \
        results/layer-sweep/pocket results/ratio-sweep/pocket results/figure6/pocket target/report/results/figure7/pocket \
        target/report/results/figure7/assumed results/codecs/pocket results/layers/pocket --page results/report/pocket
    cargo run --release -- report results/table2/smollm2-135m results/table2/qwen2.5-coder-0.5b results/table3/smollm2-135m \
        results/codecs/smollm2-135m results/wire/smollm2-135m results/codecs/qwen2.5-coder-0.5b \
        results/codecs/qwen2.5-coder-0.5b-cosmos_qa results/codecs/qwen2.5-coder-0.5b-logiqa results/layer-sweep/smollm2-135m \
        results/figure2/smollm2-135m results/readings/smollm2-135m results/table1/smollm2-135m results/table1/qwen2.5-coder-0.5b \
        --page results/report/real

# A run on a Slurm cluster, from its login node; the same line again submits what failed.
# `just cluster table2 qwen2.5-1.5b 32 --limit 50`; more in `experiments/slurm/submit --help`.
cluster experiment="table2" model="pocket" shards="16" *args="":
    cargo build --release
    EXPERIMENT={{experiment}} MODEL={{model}} SHARDS={{shards}} experiments/slurm/submit {{args}}

# The Slurm scripts on a Slurm of this one machine, killed task and all; skipped where there is none.
slurm:
    cargo build --release
    experiments/slurm/try-on-one-node

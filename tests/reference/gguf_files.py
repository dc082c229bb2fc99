"""Writes tests/reference/gguf/: tiny GGUF files by the Python package gguf, and what the reference tokenizers make of some strings.

    pip install -r tests/reference/requirements.txt
    python tests/reference/gguf_files.py            # writes gguf/
    python tests/reference/gguf_files.py --check    # makes it again and compares

Checkpoints of `decoder.py` and `loglik.py` as F32, with q and k of `llama` interleaved as llama.cpp's convert_hf_to_gguf.py does it;
blocks of random bits of each type beside the values that the package reads from them; small vocabularies of each kind, trained with
`tokenizers` and with `sentencepiece`, beside the ids that these give.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import sentencepiece
from decoder import same_files
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import GGML_QUANT_SIZES, dequantize
from harness import PATTERN
from safetensors.numpy import load_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).resolve().parent

# File, checkpoint folder, tokenizer.json where the scores of whole questions are compared, parts.
CHECKPOINTS = [
    ("llama", "loglik/llama", "tokenizer-bos.json", 1),
    ("qwen2", "loglik/qwen2", "tokenizer.json", 1),
    ("llama-untied-llama3", "decoder/llama-untied-llama3", None, 1),
    ("qwen2-untied-sharded", "decoder/qwen2-untied-sharded", None, 2),
]

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}

STRINGS = [
    "", " ", "   ", "\n", "\n\n \n", "a\r\n b\r", "\t\ttabs\tin", " leading", "trailing  ", "a  b   c", "Hello World's THEY'LL don'T 's 'S",
    "1234567 12,345.678", "x1y22z333", "½ ٣ Ⅷ ①", "naïve café", "nai\u0308ve cafe\u0301", "日本語のテスト", "Привет, мир!", "مرحبا ١٢٣",
    "🙂👍🏽👨‍👩‍👧", "\u00a0nbsp\u2003em", "\u200bzero\ufeff", "…—“quotes”", "def f(x):\n    return x**2  # ok\n", "((((", "!?!?", "the the the",
    "Which is it? The answer is: the question", "ﬁ ﬀ Å \u212b", "e\u0301\u0323", "\x00\x01\x7f",
]  # fmt: skip
WITH_TOKENS = ["<|begin|>x<|end|> y", "a<tool>b <tool>", "<|begin|><|begin|>", "<|pad|>", "<|beg in|>"]


def metadata(writer: GGUFWriter, config: dict) -> None:
    heads = config["num_attention_heads"]
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    if "head_dim" in config:
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])


def rope_factors(config: dict) -> np.ndarray | None:
    """As convert_hf_to_gguf.py: what each frequency is divided by."""
    scaling = config.get("rope_scaling")
    if not scaling:
        return None
    dim = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    original, factor = scaling["original_max_position_embeddings"], scaling["factor"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    out = []
    for i in range(0, dim, 2):
        wavelength = 2 * np.pi * config["rope_theta"] ** (i / dim)
        if wavelength < original / high:
            out.append(1.0)
        elif wavelength > original / low:
            out.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            out.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(out, dtype=np.float32)


def permute(weights: np.ndarray, heads: int) -> np.ndarray:
    rows, columns = weights.shape
    return weights.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def own_name(name: str) -> str:
    module, kind = name.rsplit(".", 1)
    if module.startswith("model.layers."):
        _, _, layer, module = module.split(".", 3)
        return f"blk.{layer}.{NAMES[module]}.{kind}"
    return f"{NAMES[module]}.{kind}"


def finish(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def vocabulary(writer: GGUFWriter, kind: str, pre: str, tokenizer: Tokenizer, size: int | None = None) -> None:
    """Tokens and merges as convert_hf_to_gguf.py writes them, padded to `size`."""
    model = json.loads(tokenizer.to_str())
    added = {token["id"]: token["special"] for token in model["added_tokens"]}
    count = tokenizer.get_vocab_size()
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([tokenizer.id_to_token(i) for i in range(count)] + [f"[PAD{i}]" for i in range(count, size or count)])
    types = [(3 if added[i] else 4) if i in added else 1 for i in range(count)]
    writer.add_token_types(types + [5] * ((size or count) - count))
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["model"]["merges"]])


def checkpoints(out: Path) -> None:
    for file, source, tokenizer, parts in CHECKPOINTS:
        folder = HERE / source
        config = json.loads((folder / "config.json").read_text())
        weights = {}
        for shard in sorted(folder.glob("*.safetensors")):
            weights |= load_file(shard)
        names = sorted(weights)
        arch = config["model_type"]
        writer = GGUFWriter(out / f"{file}.gguf", arch, split_max_tensors=-(-len(names) // parts) if parts > 1 else 0)
        metadata(writer, config)
        if tokenizer:
            read = Tokenizer.from_file(str(HERE / tokenizer))
            vocabulary(writer, "gpt2", "qwen2", read, config["vocab_size"])
            writer.add_bos_token_id(0)
            writer.add_add_bos_token("bos" in tokenizer)
        else:
            writer.add_tokenizer_model("gpt2")
            writer.add_token_list([f"t{i}" for i in range(config["vocab_size"])])
        factors = rope_factors(config)
        if factors is not None:
            writer.add_tensor("rope_freqs.weight", factors)
        for name in names:
            tensor = weights[name]
            heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.split(".")[-2])
            if arch == "llama" and heads:
                tensor = permute(tensor, config[heads])
            writer.add_tensor(own_name(name), np.ascontiguousarray(tensor))
        finish(writer)


def types(out: Path) -> None:
    """Three blocks of 256 values of each type in random bits, and the same values as F32. Scales are finite."""
    rng = np.random.default_rng(18)
    # Where a block's half floats stand.
    scales = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108]}
    scales |= {"Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "F16": [0]}
    writer = GGUFWriter(out / "types.gguf", "llama")
    for name in ["F32", "BF16", *scales]:
        kind = GGMLQuantizationType[name]
        block, size = GGML_QUANT_SIZES[kind]
        blocks = rng.integers(0, 256, (768 // block, size), dtype=np.uint8)
        if name in ("F32", "BF16"):
            values = rng.standard_normal((len(blocks), 1)).astype(np.float32)
            blocks = (values.view(np.uint32) >> (32 - 8 * size)).astype(f"u{size}").view(np.uint8)
        for at in scales.get(name, []):
            halves = (rng.standard_normal((len(blocks), 1)) * 10.0 ** rng.integers(-7, 1, (len(blocks), 1))).astype(np.float16)
            blocks[:, at : at + 2] = halves.view(np.uint8)
        values = dequantize(blocks, kind).astype(np.float32).reshape(3, 256)
        assert np.isfinite(values).all() and len(np.unique(values)) > 20, name
        writer.add_tensor(name, blocks.reshape(3, -1), raw_dtype=kind)
        writer.add_tensor(f"{name}.f32", values)
    finish(writer)


def corpus() -> list[str]:
    texts = [line for path in sorted((HERE / "rows").glob("*.jsonl")) for line in path.read_text(encoding="utf-8").split("\n")]
    return texts + STRINGS + ["?\n", "   ", "1234"] * 20


def byte_level(pre: str) -> Tokenizer:
    """A tokenizer of the kind as the published tokenizer.json files compose it."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    split = lambda pattern: pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = {
        "gpt-2": gpt2,
        "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2]),
        "qwen2": split(PATTERN),
        "llama-bpe": split(PATTERN.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)),
    }[pre]
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=["<|begin|>", "<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_tokens(["<tool>"])
    if pre == "llama-bpe":
        tokenizer.post_processor = processors.TemplateProcessing("<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    return tokenizer


def tokenizers(out: Path) -> None:
    for pre in ["gpt-2", "smollm", "qwen2", "llama-bpe"]:
        tokenizer = byte_level(pre)
        writer = GGUFWriter(out / f"tokenizer-{pre}.gguf", "llama")
        vocabulary(writer, "gpt2", pre, tokenizer, tokenizer.get_vocab_size() + 2)
        writer.add_bos_token_id(0)
        finish(writer)
        write_ids(out / f"tokenizer-{pre}.json", {text: tokenizer.encode(text).ids for text in STRINGS + WITH_TOKENS})
    with tempfile.TemporaryDirectory() as temporary:
        text, model = Path(temporary) / "text", Path(temporary) / "spm"
        text.write_text("\n".join(line for line in corpus() if "\x00" not in line), encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(text), model_prefix=str(model), model_type="bpe", vocab_size=500, byte_fallback=True, character_coverage=0.98,
            normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2, num_threads=1,
        )  # fmt: skip
        pieces = sentencepiece.SentencePieceProcessor(model_file=f"{model}.model")
    writer = GGUFWriter(out / "tokenizer-spm.gguf", "llama")
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    ids = range(pieces.get_piece_size())
    writer.add_token_list([pieces.id_to_piece(i) for i in ids])
    writer.add_token_scores([pieces.get_score(i) for i in ids])
    writer.add_token_types(
        [2 if pieces.is_unknown(i) else 3 if pieces.is_control(i) else 6 if pieces.is_byte(i) else 1 for i in ids]
    )
    writer.add_bos_token_id(pieces.bos_id())
    finish(writer)
    write_ids(out / "tokenizer-spm.json", {text: pieces.encode(text, add_bos=True) for text in STRINGS if "\x00" not in text})


def write_ids(path: Path, ids: dict[str, list[int]]) -> None:
    lines = [f"{json.dumps(text, ensure_ascii=False)}: {json.dumps(some)}" for text, some in ids.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def make(out: Path) -> None:
    out.mkdir(parents=True)
    checkpoints(out)
    types(out)
    tokenizers(out)


if __name__ == "__main__":
    if "--check" in sys.argv:
        with tempfile.TemporaryDirectory() as temporary:
            make(Path(temporary) / "gguf")
            sys.exit(not same_files(Path(temporary) / "gguf", HERE / "gguf"))
    shutil.rmtree(HERE / "gguf", ignore_errors=True)
    make(HERE / "gguf")

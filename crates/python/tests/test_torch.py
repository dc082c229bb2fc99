"""Tensors by DLPack, and a codec as a hook. Skipped where there is no torch."""

import numpy as np
import pytest
import splitbench

torch = pytest.importorskip("torch")

from splitbench.torch import CutHook  # noqa: E402


class Layer(torch.nn.Module):
    def forward(self, hidden):
        return (hidden * 2, "cache")


def test_tensors_make_the_packets_of_their_arrays(matrix):
    tensor = torch.from_numpy(matrix)
    for kind in [torch.float32, torch.float16, torch.float64, torch.bfloat16]:
        for view in [tensor.to(kind), tensor.to(kind).T, tensor.to(kind)[::3, 5:], tensor.to(kind)[7:8]]:
            plain = view.to(torch.float32).contiguous().numpy()
            assert splitbench.encode(view, "int8") == splitbench.encode(plain, "int8"), view.dtype
    assert splitbench.encode(list(tensor[None]), "int8") == [splitbench.encode(matrix, "int8")]


def test_tensors_that_cannot_be_read(matrix):
    with pytest.raises(ValueError, match="detach"):
        splitbench.encode(torch.ones(2, 3, requires_grad=True), "int8")
    with pytest.raises(ValueError, match="expected float16"):
        splitbench.encode(torch.ones(2, 3, dtype=torch.int32), "int8")
    with pytest.raises(ValueError, match="3 dimensions"):
        splitbench.encode(torch.ones(2, 3, 4), "int8")
    with pytest.raises(ValueError, match="0 x 4"):
        splitbench.encode(torch.ones(0, 4), "int8")


def test_a_hook_hands_on_what_the_codec_gives_back(matrix):
    batch = torch.from_numpy(np.stack([matrix, matrix[::-1]]))
    for kind in [torch.float32, torch.bfloat16]:
        layer, codec = Layer(), splitbench.Codec("int4")
        with CutHook(layer, codec) as hook:
            received, cache = layer(batch.to(kind))
        assert received.dtype == kind and cache == "cache"
        for row, sent in zip(received, batch.to(kind) * 2):
            expected = torch.from_numpy(codec.round_trip(sent)[0]).to(kind)
            assert torch.equal(row, expected) and not torch.equal(row, sent)
        assert hook.bytes_raw == 2 * batch.numel()
        assert hook.bytes_wire == sum(len(codec.encode(sent)) for sent in batch.to(kind) * 2)
        assert torch.equal(layer(batch)[0], batch * 2), "a removed hook does nothing"


def test_forward_and_generate_of_the_embedded_model():
    transformers = pytest.importorskip("transformers")
    from conftest import ROOT

    model = transformers.AutoModelForCausalLM.from_pretrained(ROOT / "models/pocket", dtype=torch.float32).eval()
    ids = torch.tensor([[0, 17, 200, 5, 63, 900, 41]])
    with torch.no_grad():
        plain = model(ids).logits
        with CutHook(model.model.layers[0], codec="noop"):
            assert torch.equal(model(ids).logits, plain)
        with CutHook(model.model.layers[0], codec="int8") as hook:
            moved = (model(ids).logits - plain).abs().max()
            assert 0 < moved < 1 and hook.bytes_raw == 2 * ids.numel() * 192
            hook.bytes_raw = 0
            tokens = model.generate(ids, max_new_tokens=5, min_new_tokens=5, do_sample=False)
            # The prompt, and each new token but the last.
            assert tokens.shape == (1, 12) and hook.bytes_raw == 2 * 11 * 192

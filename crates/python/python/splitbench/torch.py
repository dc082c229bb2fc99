"""A codec at the cut of a transformers model."""

from __future__ import annotations

from typing import Any

import torch

from ._native import Calibration, Codec


class CutHook:
    """Sends what a layer hands on through a codec and back: real packets, in `forward` and in `generate`.

    >>> hook = CutHook(model.model.layers[0], codec="int8")   # cut after layer 1
    >>> model.generate(**inputs)
    >>> hook.bytes_raw / hook.bytes_wire                      # how many times fewer bytes than f16
    >>> hook.remove()

    A sequence of the batch is one request. With a cache, `generate` sends the prompt as one matrix and each further token as
    a matrix of one row. Rows of padding are rows to it: use sequences of one length. Gradients do not pass.

    Args:
        layer: the last layer before the cut; it returns B x S x D, or a tuple that begins with it.
        codec: name with options, or a `splitbench.Codec`, which then has the other arguments.
        ratio, accounting, calibration: as of `splitbench.Codec`.
    """

    def __init__(
        self,
        layer: torch.nn.Module,
        codec: str | Codec = "int8",
        *,
        ratio: float = 8.0,
        accounting: str = "elements",
        calibration: Calibration | None = None,
    ) -> None:
        if isinstance(codec, str):
            codec = Codec(codec, ratio=ratio, accounting=accounting, calibration=calibration)
        self.codec = codec
        self.bytes_raw = 0
        """Bytes of all matrices in f16."""
        self.bytes_wire = 0
        """Bytes of all packets."""
        self._handle = layer.register_forward_hook(self._send)

    def remove(self) -> None:
        """Takes the hook out of the model."""
        self._handle.remove()

    def __enter__(self) -> CutHook:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _send(self, _layer: torch.nn.Module, _inputs: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        packets = self.codec.encode(list(hidden.detach().cpu()))
        self.bytes_raw += 2 * hidden.numel()
        self.bytes_wire += sum(map(len, packets))
        received = torch.stack([torch.from_numpy(array) for array in self.codec.decode(packets)]).to(hidden)
        return (received, *output[1:]) if isinstance(output, tuple) else received

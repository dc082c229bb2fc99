"""The part in Rust: what `splitbench` exports of it."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol, Union, overload

import numpy as np
from numpy.typing import NDArray

class _DLPack(Protocol):
    """A tensor in the processor's memory, such as torch's."""

    def __dlpack__(self) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...

Array = Union[NDArray[Any], _DLPack]
"""S tokens x D channels of float16, bfloat16 (ml_dtypes, torch), float32 or float64, in any layout."""
Packet = Union[bytes, bytearray, memoryview]
Accounting = Literal["elements", "wire"]
_Calibration = Union["Calibration", Array, Sequence[Array], None]

class OptionInfo:
    """One option of a codec."""

    @property
    def key(self) -> str:
        """The key, as in `name:key=value`."""
    @property
    def default(self) -> str | None:
        """The value meant where it is left out; None where it must be given."""
    @property
    def words(self) -> list[tuple[str, str]]:
        """Words it takes, with what each means; empty for a number or a command."""
    @property
    def range(self) -> tuple[float, float] | None:
        """Smallest and largest number; None for a word or a command."""
    @property
    def meaning(self) -> str:
        """One sentence on what it chooses."""

class CodecInfo:
    """What a codec says about itself."""

    @property
    def name(self) -> str:
        """The name, as in `encode(array, name)`."""
    @property
    def summary(self) -> str:
        """One sentence on what it keeps."""
    @property
    def takes_ratio(self) -> bool:
        """Whether a ratio steers how much it sends; if not, its format does."""
    @property
    def rows(self) -> Literal["local", "joint"]:
        """`local` where a row that comes back depends on that row alone, else `joint`."""
    @property
    def options(self) -> list[OptionInfo]:
        """Its options, in the order of the canonical form."""

class Report:
    """What one round trip came to, in the words of `splitbench codec --json`."""

    @property
    def codec(self) -> str:
        """The codec in its canonical form."""
    @property
    def shape(self) -> tuple[int, int]:
        """S tokens and D channels."""
    @property
    def accounting(self) -> Accounting:
        """What the ratio asked for counts."""
    @property
    def ratio_requested(self) -> float | None:
        """Compression ratio asked for; None for a codec of fixed rate."""
    @property
    def ratio_elements(self) -> float:
        """S * D over the numbers kept."""
    @property
    def bytes_raw(self) -> int:
        """Bytes of the matrix in f16, 2 * S * D."""
    @property
    def bytes_wire(self) -> int:
        """Bytes of the whole packet."""
    @property
    def ratio_wire(self) -> float:
        """`bytes_raw` over `bytes_wire`."""
    @property
    def rel_error(self) -> float:
        """||A - A'||_F / ||A||_F, A in f32, summed in f64."""
    @property
    def encode_us(self) -> float:
        """Microseconds to encode once, one thread, wall time."""
    @property
    def decode_us(self) -> float:
        """Microseconds to decode once, one thread, wall time."""

class Calibration:
    """What codecs learn before they are built; both sides of a codec need the same.

    Args:
        rows: activations of training rows, n x D, one array or a list.
        gradients: dL/dA of training rows, n x D, for `fwsvd`.
        next_weights: weights that read A, outputs x D each, such as `[q.weight, k.weight, v.weight]` of the layer after the
            cut, for `svd-llm:whiten=weights` and, beside rows, `awq`.

    Raises:
        ValueError: nothing was given, widths differ, or a value is not finite.
    """

    def __new__(
        cls,
        rows: Array | Sequence[Array] | None = None,
        *,
        gradients: Array | Sequence[Array] | None = None,
        next_weights: Array | Sequence[Array] | None = None,
    ) -> Calibration: ...
    @property
    def hidden(self) -> int:
        """Channels, D."""
    @property
    def rows(self) -> int:
        """Rows of activations that were learned from."""
    @property
    def sha256(self) -> str:
        """SHA-256 of all that was learned, in hexadecimal; both sides of a codec must have the same."""

class Codec:
    """A codec that is built once: it keeps its options, what it learned, and the program of `external`.

    Args:
        codec: name with options, such as "fc:band=centered" (`codecs()`).
        ratio: how many times smaller, at least 1; ignored by a codec of fixed rate.
        accounting: what the ratio counts, numbers ("elements") or bytes of the packet ("wire").
        calibration: what it learns from, a `Calibration` or rows (n x D), for codecs that learn.

    Raises:
        ValueError: unknown codec or option, a ratio below 1, or a calibration that is missing or not used.
    """

    def __new__(
        cls,
        codec: str,
        *,
        ratio: float = 8.0,
        accounting: Accounting = "elements",
        calibration: _Calibration = None,
    ) -> Codec: ...
    @property
    def codec(self) -> str:
        """The name with its options, in the canonical form."""
    @property
    def ratio(self) -> float:
        """Compression ratio asked for."""
    @property
    def accounting(self) -> Accounting:
        """What the ratio counts."""
    @overload
    def encode(self, array: Sequence[Array]) -> list[bytes]: ...
    @overload
    def encode(self, array: Array) -> bytes: ...
    @overload
    def decode(self, packet: Packet) -> NDArray[np.float32]: ...
    @overload
    def decode(self, packet: Sequence[Packet]) -> list[NDArray[np.float32]]: ...
    @overload
    def round_trip(self, array: Sequence[Array]) -> list[tuple[NDArray[np.float32], Report]]: ...
    @overload
    def round_trip(self, array: Array) -> tuple[NDArray[np.float32], Report]: ...

@overload
def encode(
    array: Sequence[Array],
    codec: str,
    *,
    ratio: float = 8.0,
    accounting: Accounting = "elements",
    calibration: _Calibration = None,
) -> list[bytes]: ...
@overload
def encode(
    array: Array,
    codec: str,
    *,
    ratio: float = 8.0,
    accounting: Accounting = "elements",
    calibration: _Calibration = None,
) -> bytes: ...
@overload
def decode(packet: Packet, codec: str | None = None, *, calibration: _Calibration = None) -> NDArray[np.float32]: ...
@overload
def decode(
    packet: Sequence[Packet], codec: str | None = None, *, calibration: _Calibration = None
) -> list[NDArray[np.float32]]: ...
@overload
def round_trip(
    array: Sequence[Array],
    codec: str,
    *,
    ratio: float = 8.0,
    accounting: Accounting = "elements",
    calibration: _Calibration = None,
) -> list[tuple[NDArray[np.float32], Report]]: ...
@overload
def round_trip(
    array: Array,
    codec: str,
    *,
    ratio: float = 8.0,
    accounting: Accounting = "elements",
    calibration: _Calibration = None,
) -> tuple[NDArray[np.float32], Report]: ...
def codecs() -> list[CodecInfo]:
    """All codecs, in the order of `splitbench list codecs`."""

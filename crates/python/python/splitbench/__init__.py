"""The codecs of splitbench on NumPy arrays and tensors.

An activation is a 2-D array A of S tokens by D channels. `encode` makes the bytes that cross the cut, `decode` reads them
on the other side, `round_trip` does both and reports what that cost. What takes one array takes a list too, one per
request: requests are encoded side by side. `docs/python.md` of splitbench explains it with examples.
"""

from ._native import (
    Calibration,
    Codec,
    CodecInfo,
    OptionInfo,
    Report,
    codecs,
    decode,
    encode,
    round_trip,
)
from ._rows import read_rows

__all__ = [
    "Calibration",
    "Codec",
    "CodecInfo",
    "OptionInfo",
    "Report",
    "codecs",
    "decode",
    "encode",
    "read_rows",
    "round_trip",
]

"""Whatever is wrong is a ValueError that says what was expected; nothing ends the interpreter."""

import random

import numpy as np
import pytest
import splitbench
from splitbench import Calibration, Codec


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_values_that_are_not_finite(value, kind):
    array = np.ones((3, 64), kind)
    array[2, 5] = value
    rows = np.random.default_rng(1).normal(size=(128, 64))
    for info in splitbench.codecs():
        if info.name in ["external", "token-ids", "fwsvd", "awq"]:
            continue
        try:
            codec = Codec(info.name)
        except ValueError:
            codec = Codec(info.name, calibration=rows)
        with pytest.raises(ValueError, match="token 2, channel 5"):
            codec.encode(array)


@pytest.mark.parametrize(
    "array, sentence",
    [
        (np.ones(5, "f4"), "1 dimensions: expected 2, tokens x channels"),
        (np.ones((2, 3, 4), "f4"), r"3 dimensions: expected 2.*list\(array\)"),
        (np.array(1.0), "0 dimensions"),
        (np.ones((0, 5), "f4"), "0 x 5 is outside 1 to"),
        (np.ones((5, 0), "f4"), "5 x 0 is outside 1 to"),
        (np.broadcast_to(np.float32(1), (1 << 20, 1 << 10)), "outside 1 to"),
        (np.ones((2, 3), "i4"), "int32: expected float16, bfloat16, float32 or float64"),
        (np.ones((2, 3), "c8"), "complex64: expected"),
        (np.ones((2, 3), "i2"), "int16: expected"),
        (np.array([[None]]), "object: expected"),
        (np.array([[1.0, 1e300]]), "row 0, column 1 is 1e300, beyond the range of f32"),
    ],
)
def test_arrays_of_another_shape_or_type(array, sentence):
    with pytest.raises(ValueError, match=sentence):
        splitbench.encode(array, "int8")
    with pytest.raises(ValueError, match="array 1 of the list: .*" + sentence):
        splitbench.encode([np.ones((2, 3), "f4"), array], "int8")


def test_what_is_no_array():
    for thing in [None, "text", 5, {}]:
        with pytest.raises(TypeError, match="expected a 2-D NumPy array or tensor"):
            splitbench.encode(thing, "int8")
    with pytest.raises(TypeError, match="array 0 of the list"):
        splitbench.encode([[1.0, 2.0]], "int8")
    with pytest.raises(TypeError, match="expected the bytes of a packet"):
        splitbench.decode("text")


def test_sentences_of_the_command_line(matrix):
    for sentence, call in [
        ('unknown codec "tokp" .did you mean "topk"', lambda: splitbench.encode(matrix, "tokp")),
        ("did you mean", lambda: Codec("fc:bond=corner")),
        ("ratio is a finite number of at least 1, got 0.5", lambda: splitbench.encode(matrix, "fc", ratio=0.5)),
        ("at least 1, got NaN", lambda: Codec("fc", ratio=float("nan"))),
        ('unknown accounting "wires"', lambda: Codec("fc", accounting="wires")),
        ("codec int8 uses none", lambda: Codec("int8", calibration=matrix)),
        ("codec klt learns from activations: give calibration=", lambda: Codec("klt")),
        ("codec fwsvd needs gradients", lambda: Codec("fwsvd")),
        ("codec awq needs the q, k and v weights", lambda: Codec("awq")),
        ("gradients of training rows", lambda: Codec("fwsvd", calibration=matrix)),
        ("192 channels", lambda: splitbench.encode(matrix[:, :64], "klt", calibration=matrix)),
        ("none was given", lambda: Calibration()),
        ("token ids", lambda: splitbench.encode(matrix, "token-ids")),
        ("the packet is of int8", lambda: splitbench.decode(splitbench.encode(matrix, "int8"), "fc")),
        ("calibration of 192 channels got gradients of 64", lambda: Calibration(matrix, gradients=matrix[:, :64])),
    ]:
        with pytest.raises(ValueError, match=sentence):
            call()


def test_hostile_packets(matrix):
    """Cut, grown, with other bytes: an error or an array of the stated shape, for every codec that reads without options."""
    chance = random.Random(3)
    small = matrix[:9, :32]
    rows = np.random.default_rng(1).normal(size=(128, 32))
    read = 0
    for info in splitbench.codecs():
        if info.name in ["external", "token-ids", "fwsvd", "awq"]:
            continue
        try:
            packet = splitbench.encode(small, info.name, ratio=2)
        except ValueError:
            packet = splitbench.encode(small, info.name, ratio=2, calibration=rows)
        for _ in range(300):
            bad = bytearray(packet)
            kind = chance.randrange(3)
            if kind == 0:
                bad = bad[: chance.randrange(len(bad))]
            elif kind == 1:
                bad += bytes(chance.randrange(1, 9))
            for _ in range(chance.randrange(1, 4) if kind == 2 else 0):
                # The sides stay small: a packet may truly be of 2^27 numbers, which take their time.
                at = chance.choice([*range(7), 7, 11, *range(15, len(bad))])
                bad[at] = chance.randrange(256)
            try:
                received = splitbench.decode(bytes(bad))
            except ValueError:
                continue
            read += 1
            assert received.dtype == np.float32 and np.isfinite(received).all()
    assert read > 100, "no changed payload was read: the test changes too much"
    for bad in [b"", b"SPLB", b"\x00" * 15, b"\xff" * 1000]:
        with pytest.raises(ValueError, match="packet field"):
            splitbench.decode(bad)

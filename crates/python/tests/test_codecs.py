"""Arrays in, packets and arrays out."""

import ml_dtypes
import numpy as np
import pytest
import splitbench
from splitbench import Calibration, Codec

LOCAL = ["noop", "int8", "int4", "fp8", "hadamard-int4", "q80", "q4_0", "topk", "fc", "zfp", "slicer"]


def test_a_packet_comes_back_as_the_round_trip_says(matrix):
    for codec in LOCAL:
        packet = splitbench.encode(matrix, codec, ratio=4)
        received, report = splitbench.round_trip(matrix, codec, ratio=4)
        assert isinstance(packet, bytes) and received.dtype == np.float32 and received.flags.c_contiguous
        np.testing.assert_array_equal(splitbench.decode(packet), received)
        np.testing.assert_array_equal(splitbench.decode(bytearray(packet), codec), received)
        np.testing.assert_array_equal(splitbench.decode(memoryview(packet)), received)
        assert report.codec == codec and report.shape == matrix.shape
        assert report.bytes_wire == len(packet) and report.bytes_raw == 2 * matrix.size
        assert report.ratio_wire == report.bytes_raw / report.bytes_wire
        error = np.linalg.norm(matrix.astype("f8") - received) / np.linalg.norm(matrix.astype("f8"))
        assert report.rel_error == pytest.approx(error, abs=1e-12)
        assert report.encode_us > 0 and report.decode_us > 0
        assert codec == "noop" or error > 0, f"{codec} was not used"


def test_types_and_layouts_make_the_packets_of_their_f32_copies(matrix):
    wide = np.zeros((130, 400), np.float32)
    wide[1:129:2, 3:387:2] = matrix
    unaligned = np.frombuffer(b"x" + matrix.tobytes(), np.uint8)[1:].view(np.float32).reshape(matrix.shape)
    assert not unaligned.flags.aligned
    arrays = {
        "f16": matrix.astype("f2"),
        "f64": matrix.astype("f8"),
        "bf16": matrix.astype(ml_dtypes.bfloat16),
        "big-endian": matrix.astype(">f4"),
        "Fortran": np.asfortranarray(matrix),
        "slice": wide[1:129:2, 3:387:2],
        "reversed": matrix[::-1, ::-1],
        "rows": matrix[10:20],
        "columns": matrix[:, 7:8],
        "one row twice": np.broadcast_to(matrix[3], (2, 192)),
        "unaligned": unaligned,
        "f16 columns": matrix.astype("f2")[:, ::3],
        "f64 reversed": matrix.astype("f8")[::-1],
        "read only": np.frombuffer(matrix.tobytes(), np.float32).reshape(matrix.shape),
    }
    for name, array in arrays.items():
        plain = np.ascontiguousarray(array.astype("f4"))
        for codec in ["noop", "int8"]:
            assert splitbench.encode(array, codec) == splitbench.encode(plain, codec), name
        np.testing.assert_array_equal(splitbench.decode(splitbench.encode(array, "noop")), plain, err_msg=name)


def test_a_list_is_the_packets_of_its_arrays_one_by_one(matrix):
    arrays = [matrix[:rows] for rows in range(1, 65)] + [matrix.astype("f2")]
    codec = Codec("fc:band=centered", ratio=4, accounting="wire")
    packets = codec.encode(arrays)
    assert packets == [codec.encode(array) for array in arrays]
    assert packets == splitbench.encode(tuple(arrays), "fc:band=centered", ratio=4, accounting="wire")
    for received, packet in zip(codec.decode(packets), packets):
        np.testing.assert_array_equal(received, codec.decode(packet))
    trips = codec.round_trip(arrays)
    assert [report.bytes_wire for _, report in trips] == [len(packet) for packet in packets]
    assert codec.encode([]) == [] and codec.encode([matrix]) == [codec.encode(matrix)]


def test_received_arrays_are_their_own_and_may_be_written(matrix):
    packet = splitbench.encode(matrix, "noop")
    first = splitbench.decode(packet)
    first[:] = 0
    second = splitbench.decode(packet)
    np.testing.assert_array_equal(second, matrix)
    assert not np.shares_memory(first, second) and first.flags.writeable
    # Memory of arrays that are gone is used again, that of arrays that are alive is not.
    kept = [splitbench.decode(packet) for _ in range(20)]
    del second
    for _ in range(20):
        splitbench.decode(packet)[:] = 7
    for array in kept:
        np.testing.assert_array_equal(array, matrix)


def test_codecs_that_learn(matrix):
    rows = np.random.default_rng(1).normal(size=(256, 192)).astype("f4")
    calibration = Calibration(rows)
    assert (calibration.hidden, calibration.rows) == (192, 256) and len(calibration.sha256) == 64
    assert Calibration([rows[:100], rows[100:]]).sha256 == calibration.sha256
    packet = splitbench.encode(matrix, "klt", ratio=4, calibration=calibration)
    assert packet == splitbench.encode(matrix, "klt", ratio=4, calibration=rows)
    received = splitbench.decode(packet, "klt", calibration=calibration)
    np.testing.assert_array_equal(received, Codec("klt", ratio=4, calibration=rows).round_trip(matrix)[0])
    with pytest.raises(ValueError, match="klt"):
        splitbench.decode(packet)
    # Read without what it learned from, as by the command.
    assert splitbench.decode(splitbench.encode(matrix, "asvd", calibration=rows), "asvd").shape == matrix.shape
    for codec, given in [
        ("fwsvd", Calibration(gradients=rows)),
        ("awq", Calibration(rows, next_weights=[rows, rows[:64]])),
        ("svd-llm:whiten=weights", Calibration(next_weights=rows)),
    ]:
        _, report = splitbench.round_trip(matrix, codec, calibration=given)
        assert 0 < report.rel_error < 1, codec


def test_codecs_say_what_they_are():
    infos = {info.name: info for info in splitbench.codecs()}
    assert len(infos) >= 29
    fc = infos["fc"]
    assert fc.takes_ratio and fc.rows == "joint" and "Fourier" in fc.summary and "fc" in repr(fc)
    band = fc.options[0]
    assert (band.key, band.default) == ("band", "mirrored") and "centered" in dict(band.words)
    assert not infos["int8"].takes_ratio and infos["int8"].rows == "local"
    assert next(option for option in infos["asvd"].options if option.key == "alpha").range == (0, 2)
    assert next(option for option in infos["external"].options if option.key == "cmd").default is None
    codec = Codec("fc:values=f16,band=mirrored", ratio=2.5, accounting="wire")
    assert (codec.codec, codec.ratio, codec.accounting) == ("fc", 2.5, "wire")
    assert repr(codec) == 'Codec("fc", ratio=2.5, accounting="wire")'


def test_stubs_and_docstrings_name_what_is_there():
    stubs = (__import__("pathlib").Path(splitbench.__file__).parent / "_native.pyi").read_text()
    for name in splitbench.__all__:
        thing = getattr(splitbench, name)
        assert thing.__doc__, name
        assert f"class {name}" in stubs or f"def {name}" in stubs or name == "read_rows"
        if isinstance(thing, type):
            for member in (member for member in vars(thing) if not member.startswith("_")):
                assert f"def {member}(" in stubs, f"{name}.{member}"
                assert getattr(thing, member).__doc__, f"{name}.{member}"

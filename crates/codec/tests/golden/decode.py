"""Decodes the packets beside it after docs/wire-format.md alone, and compares: python3 decode.py (NumPy)."""

import hashlib
import pathlib
import struct
import sys

import numpy as np

BOUND = 1e-6  # Relative, Frobenius: the program decodes in f32.

# What both sides have of the codecs that need it.
CALIBRATION = np.load(pathlib.Path(__file__).with_name("calibration.npy")).astype("f8")


def numbers(data, kind):
    if kind == 2:
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").astype("f8")
    return np.frombuffer(data, {0: "<f2", 1: "<f4"}[kind]).astype("f8")


def section(data, kind):
    (exponent,) = struct.unpack("<h", data[:2])
    return numbers(data[2:], kind) * 2.0**exponent


def coefficients(data, kind, count):
    if kind != 3:
        return section(data, kind)
    codes_at = 1 + 2 + 2 * -(-count // 32)
    steps = section(data[1:codes_at], 0).repeat(32)[:count]
    codes = rans(data[codes_at:], 256, count) if data[0] == 1 else np.frombuffer(data[codes_at:], "u1").astype(int)
    return signed(256)(codes) * steps


def sylvester(d):
    """Each row of a matrix times the block Walsh-Hadamard matrix of D channels."""
    n, hadamard = d & -d, np.ones((1, 1))
    while len(hadamard) < n:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    return np.kron(np.eye(d // n), hadamard / n**0.5)


def basis(n):
    """Rows are the waves of an orthonormal DCT-II."""
    waves = np.cos(np.pi / n * np.outer(np.arange(n), np.arange(n) + 0.5))
    return np.sqrt(np.where(np.arange(n) == 0, 1, 2) / n)[:, None] * waves


def dct_columns(c, s):
    """Columns of s values, of which the first coefficients are here."""
    return basis(s)[: len(c)].T @ c


def fc(body, kind, s, d):
    first, ks, kd = struct.unpack("<BII", body[:9])
    band, rotate = first & 15, first >> 4
    at = 17 if rotate == 2 else 9
    if band == 4:
        return dct_columns(coefficients(body[at:], kind, ks * kd).reshape(ks, kd), s) @ basis(d)[:kd]
    pairs = coefficients(body[at:], kind, 2 * ks * kd)
    block = (pairs[0::2] + 1j * pairs[1::2]).reshape(ks, kd)
    kept, held = np.zeros((s, d), complex), np.zeros((s, d))
    for i in range(ks):
        u = (i - ks // 2) % s if band == 2 else i
        kept[u, :kd], held[u, :kd] = block[i], 1
    if band > 0:
        mirror = lambda a: np.roll(a[::-1, ::-1], (1, 1), (0, 1))
        both = held + mirror(held)
        kept = (kept + np.conj(mirror(kept))) / np.maximum(both, 1)
    out = np.fft.ifft2(kept).real
    if rotate == 2:
        rms = np.sqrt((CALIBRATION**2).mean(0)).astype("<f4")
        assert body[9:17] == hashlib.sha256(rms.tobytes()).digest()[:8]
        return out * rms
    return out @ sylvester(d) if rotate == 1 else out


def fc_mask(body, kind, s, d):
    first, k = struct.unpack("<BI", body[:5])
    mask, cosine = first & 15, first >> 4
    at = 9 if mask == 1 else 5
    coding, size = struct.unpack("<BI", body[at : at + 5])
    at += 5
    numbers = {0: k, 1: struct.unpack("<I", body[5:9])[0], 2: s - 1}[mask]
    listed = positions(body[at : at + size], coding, numbers)
    width = d if cosine else d // 2 + 1
    whole = lambda u: cosine or u <= s // 2
    rows = [[(u, v) for v in (range(width) if whole(u) else range(1, (d - 1) // 2 + 1))] for u in range(s)]
    if mask == 2:
        widths = np.diff(np.concatenate([[-1], listed, [k + s - 1]])).astype(int) - 1
        kept = [place for row, w in zip(rows, widths) for place in row[:w]]
    else:
        kept = sum(rows, [])
        if mask == 0:
            kept = [kept[p] for p in listed]
        else:
            kept = [(u, v) for u, v in kept if v in listed and u + width in listed]
    assert len(kept) == k
    if cosine:
        c = np.zeros((s, d))
        c[tuple(np.transpose(kept))] = coefficients(body[at + size :], kind, k)
        return dct_columns(c, s) @ basis(d)
    pairs = coefficients(body[at + size :], kind, 2 * k)
    spectrum = np.zeros((s, d), complex)
    for (u, v), c in zip(kept, pairs[0::2] + 1j * pairs[1::2]):
        spectrum[-u, -v] = np.conj(c)
        spectrum[u, v] = c
    return np.fft.ifft2(spectrum).real


def fc_reading(body, kind, s, d):
    reading, p, ks, kd = struct.unpack("<BIII", body[:13])
    at = 21 if reading & 4 else 13
    row = d if reading & 2 else 0
    sent = coefficients(body[at:], kind, row + ks * kd * (1 if reading & 1 else 2))
    mean = np.zeros(d)
    if reading & 2:
        mean = sent[:d]
    elif reading & 4:
        mean = CALIBRATION.mean(0).astype("<f4")
        assert body[13:21] == hashlib.sha256(mean.tobytes()).digest()[:8]
    sent = sent[row:]
    if reading & 1:
        return (dct_columns(sent.reshape(ks, kd), p) @ basis(d)[:kd])[:s] + mean
    block = (sent[0::2] + 1j * sent[1::2]).reshape(ks, kd) * 2.0 ** round(np.log2(np.sqrt(p * d)))
    kept, spectrum = np.zeros((p, d), bool), np.zeros((p, d), complex)
    kept[:ks, :kd], spectrum[:ks, :kd] = True, block
    mirror = lambda x: np.roll(x[::-1, ::-1], (1, 1), (0, 1))
    other, conjugate = mirror(kept), np.conj(mirror(spectrum))
    spectrum = np.where(kept & other, (spectrum + conjugate) / 2, spectrum + conjugate)
    return np.fft.ifft2(spectrum).real[:s] + mean


def klt(body, kind, s, d):
    (r,) = struct.unpack("<I", body[:4])
    # The digest, 8 bytes, is of the program's own basis, which differs from this one in the last bits.
    _, vectors = np.linalg.eigh(CALIBRATION.T @ CALIBRATION)
    basis = vectors[:, ::-1].T
    basis *= np.sign(np.take_along_axis(basis, np.abs(basis).argmax(1)[:, None], 1))
    return coefficients(body[12:], kind, r * s).reshape(r, s).T @ basis[:r]


def positions(data, coding, k):
    bits = np.unpackbits(np.frombuffer(data, "u1"), bitorder="little")
    if coding == 255:
        return np.flatnonzero(bits)
    places, at, place = [], 0, -1
    for _ in range(k):
        ones = int(np.argmin(bits[at:]))
        at += ones + 1
        low = sum(int(bit) << j for j, bit in enumerate(bits[at : at + coding]))
        at += coding
        place += 1 + (ones << coding) + low
        places.append(place)
    return np.array(places)


def topk(body, kind, s, d):
    k, coding, size = struct.unpack("<IBI", body[:9])
    out = np.zeros(s * d)
    out[positions(body[9 : 9 + size], coding, k)] = coefficients(body[9 + size :], kind, k)
    return out.reshape(s, d)


def rans(data, symbols, count):
    coding, table, words = struct.unpack("<BII", data[:9])
    places = positions(data[9 : 9 + table], coding, symbols - 1)
    starts = np.concatenate([[0], places - np.arange(symbols - 1), [1 << 14]]).astype(int)
    stack = [int(word) for word in np.frombuffer(data[9 + table : 9 + table + words], "<u4")]
    x, out = (stack.pop() << 32) + stack.pop(), []
    for _ in range(count):
        q = x % (1 << 14)
        symbol = int(np.searchsorted(starts, q, side="right")) - 1
        out.append(symbol)
        x = (x >> 14) * int(starts[symbol + 1] - starts[symbol]) + q - int(starts[symbol])
        if x < 1 << 32:
            x = (x << 32) + stack.pop()
    assert x == 1 << 32 and not stack
    return np.array(out)


def e4m3(code):
    exponent, mantissa = (code >> 3) & 15, code & 7
    value = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10.0))
    return np.where(code > 127, -value, value)


def e5m2(code):
    exponent, mantissa = (code >> 2) & 31, code & 3
    value = np.where(exponent == 0, mantissa * 2.0**-16, (4 + mantissa) * 2.0 ** (exponent - 17.0))
    return np.where(code > 127, -value, value)


def quantiser(values, symbols, undo=lambda out, digest: out, digest_bytes=0):
    """`undo` takes rows back to their own channels, by what both sides share."""

    def decode(body, kind, s, d):
        group, coder = struct.unpack("<IB", body[:5])
        digest, body = body[5 : 5 + digest_bytes], body[:5] + body[5 + digest_bytes :]
        # One scale for the whole matrix: one row of all values, with one group.
        rows, d_all, group = (1, s * d, s * d) if group == 0 else (s, d, group)
        groups = -(-d_all // group)
        codes_at = 5 + 2 + rows * groups * (4 if kind == 1 else 2)
        data = body[codes_at:]
        if coder & 15 == 1:
            codes = rans(data, symbols, s * d)
        else:
            codes = np.frombuffer(data, "u1").astype(int)
            if symbols == 16:
                codes = np.stack([codes & 15, codes >> 4], 1).ravel()[: s * d]
        scales = section(body[5:codes_at], kind).reshape(rows, groups).repeat(group, axis=1)[:, :d_all]
        grid = e5m2 if coder & 16 else values
        return undo(grid(codes).reshape(s, d) * scales.reshape(s, d), digest)

    return decode


def awq_scales(out, digest):
    mean = np.abs(CALIBRATION).mean(0)
    for alpha in range(20):
        powers = np.maximum((mean / mean.mean()) ** (alpha / 20), 1e-4)
        scales = (powers / np.sqrt(powers.max() * powers.min())).astype("<f4")
        # The digest says which alpha the program found best.
        if hashlib.sha256(scales.tobytes()).digest()[:8] == digest:
            return out * scales
    raise ValueError("no alpha has this digest")


def learned_rotation(out, digest):
    """The digest is of the program's own rotation, which differs from this one in the last bits."""
    x, d = CALIBRATION / np.linalg.norm(CALIBRATION, axis=1, keepdims=True), out.shape[1]
    r = sylvester(d)
    for t in range(200):
        batch = x[np.arange(64 * t, 64 * t + 64) % len(x)]
        y = batch @ r
        g = batch.T @ (y**7 * (y**8).sum(1, keepdims=True) ** (2 / 8 - 1))
        skew = g @ r.T - r @ g.T
        a = 0.05 * (1 + np.cos(np.pi * t / 200)) / 2 * np.sqrt(d) / np.linalg.norm(skew)
        r = np.linalg.solve(np.eye(d) + a / 2 * skew, (np.eye(d) - a / 2 * skew) @ r)
    return out @ r.astype("f4").T


def atom(body, kind, s, d):
    group, outliers = struct.unpack("<II", body[:8])
    order = np.argsort((CALIBRATION**2).sum(0), kind="stable")
    assert body[8:16] == hashlib.sha256(order.astype("<f4").tobytes()).digest()[:8]
    w, others = 4 if kind == 1 else 2, d - outliers
    groups = -(-others // group)
    codes = 16 + 2 + w * (s if outliers else 0)
    scales = codes + s * outliers
    halves = scales + 2 + w * s * groups
    out = np.empty((s, d))
    eight = np.frombuffer(body[codes:scales], "i1").reshape(s, outliers)
    out[:, order[others:]] = eight * section(body[16:codes], kind)[:, None]
    four = np.frombuffer(body[halves:], "u1").astype(int)
    four = signed(16)(np.stack([four & 15, four >> 4], 1).ravel()[: s * others]).reshape(s, others)
    steps = section(body[scales:halves], kind).reshape(s, groups).repeat(group, axis=1)[:, :others]
    out[:, order[:others]] = four * steps
    return out


def agile_quant(body, kind, s, d):
    n, group, bits = struct.unpack("<IIB", body[:9])
    at = 9 + -(-s // 8)
    kept = np.unpackbits(np.frombuffer(body[9:at], "u1"), bitorder="little")[:s].astype(bool)
    groups = -(-d // group)
    codes_at = at + 2 + n * groups * (4 if kind == 1 else 2)
    codes = np.frombuffer(body[codes_at:], "u1").astype(int)
    if bits == 4:
        codes = np.stack([codes & 15, codes >> 4], 1).ravel()[: n * d]
    scales = section(body[at:codes_at], kind).reshape(n, groups).repeat(group, axis=1)[:, :d]
    rows = signed(1 << bits)(codes).reshape(n, d) * scales
    out = np.zeros((s, d))
    out[kept] = rows[: kept.sum()]
    if n > kept.sum():
        out[~kept] = rows[-1]
    return out


def signed(symbols):
    return lambda codes: np.where(codes >= symbols // 2, codes - symbols, codes)


def stream(data):
    """Takes numbers of a few bits each, lowest bit first."""
    bits, at = np.unpackbits(np.frombuffer(data, "u1"), bitorder="little"), 0

    def take(width):
        nonlocal at
        at += width
        return sum(int(bit) << j for j, bit in enumerate(bits[at - width : at]))

    return take


def middle(range, code, width):
    return range[0] + (range[1] - range[0]) * (code + 0.5) / 2**width


def threshold_split(body, kind, s, d):
    k, coding, size, _ = struct.unpack("<IBII", body[:13])
    w = 4 if kind == 1 else 2
    above, ranges = 13 + size, 13 + size + 2 + w * k
    kept = dict(zip(positions(body[13:above], coding, k), section(body[above:ranges], kind)))
    codes = ranges + 2 + 2 * w * s
    ends = section(body[ranges:codes], kind).reshape(s, 2)
    take = stream(body[codes:])
    widths = [take(4) for _ in range(s)]
    value = lambda t, p: kept[p] if p in kept else middle(ends[t], take(widths[t]), widths[t])
    return np.array([value(p // d, p) for p in range(s * d)]).reshape(s, d)


def slicer(body, kind, s, d):
    k, positive, negative, coding, size, _ = struct.unpack("<IBBBII", body[:15])
    blocks = positive + negative
    codes = 15 + size + 2 + 2 * blocks * (4 if kind == 1 else 2)
    ends = section(body[15 + size : codes], kind).reshape(blocks, 2)
    take = stream(body[codes:])
    widths = [take(4) for _ in range(blocks)]
    out = np.zeros(s * d)
    for p in positions(body[15 : 15 + size], coding, k):
        b = take((blocks - 1).bit_length())
        out[p] = middle(ends[b], take(widths[b]), widths[b]) * (1 if b < positive else -1)
    return out.reshape(s, d)


def sparse_rans(body, kind, s, d):
    group, most, places, nonzero, largest = struct.unpack("<IBBIB", body[:11])
    groups = -(-d // group)
    zeros_at = 11 + 2 + s * groups * (4 if kind == 1 else 2)
    data = body[zeros_at + s * groups :]

    def coded(symbols, count):
        nonlocal data
        _, table, words = struct.unpack("<BII", data[:9])
        out, data = rans(data, symbols, count), data[9 + table + words :]
        return out

    counts = coded(places + 1, -(-s * d // places))
    columns = coded(places, nonzero) if places > 1 else np.zeros(nonzero, int)
    symbols = coded(max(largest, 2), nonzero) + 1
    assert not data and counts.sum() == nonzero
    distance = np.zeros(len(counts) * places, int)
    distance[np.arange(len(counts)).repeat(counts) * places + columns] = np.where(symbols % 2, -(symbols + 1) // 2, symbols // 2)
    per_group = lambda values: np.reshape(values, (s, groups)).repeat(group, axis=1)[:, :d]
    zeros = per_group(np.frombuffer(body[zeros_at : zeros_at + s * groups], "u1").astype(int))
    integers = (zeros + distance[: s * d].reshape(s, d)) % 256
    assert integers.max() <= most
    return (integers - zeros) * per_group(section(body[11:zeros_at], kind))


def low_rank(body, kind, s, d):
    (r,) = struct.unpack("<I", body[:4])
    middle = 4 + 2 + s * r * (4 if kind == 1 else 2)
    return section(body[4:middle], kind).reshape(s, r) @ section(body[middle:], kind).reshape(r, d)


def token_ids(body, kind, s, d):
    (vocabulary,) = struct.unpack("<I", body[:4])
    take = stream(body[4:])
    return np.array([take((vocabulary - 1).bit_length()) for _ in range(s)])[:, None]


def zfp(body, kind, s, d):
    # By the C library: the packet has its stream, without its header.
    tolerance, _ = struct.unpack("<hI", body[:6])
    data = zfpy._decompress(body[6:], zfpy.type_float, (s, d), tolerance=2.0 ** (tolerance // 8))
    return data.astype("f8") / np.float32(2.0 ** (-(tolerance % 8) / 8))


def noop(body, kind, s, d):
    if kind == 1:
        return numbers(body, kind).reshape(s, d)
    data = body[1:]
    if body[0] == 1:
        high, low = rans(data[: -s * d], 256, s * d), np.frombuffer(data[-s * d :], "u1").astype(int)
        turned = high * 256 + low
        data = ((turned >> 1) | (turned & 1) << 15).astype("<u2").tobytes()
    return numbers(data, kind).reshape(s, d)


def ggml(codes):
    """Blocks of a scale and codes, as the function reads them."""

    def decode(body, kind, s, d):
        blocks = np.frombuffer(body, "u1").reshape(s * -(-d // 32), -1)
        scales = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype("f8")
        return (codes(blocks[:, 2:].astype(int)) * scales).reshape(s, -1)[:, :d]

    return decode


def mask(data, bits):
    return np.flatnonzero(np.unpackbits(np.frombuffer(data[: -(-bits // 8)], "u1"), bitorder="little")[:bits])


def bell(quarters):
    """Of one spread, 2^(quarters / 4) steps: frequencies of 4096 by integer from -64 (the escape) on, what magnitudes come
    back as, and how many lowest bits are plain."""
    plain = -(-max(quarters - 11, 0) // 4)
    spread = 2.0 ** (max(quarters - 4 * plain, -20) / 4)
    t = (np.arange(0, 65) - 0.4) / spread
    x = t / np.sqrt(4 + t * t)
    below, above = 0.5 + 0.75 * (x - x**3 / 3), 0.5 * (1 + t * t / 4) ** -1.5
    share = np.diff(below)[1:]
    frequency = np.floor(share * 4096 + 0.5).astype(int)
    zero = int((2 * below[1] - 1) * 4096)
    escape = max(4096 - 2 * frequency.sum() - zero, 1)
    middle = 4096 - 2 * frequency.sum() - escape
    mean = -np.diff(above)[1:] / np.maximum(share, 1e-9) * spread
    magnitude = np.arange(1, 64)
    near = (share > 1e-9) & (np.abs(mean - magnitude - 0.1) <= 0.5)
    return np.concatenate([[escape], frequency[::-1], [middle], frequency]), [0, *np.where(near, mean, magnitude)], plain


def best(body, kind, s, d):
    coded, plain_bytes, local, smallest = struct.unpack("<II8xBh", body[:19])
    levels = np.frombuffer(body[19:], "<i2", s if local else 1).astype(int)
    at = 19 + 2 * len(levels)
    row_sizes = np.frombuffer(body[at:], "u1", s).astype(int)
    words, bits = body[at + s : at + s + coded], body[at + s + coded :]
    assert len(bits) == plain_bytes
    # What calibration tells: the digest names the basis too, whose last bits differ from the program's; both are tried.
    size = 2.0 ** (np.floor(np.log2(np.sqrt((CALIBRATION**2).mean(1))) * 8 + 1e-9) / 8)
    for basis in [np.eye(d), principal_directions()]:
        known = CALIBRATION / size[:, None] @ basis
        mean = known.mean(0)
        spread = np.abs(known - mean).mean(0)
        spread = np.maximum(spread, 1e-3 * spread.mean())
        weight = (spread / spread.mean()) ** -0.25 if basis[0, 0] == 1 else np.ones(d)
        octaves = np.floor(np.log2(spread * weight) * 256 + 1e-9).astype(int)
        try:
            values = bell_values(words, bits, (s, d), levels, octaves)
        except (AssertionError, IndexError):
            continue
        rows = (values / weight + mean) @ basis.T
        return rows * np.where(row_sizes == 0, 0, 2.0 ** ((smallest + row_sizes - 1) / 8))[:, None]
    raise ValueError("no basis reads it")


def principal_directions():
    _, vectors = np.linalg.eigh(CALIBRATION.T @ CALIBRATION / len(CALIBRATION))
    vectors = vectors[:, ::-1]
    return vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(vectors.shape[1])])


def bell_values(words, bits, shape, levels, octaves):
    s, d = shape
    turns = next(t for t, most in [(1, 1024), (2, 8192), (4, 16384), (8, 65536), (16, 2**60)] if s * d < most)
    states = [int(v) for v in np.frombuffer(words[: 4 * turns], "<u4")]
    words = [int(v) for v in np.frombuffer(words[4 * turns :], "<u2")]
    number, out = int.from_bytes(bits, "little"), np.empty(shape)

    def take(count):
        nonlocal number
        low = number & ((1 << count) - 1)
        number >>= count
        return low

    for row in range(s):
        level = levels[row if len(levels) > 1 else 0]
        tables, symbols = [bell(int(n - level + 32) // 64) for n in octaves], []
        for channel, (frequency, _, _) in enumerate(tables):
            start = np.concatenate([[0], np.cumsum(frequency)])
            turn = (row * d + channel) & (turns - 1)
            place = states[turn] & 4095
            symbol = int(np.searchsorted(start, place, "right")) - 1
            states[turn] = int(frequency[symbol]) * (states[turn] >> 12) + place - int(start[symbol])
            if states[turn] < 1 << 15:
                states[turn] = states[turn] << 16 | words.pop()
            symbols.append(symbol)
        integers = [symbol - 64 for symbol in symbols]
        for channel in (c for c in range(d) if symbols[c] == 0):
            negative, length = take(1), take(5)
            integers[channel] = take(length) * (-1 if negative else 1)
        for channel, (_, means, plain) in enumerate(tables):
            integer = integers[channel]
            if plain:
                integer = (integer << plain) + take(plain) - (1 << plain >> 1)
            coded = plain == 0 and symbols[channel] != 0
            value = np.sign(integer) * means[abs(integer)] if coded else integer
            out[row, channel] = value * 2.0 ** (level / 256)
    assert not words and all(state == 1 << 15 for state in states) and number == 0
    return out


def sparse_v1(body, kind, s, d):
    out, kept = np.zeros((s, d)), mask(body, d)
    out[:, kept] = numbers(body[-(-d // 8) :], kind).reshape(s, -1)
    return out


def qsparse8_v1(body, kind, s, d):
    (group,) = struct.unpack("<I", body[:4])
    groups, at = -(-d // group), 4 + -(-d // 8)
    kept, sent = mask(body[4:], d), mask(body[at:], groups)
    at += -(-groups // 8)
    codes = np.frombuffer(body[at : at + s * len(kept)], "u1").reshape(s, -1)
    pairs = numbers(body[at + s * len(kept) :], kind).reshape(2, s, -1)
    scales, biases = pairs[:, :, np.searchsorted(sent, kept // group)]
    out = np.zeros((s, d))
    out[:, kept] = codes * scales + biases
    return out


def fcanet(body, kind, s, d):
    (width,) = struct.unpack("<I", body[:4])
    groups, at = -(-d // width), 4 + -(-s * -(-d // width) // 8)
    kept = np.zeros((s, groups), bool)
    kept.ravel()[mask(body[4:at], s * groups)] = True
    held, c = kept.repeat(width, axis=1)[:, :d], np.zeros((s, d))
    c[held] = coefficients(body[at:], kind, held.sum())
    return dct_columns(c, s)


def dynamic_pruning(body, kind, s, d):
    (block,) = struct.unpack("<I", body[:4])
    c = topk(body[4:], kind, s, d)
    parts = [c[:, at : at + block] for at in range(0, d, block)]
    return np.concatenate([part @ basis(part.shape[1]) for part in parts], 1)


def cobla(body, kind, s, d):
    (width,) = struct.unpack("<I", body[:4])
    parts = [min(width, d - at) for at in range(0, d, width)]
    at, w = 4 + 4 * len(parts), 4 if kind == 1 else 2
    ranks = struct.unpack(f"<{len(parts)}I", body[4:at])
    middle = at + 2 + w * s * sum(ranks)
    left, right, out = section(body[at:middle], kind), section(body[middle:], kind), []
    for rank, part in zip(ranks, parts):
        out.append(left[: s * rank].reshape(s, rank) @ right[: rank * part].reshape(rank, part))
        left, right = left[s * rank :], right[rank * part :]
    return np.concatenate(out, 1)


def split_fine_tuning(body, kind, s, d):
    first, k, coding, size = struct.unpack("<BIBI", body[:10])
    bits, at = first & 15, 10 + size
    kept, codes_at = positions(body[10:at], coding, k), at + 4 + 4 * s
    magnitudes = np.frombuffer(body[at:codes_at], "<f4").astype("f8")
    take = stream(body[codes_at:])
    codes = rans(body[codes_at:], 1 << bits, k) if first & 16 else np.array([take(bits) for _ in range(k)])
    levels, least = 1 << bits - 1, magnitudes[0]
    out = np.zeros(s * d)
    step = (magnitudes[1:][kept // d] - least) / (levels - 1)
    out[kept] = (least + step * (codes % levels)) * np.where(codes < levels, 1, -1)
    return out.reshape(s, d)


DECODERS = {
    **{0: noop, 1: fc, 2: topk, 3: low_rank, 4: low_rank, 5: low_rank, 6: low_rank, 7: low_rank},
    **{8: quantiser(signed(256), 256), 9: quantiser(signed(16), 16), 10: quantiser(e4m3, 256)},
    11: quantiser(signed(16), 16, lambda out, _: out @ sylvester(out.shape[1])),
    **{40: quantiser(signed(16), 16, awq_scales, 8), 41: quantiser(signed(16), 16, learned_rotation, 8)},
    **{42: atom, 43: agile_quant, 64: best},
    **{60: fcanet, 61: dynamic_pruning, 62: cobla, 63: split_fine_tuning},
    **{12: threshold_split, 13: slicer, 14: sparse_rans, 16: fc_mask, 17: klt, 18: token_ids, 21: fc_reading},
    **{22: ggml(signed(256)), 23: ggml(lambda codes: np.concatenate([codes & 15, codes >> 4], 1) - 8)},
    **{24: sparse_v1, 25: qsparse8_v1},
}

try:
    import zfpy

    DECODERS[19] = zfp
except ImportError:
    pass

failed = 0
for path in sorted(pathlib.Path(__file__).parent.glob("*.bin")):
    packet = path.read_bytes()
    magic, version, codec, kind, s, d = struct.unpack("<4sBBBII", packet[:15])
    assert (magic, version) == (b"SPLB", 1), path
    if codec not in DECODERS:
        print(f"{path.stem}: codec {codec} is not known here")
        continue
    expected = np.load(path.with_suffix(".npy")).astype("f8")
    error = np.linalg.norm(DECODERS[codec](packet[15:], kind, s, d) - expected) / np.linalg.norm(expected)
    failed += int(error > BOUND)
    print(f"{path.stem}: {error:.1e}")
sys.exit(min(failed, 1))

"""Write NIST SPHERE files for tests, as on LDC's discs.

The shorten encoder follows Robinson's report (CUED/F-INFENG/TR.156): blocks of 256
samples, polynomial predictors of order 0 to 3, Rice codes. It is lossless.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

BLOCK = 256
DIFFERENCES, QUIT, BLOCK_SIZE, ZERO = (0, 1, 2, 3), 4, 5, 8  # commands
COMMAND_BITS, ENERGY_BITS, LONG_BITS = 2, 3, 2
TYPE_INT16_LOW_FIRST = 5


class _Bits:
    """Unary-and-binary codes, collected and packed together."""

    def __init__(self) -> None:
        self.zeros: list[np.ndarray] = []
        self.values: list[np.ndarray] = []
        self.widths: list[np.ndarray] = []

    def put(self, values: int | np.ndarray, width: int) -> None:
        """Rice codes of unsigned values: the upper part in unary, ``width`` bits as they are."""
        values = np.atleast_1d(np.asarray(values, np.int64))
        self.zeros.append(values >> width)
        self.values.append(values & ((1 << width) - 1))
        self.widths.append(np.full(len(values), width))

    def put_long(self, value: int) -> None:
        """A number preceded by its width."""
        width = int(value).bit_length()
        self.put(width, LONG_BITS)
        self.put(value, width)

    def packed(self) -> bytes:
        """All codes, high bit first, padded to words of 32 bits."""
        zeros, values, widths = map(np.concatenate, (self.zeros, self.values, self.widths))
        ends = np.cumsum(zeros + 1 + widths)
        bits = np.zeros(-(-int(ends[-1]) // 32) * 32, np.uint8)
        bits[ends - widths - 1] = 1
        for place in range(int(widths.max())):
            chosen = widths > place
            bits[ends[chosen] - 1 - place] = (values[chosen] >> place) & 1
        return np.packbits(bits).tobytes()


def shorten(samples: np.ndarray) -> bytes:
    """Compress int16 samples, shape (frames, channels), as shorten 2.00 does."""
    bits = _Bits()
    for value in (TYPE_INT16_LOW_FIRST, samples.shape[1], BLOCK, 0, 4, 0):
        bits.put_long(value)
    history = np.zeros((3, samples.shape[1]), np.int64)
    padded = np.concatenate([history, samples.astype(np.int64)])
    size = BLOCK
    for start in range(0, len(samples), BLOCK):
        block = padded[start : start + 3 + BLOCK]
        if len(block) - 3 != size:
            size = len(block) - 3
            bits.put(BLOCK_SIZE, COMMAND_BITS)
            bits.put_long(size)
        for channel in block.T:
            _put_block(bits, channel)
    bits.put(QUIT, COMMAND_BITS)
    return b"ajkg\x02" + bits.packed()


def _put_block(bits: _Bits, samples: np.ndarray) -> None:
    """One block of one channel, given the three samples before it."""
    if not samples[3:].any():
        bits.put(ZERO, COMMAND_BITS)
        return
    # order 0 needs the running mean of earlier blocks: never chosen
    residuals = {order: np.diff(samples, order)[3 - order :] for order in DIFFERENCES[1:]}
    order = min(residuals, key=lambda each: int(np.abs(residuals[each]).sum()))
    residual = residuals[order]
    width = max(0, int(np.log2(np.abs(residual).mean() * 0.69 + 1e-9)))
    bits.put(order, COMMAND_BITS)
    bits.put(width, ENERGY_BITS)
    bits.put(np.where(residual < 0, ~residual << 1 | 1, residual << 1), width + 1)


def header(fields: dict[str, int | str], size: int = 1024) -> bytes:
    """A SPHERE header with these fields."""
    lines = ["NIST_1A", f"{size:7d}"]
    for name, value in fields.items():
        kind = "-i" if isinstance(value, int) else f"-s{len(value)}"
        lines.append(f"{name} {kind} {value}")
    content = "\n".join([*lines, "end_head", ""]).encode("latin-1")
    return content + b" " * (size - len(content))


def sphere_bytes(
    samples: np.ndarray, rate: int = 16000, coding: str = "pcm", **changes: int | str | None
) -> bytes:
    """A SPHERE file of int16 samples, shape (frames,) or (frames, channels).

    Args:
        samples: for ``ulaw`` and ``alaw`` the codes themselves, uint8.
        rate: in Hz.
        coding: as ``sample_coding`` writes it.
        changes: header fields with other values; None leaves one out.
    """
    samples = samples[:, None] if samples.ndim == 1 else samples
    order = changes.get("sample_byte_format", "01")
    fields: dict[str, int | str | None] = {
        "database_id": "wsj0",
        "channel_count": samples.shape[1],
        "sample_count": len(samples),
        "sample_rate": rate,
        "sample_n_bytes": samples.dtype.itemsize,
        "sample_byte_format": "01" if samples.dtype.itemsize == 2 else "1",
        "sample_sig_bits": 8 * samples.dtype.itemsize,
        "sample_checksum": int(samples.astype(np.int64).sum()) % 65536,
        "sample_coding": coding,
    }
    fields |= changes
    given = {name: value for name, value in fields.items() if value is not None}
    if "shorten" in coding:
        body = shorten(samples)
    elif samples.dtype.itemsize == 2:
        body = samples.astype(">i2" if order == "10" else "<i2").tobytes()
    else:
        body = samples.tobytes()
    return header(given) + body


def write_sphere(path: Path, samples: np.ndarray, *arguments, **changes) -> Path:
    """Write `sphere_bytes` to a file, and make its folder if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(sphere_bytes(samples, *arguments, **changes))
    return path

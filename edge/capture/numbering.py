"""Finding a missing picture in an H.264 stream by its own numbering, without decoding.

FFmpeg's decoder fills a missing reference picture by copying the one before and says nothing: what is then shown was
never seen. `frame_num` in the slice header (ITU-T H.264, 7.4.3) counts reference pictures: a gap shows the loss.
Not judged: interlaced streams, and those that declare gaps to be normal. H.265's decoder notices by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_START = re.compile(b"\x00\x00\x01")
_HEADER_BYTES = 64  # of one unit; what is read of a slice or of a parameter set up to its size lies within
_SLICES = (1, 5)
_PARAMETERS = 7
_WITH_CHROMA = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}  # profiles, 7.3.2.1.1
_WRONG_GROUPS_LIMIT = 10  # in a row: this encoder cannot count, and is not judged by it


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a sequence parameter set says about numbering."""

    modulus: int  # frame_num counts up to here
    separate_planes: bool
    judged: bool  # frames only, and gaps are a loss


class Numbering:
    """Feed it every access unit (Annex B) of a stream in order; it says where pictures are missing."""

    def __init__(self, extradata: bytes | None) -> None:
        self._parameters: Parameters | None = None
        self._expected: int | None = None
        self._group_wrong = False
        self._wrong_groups = 0
        for unit in _units(extradata or b""):
            self._learn(unit)

    def misses(self, data: bytes) -> bool:
        """Whether a picture is missing before this one. Damaged headers count as no answer."""
        for unit in _units(data):
            kind = unit[0] & 31
            if kind == _PARAMETERS:
                self._learn(unit)
            elif kind in _SLICES:
                return self._follow(unit, is_idr=kind == 5)
        return False

    def forget(self) -> None:
        """After a fault that is already known: numbers count again from the next picture on."""
        self._expected = None

    def _learn(self, unit: bytes) -> None:
        if unit[0] & 31 == _PARAMETERS:
            self._parameters = read_parameters(unit) or self._parameters

    def _follow(self, unit: bytes, *, is_idr: bool) -> bool:
        if self._parameters is None or not self._parameters.judged:
            return False
        number = _frame_number(unit, self._parameters)
        if is_idr:
            self._wrong_groups = self._wrong_groups + 1 if self._group_wrong else 0
            self._group_wrong = False
        if number is None:
            return False
        modulus = self._parameters.modulus
        before = self._expected
        is_reference = bool(unit[0] >> 5 & 3)
        if is_reference or before is None:
            self._expected = (number + is_reference) % modulus
        # A second unit with the number before, such as a repeated one, changes nothing that was shown.
        fits = is_idr or before is None or number in (before, (before - 1) % modulus)
        self._group_wrong |= not fits
        return not fits and self._wrong_groups < _WRONG_GROUPS_LIMIT


def read_parameters(unit: bytes) -> Parameters | None:
    """A sequence parameter set (7.3.2.1.1), None where it is damaged or too long to be one."""
    bits = _Bits(unit)
    try:
        profile = bits.take(8)
        bits.take(16)  # constraints, level
        bits.golomb()
        separate = False
        if profile in _WITH_CHROMA:
            separate = _skip_chroma(bits)
        modulus = 1 << (bits.golomb() + 4)
        _skip_order(bits)
        bits.golomb()  # reference frames
        gaps = bits.take(1)
        bits.golomb()  # width
        bits.golomb()  # height
        return Parameters(modulus=modulus, separate_planes=separate, judged=bool(bits.take(1)) and not gaps)
    except EOFError:
        return None


def _skip_chroma(bits: _Bits) -> bool:
    """Reads up to the end of the scaling lists; whether the colour planes are coded apart."""
    chroma = bits.golomb()
    separate = chroma == 3 and bool(bits.take(1))
    bits.golomb()
    bits.golomb()
    bits.take(1)
    if bits.take(1):
        for row in range(12 if chroma == 3 else 8):
            if bits.take(1):
                _skip_scaling_list(bits, 16 if row < 6 else 64)
    return separate


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed_golomb()) % 256
        last = following or last


def _skip_order(bits: _Bits) -> None:
    """The picture order count's way of coding."""
    kind = bits.golomb()
    if kind == 0:
        bits.golomb()
    elif kind == 1:
        bits.take(1)
        bits.golomb()
        bits.golomb()
        for _ in range(min(bits.golomb(), 255)):
            bits.golomb()


def _frame_number(unit: bytes, parameters: Parameters) -> int | None:
    bits = _Bits(unit)
    try:
        bits.golomb()  # first macroblock
        bits.golomb()  # slice type
        bits.golomb()  # picture parameter set
        if parameters.separate_planes:
            bits.take(2)
        return bits.take(parameters.modulus.bit_length() - 1)
    except EOFError:
        return None


def _units(data: bytes) -> Iterator[bytes]:
    """The beginning of each unit of a stream in Annex B."""
    for start in _START.finditer(data):
        begin = start.end()
        if begin < len(data):
            yield data[begin : begin + _HEADER_BYTES]


class _Bits:
    """The payload of a unit bit by bit (7.2, 9.1). EOFError behind its end."""

    def __init__(self, unit: bytes) -> None:
        payload = unit[1:].replace(b"\x00\x00\x03", b"\x00\x00")
        self._left = len(payload) * 8
        self._value = int.from_bytes(payload, "big")

    def take(self, count: int) -> int:
        if count > self._left:
            raise EOFError
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def golomb(self) -> int:
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 32:
                raise EOFError
        return (1 << zeros) - 1 + self.take(zeros)

    def signed_golomb(self) -> int:
        code = self.golomb()
        return (code + 1) // 2 if code % 2 else -(code // 2)

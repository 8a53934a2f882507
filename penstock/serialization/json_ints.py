"""Integers of more than 64 bits in JSON, which orjson reads as floats and says nothing.

It has no option for that, and to look at what it returned, or at each line, would cost as much as it does. So the text
is looked at, many lines at once: eight bytes at a time for eight digits in a row (a thirtieth of what reading costs),
and where there are some, for a number that is too long. Lines among which there is one are read by Python's json.
"""

from __future__ import annotations

import re

import numpy as np

__all__ = ["has_wide"]

_HIGH, _DIGITS = np.uint64(0xF0F0F0F0F0F0F0F0), np.uint64(0x3030303030303030)  # those of 0-9, and of six more
_NUMBER = re.compile(rb"-?[0-9]{19,21}")


def has_wide(text: bytes) -> bool:
    """Whether there may be an integer in JSON that is below -2**63, or above 2**64 - 1.

    It is not taken for one in a string, if it begins that; elsewhere in a string it is.

    Example:
        >>> has_wide(b'[18446744073709551615, 0.12345678901234567890]'), has_wide(b'[18446744073709551616]')
        (False, True)
    """
    words = np.frombuffer(text, np.uint64, len(text) // 8)  # 19 digits in a row have one of these in them
    if not ((words & _HIGH) == _DIGITS).any():
        return False
    data = np.frombuffer(text, np.uint8)
    digit = (data - np.uint8(48)) < 10
    row = digit
    for more in (1, 2, 4, 8, 3):  # where 2, 4, 8, 16, 19 digits in a row begin
        row = row[more:] & row[:-more]
    starts = np.flatnonzero(row)
    if not len(starts):
        return False
    before = np.where(starts == 0, np.uint8(10), data[starts - 1])
    twenty = np.append(digit, False)[starts + 19]
    first = (before - np.uint8(48) >= 10) & (before != ord(".")) & (before != ord('"'))
    minus = before == ord("-")
    for at in (starts - minus)[first & (twenty | minus)].tolist():
        found = _NUMBER.match(text, at)
        if found is not None and not -(2**63) <= int(found[0]) < 2**64:
            return True
    return False

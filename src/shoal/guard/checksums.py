"""Check digits: what tells a card, an account or a person's number from any other row of digits. Pure arithmetic on strings of digits."""

import ipaddress
import re

_VERHOEFF = [
    *("0123456789", "1234067895", "2340178956", "3401289567", "4012395678"),
    *("5987604321", "6598710432", "7659821043", "8765932104", "9876543210"),
]
_SHIFTS = ("0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258")
_CARD_LENGTHS = {"2": (13, 16), "3": (14, 16), "4": (13, 19), "5": (12, 19), "6": (12, 19)}
_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21)
_ODD_PLACES = dict(
    zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", _ODD * 2 + (2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23), strict=True)
)


def digits_of(text: str) -> str:
    """The digits alone, in order."""
    return re.sub(r"[^0-9]", "", text)


def passes_luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    doubled = [int(digit) * 2 for digit in digits[-2::-2]]
    return (sum(map(int, digits[-1::-2])) + sum(value - 9 if value > 9 else value for value in doubled)) % 10 == 0


def is_card(text: str) -> bool:
    """A number that a payment card may have: its length, its first digits and its check digit."""
    digits = digits_of(text)
    if len(set(digits)) < 2 or not passes_luhn(digits):
        return False
    if digits.startswith(("1800", "2131")):  # JCB's old ones
        return len(digits) == 15
    shortest, longest = _CARD_LENGTHS.get(digits[0], (1, 0))
    return shortest <= len(digits) <= longest


def is_iban(text: str) -> bool:
    """ISO 13616: the remainder by 97 is 1."""
    plain = re.sub(r"[\s-]", "", text).upper()
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(one, 36)) for one in plain[4:] + plain[:4])) % 97 == 1


def is_us_ssn(text: str) -> bool:
    """What the Social Security Administration may have issued, or the tax office as an ITIN: no zero groups, no 666."""
    digits = digits_of(text)
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    if len(digits) != 9 or "000" in (area, "0" + group) or serial == "0000" or area == "666":
        return False
    return area[0] != "9" or 50 <= int(group) <= 99


def is_ip(text: str) -> bool:
    """An address of IPv4 or IPv6 of some host: not the unspecified one, no loopback."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_unspecified or address.is_loopback)


def is_spanish(text: str) -> bool:
    """DNI and NIE: the letter is the number's remainder by 23."""
    plain = re.sub(r"[\s.-]", "", text).upper()
    number = plain[:-1].translate(str.maketrans("XYZ", "012"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == plain[-1]


def is_italian(text: str) -> bool:
    """Codice fiscale: the last letter checks the fifteen before it."""
    plain = text.upper()
    total = sum(_ODD_PLACES[one] if place % 2 == 0 else int(one, 36) - (10 if one.isalpha() else 0) for place, one in enumerate(plain[:15]))
    return chr(65 + total % 26) == plain[15]


def is_french(text: str) -> bool:
    """NIR: the key is 97 less the number's remainder by 97."""
    plain = re.sub(r"[\s.-]", "", text).upper().replace("2A", "19").replace("2B", "18")
    return plain.isdigit() and len(plain) == 15 and 97 - int(plain[:13]) % 97 == int(plain[13:])


def is_brazilian(text: str) -> bool:
    """CPF: two check digits, each the weighted sum of those before it."""
    digits = digits_of(text)
    if len(digits) != 11 or len(set(digits)) == 1:
        return False
    return all(
        sum(int(digit) * (place + 1 - at) for at, digit in enumerate(digits[:place])) * 10 % 11 % 10 == int(digits[place])
        for place in (9, 10)
    )


def is_indian(text: str) -> bool:
    """Aadhaar: twelve digits that pass Verhoeff's check."""
    digits, check = digits_of(text), 0
    for place, digit in enumerate(reversed(digits)):
        check = int(_VERHOEFF[check][int(_SHIFTS[place % 8][int(digit)])])
    return len(digits) == 12 and digits[0] not in "01" and check == 0


def is_dutch(text: str) -> bool:
    """BSN: the weighted sum, whose last weight is -1, is a multiple of eleven."""
    digits = digits_of(text)
    weights = (9, 8, 7, 6, 5, 4, 3, 2, -1)
    return (
        len(digits) == 9 and int(digits) > 0 and sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True)) % 11 == 0
    )


def is_british_health(text: str) -> bool:
    """NHS number: ten digits, the last one eleven less the weighted sum's remainder."""
    digits = digits_of(text)
    check = 11 - sum(int(digit) * (10 - place) for place, digit in enumerate(digits[:9])) % 11
    return len(digits) == 10 and check % 11 == int(digits[9]) and check != 10

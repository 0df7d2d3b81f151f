"""By what personal data and secrets are recognised: patterns, what must hold for what they match, and words that must stand near it."""

import re
from collections.abc import Callable
from typing import Literal

import msgspec

from shoal.guard import checksums
from shoal.guard.checksums import digits_of

Kind = Literal["email", "card", "iban", "ssn", "national_id", "document", "ip", "phone", "secret", "address", "name"]


class Rule(msgspec.Struct, frozen=True):
    """A kind of data: a pattern (the data is its group `it`, or all of it), what must hold for it, and words of which one must be
    near. Where a text, in lower case, holds none of `hints` it cannot hold the pattern: looking for those is quick."""

    kind: Kind
    pattern: re.Pattern[str]
    hints: tuple[str, ...]
    check: Callable[[str], bool] | None = None
    near: re.Pattern[str] | None = None


def _is_number(text: str) -> bool:
    """Whether a row of digits may be a phone number: seven to fifteen digits that are no date, and not all the same."""
    digits = digits_of(text)
    return 7 <= len(digits) <= 15 and len(set(digits)) > 2 and not _is_date(text)


def _is_date(text: str) -> bool:
    if not re.fullmatch(r"[0-9]{1,4}([./ -])[0-9]{1,2}\1[0-9]{1,4}", text):
        return False
    parts = [int(part) for part in re.split(r"[./ -]", text)]
    year, others = (parts[0], parts[1:]) if parts[0] > 31 else (parts[2], parts[:2])
    return 1800 <= year <= 2200 and all(1 <= part <= 31 for part in others)


_PLAIN_PHONE = re.compile(
    r"\(?\+[0-9].*|00[1-9].*|\([0-9]{2,5}\)[ ]?[0-9]{3,4}[ .-][0-9]{3,4}.*"  # a country's code, an area's code in brackets
    r"|.*[0-9][ ]?(?:x|ext\.?)[ ]?[0-9]+"
    r"|(?:1[ .-])?[2-9][0-9]{2}([ .-])[0-9]{3}\1?[ .-]?[0-9]{4}"
    r"|0[1-9][0-9]{1,3}[ -][0-9]{2,4}(?:[ -][0-9]{2,4}){1,3}|0[0-9](?:[ .-][0-9]{2}){4}|0[0-9]{1,4}[-/][0-9]{6,8}"
)


def _is_plainly_phone(text: str) -> bool:
    """Whether the form of a number leaves no doubt."""
    return _is_number(text) and _PLAIN_PHONE.fullmatch(text) is not None and len(digits_of(text)) >= 9


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.I)


_DIGIT = tuple("0123456789")
_PHONE_WORDS = _words(
    r"phone|\bcall|\btel\b|tel[.:]|mobile|\bcell|\bfax|whatsapp|contact|\breach|\btext\b|\bdial|\bring\b|number|hotline|answer|office"
)
_SSN_WORDS = _words(r"\bssn\b|social security|\bitin\b|taxpayer")
_DOCUMENT_WORDS = _words(r"licen[cs]e|passport|\bid (?:card|number|no)\b|identity card|national id")
_CARD_WORDS = _words(r"card|visa|master|amex|express|maestro|discover|diners|jcb")
_HEALTH_WORDS = _words(r"\bnhs\b|health")
_DUTCH_WORDS = _words(r"\bbsn\b|burgerservice|sofinummer")

_CARD = re.compile(r"(?<![\w.-])[2-6](?:[ -]?[0-9]){11,18}(?![\w-])")
_PHONE = re.compile(
    r"(?<![\w.:/+-])(?<![0-9],)(?:\(?\+[0-9]{1,3}\)?[ .-]?|00[ -]?)?(?:\([0-9]{1,5}\)[ .-]?)?"
    r"[0-9](?:[ ./-]?[0-9]){4,13}(?:[ ]?(?:x|ext\.?)[ ]?[0-9]{1,6})?(?!\w)(?![.,-][0-9])"
)
_TOKENS = (
    r"sk-(?:ant-|proj-|shoal-|or-)?[A-Za-z0-9_-]{20,}|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{30,}"
    r"|github_pat_\w{40,}|glpat-[\w-]{20,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{35}|xox[abposr]-[\w-]{10,}|hf_[A-Za-z0-9]{30,}"
    r"|npm_[A-Za-z0-9]{36}|SG\.[\w-]{20,}\.[\w-]{20,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{5,}"
)
_GIVEN_AWAY = (
    r"(?:password|passwd|passphrase|\bpwd|\bpin|api[ _-]?key|secret(?:[ _-]?key)?|access[ _-]?token|auth[ _-]?token)[\"']?"
    r"[ ]{0,3}(?:[:=]|\bis\b)[ ]{0,3}[\"']?(?P<it>(?=[^\s\"']{0,80}[0-9!@#$%^&*])[^\s\"',;\[\]]{4,128})"
)
_CAPITAL = r"[^\W\d_a-zß-öø-ÿ]"
_NAME_WORD = rf"{_CAPITAL}[^\W\d_]*(?:['’-][^\W\d_]+)*"
_PARTICLES = r"(?:(?:van|von|de|der|den|del|della|di|da|al|bin|el|la|le|ter|ten)[ ]){0,2}"
_NAME = rf"(?P<it>{_NAME_WORD}(?:[ ]{_PARTICLES}{_NAME_WORD}|[ ]{_CAPITAL}\.(?=[ ]{_CAPITAL})){{0,3}})"
_STREET = (
    r"street|st|avenue|ave|road|rd|boulevard|blvd|lane|ln|drive|dr|way|court|ct|place|pl|square|sq|terrace|crescent|close|highway|hwy"
    r"|parkway|pkwy|trail|circle|cir|grove|gardens|row|walk|alley|mews"
)
_SUFFIXED = r"stra(?:ss|ß)e|str\.|weg|platz|allee|gasse|gatan|gata|vägen|vej|gade|veien|straat|laan|plein|katu|tie|utca|út|ulica|ulice"
_FOREIGN = "rue|avenue|boulevard|place|chemin|allée|quai|via|viale|piazza|corso|calle|avenida|paseo|plaza|carrer|rua|praça|travessa|ulica"
_OF = r"(?:(?:de|du|des|la|le|les|della|del|di|do|da|dos)[ ]){0,3}"
_UNIT = r"(?:,?[ ](?:apt|suite|unit|flat)\.?[ ]?#?\w{1,5})?"
_TITLES = "mr|mrs|ms|miss|mx|dr|prof|sir|madam|herr|frau|señor|señora|signor|signora|mme|monsieur"
_CALLED = r"my (?:full )?name(?:['’]s| is)|I am called|mein Name ist|je m['’]appelle|me llamo"
_GREETINGS = "regards|sincerely|cheers|best wishes|yours truly|thanks"

RULES: tuple[Rule, ...] = (
    Rule("secret", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]{16,10000}?-----END [A-Z ]*PRIVATE KEY-----"), ("private key",)),
    Rule("secret", _words(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\[\]]{1,200}:[^\s/@\[\]]{1,200}@[\w.-]+[^\s]{0,200}"), ("://",)),
    Rule(
        "secret",
        re.compile(rf"(?<![\w-])(?:{_TOKENS})(?![\w-])"),
        ("sk", "rk_", "pk_", "gh", "git", "gl", "ak", "as", "ai", "xo", "hf_", "npm_", "sg.", "eyj"),
    ),
    Rule("secret", _words(r"\bBearer (?P<it>[\w.~+/-]{16,}=*)"), ("bearer",)),
    Rule("secret", _words(_GIVEN_AWAY), ("pass", "pwd", "pin", "key", "secret", "token")),
    Rule("email", re.compile(r"(?<![\w.+-])[\w.!#$%&'*+/=?^`{|}~-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])"), ("@",)),
    Rule(
        "iban",
        re.compile(r"(?<!\w)[A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,3})?(?!\w)"),
        _DIGIT,
        checksums.is_iban,
    ),
    Rule("ip", re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w-]|\.[0-9])"), _DIGIT, checksums.is_ip),
    Rule("ip", _words(r"(?<![\w:.])(?:[0-9a-f]{1,4}:{1,2}){2,7}(?:[0-9a-f]{1,4})?(?![\w:])"), (":",), checksums.is_ip),
    Rule("national_id", _words(r"(?<!\w)[A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z](?!\w)"), _DIGIT, checksums.is_italian),
    Rule("national_id", _words(r"(?<!\w)(?:[XYZ][ -]?[0-9]{7}|[0-9]{8})[ -]?[A-HJ-NP-TV-Z](?!\w)"), _DIGIT, checksums.is_spanish),
    Rule(
        "national_id",
        re.compile(r"(?<!\w)[12][ ]?[0-9]{2}[ ]?[0-9]{2}[ ]?[0-9][0-9AB](?:[ ]?[0-9]{3}){2}[ ]?[0-9]{2}(?!\w)"),
        _DIGIT,
        checksums.is_french,
    ),
    Rule("national_id", re.compile(r"(?<![\w.-])[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}(?!\w)"), _DIGIT, checksums.is_brazilian),
    Rule(
        "national_id",  # the United Kingdom's: https://www.gov.uk/hmrc-internal-manuals/national-insurance-manual/nim39110
        re.compile(r"(?<!\w)(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][ ]?(?:[0-9]{2}[ ]?){3}[A-D](?!\w)"),
        _DIGIT,
    ),
    Rule(
        "national_id",
        re.compile(r"(?<![\w.-])[2-9][0-9]{3}[ -][0-9]{4}[ -][0-9]{4}(?![\w-])(?![ ]?[0-9]{4})"),
        _DIGIT,
        checksums.is_indian,
    ),
    Rule(
        "national_id",
        re.compile(r"(?<![\w.-])[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{4}(?![\w-])"),
        ("nhs", "health"),
        checksums.is_british_health,
        _HEALTH_WORDS,
    ),
    Rule("national_id", re.compile(r"(?<![\w.-])[0-9]{9}(?![\w-])"), ("bsn", "burger", "sofi"), checksums.is_dutch, _DUTCH_WORDS),
    Rule("ssn", re.compile(r"(?<![\w.-])[0-9]{3}([ -])[0-9]{2}\1[0-9]{4}(?![\w-])"), _DIGIT, checksums.is_us_ssn),
    Rule("ssn", re.compile(r"(?<![\w.-])[0-9]{9}(?![\w-])"), _DIGIT, checksums.is_us_ssn, _SSN_WORDS),
    Rule("card", _CARD, _DIGIT, checksums.is_card),
    Rule("card", re.compile(r"(?<![\w.-])(?:1800|2131)[0-9]{11}(?![\w-])"), ("1800", "2131"), checksums.is_card),
    Rule("card", _CARD, _DIGIT, None, _CARD_WORDS),
    Rule(
        "document",
        re.compile(r"(?<![\w.-])(?:[A-Za-z]{0,2}[0-9]{5,14}[A-Za-z]?|[0-9]{4}-[0-9]{2}-[0-9]{4})(?![\w-])"),
        ("licen", "passport", "id "),
        None,
        _DOCUMENT_WORDS,
    ),
    Rule("phone", _PHONE, _DIGIT, _is_plainly_phone),
    Rule("phone", _PHONE, _DIGIT, _is_number, _PHONE_WORDS),
    Rule(
        "address",
        re.compile(rf"(?<![\w.])[0-9]{{1,5}}[A-Za-z]?[ ](?:(?:{_CAPITAL}|[0-9])[\w'’.-]*[ ]){{1,4}}(?i:{_STREET})\b\.?(?i:{_UNIT})"),
        _DIGIT,
    ),
    Rule(
        "address",
        re.compile(rf"(?<!\w){_CAPITAL}[^\W\d_]*(?:[ -]{_CAPITAL}?[^\W\d_]*)?(?:{_SUFFIXED})[ ][0-9]{{1,4}}[A-Za-z]?(?!\w)"),
        _DIGIT,
    ),
    Rule(
        "address",
        re.compile(rf"(?<!\w)(?i:{_FOREIGN})[ ]{_OF}(?:{_CAPITAL}[\w'’.-]*,?[ ]{_OF}){{1,4}}(?:n[.º°]?[ ]?)?[0-9]{{1,4}}(?!\w)"),
        tuple(_FOREIGN.split("|")),
    ),
    Rule("address", _words(r"\b(?:P\.?[ ]?O\.?[ ]?Box|Postfach)[ ][0-9]{1,6}\b"), ("box", "postfach")),
    Rule("name", re.compile(rf"\b(?i:{_TITLES})\b\.?[ ]{_NAME}"), tuple(_TITLES.split("|"))),
    Rule("name", re.compile(rf"(?i:\b(?:{_CALLED}))[ ]{_NAME}"), ("name", "called", "llamo", "appelle")),
    Rule("name", re.compile(rf"(?:^|\n)(?:Dear|Hi|Hello|Hey)[ ]{_NAME}(?=[,!\n])"), ("dear", "hi", "hello", "hey")),
    Rule("name", re.compile(rf"(?i:{_GREETINGS}),?[ ]?\n+{_NAME}(?=\s*(?:\n|$))"), tuple(_GREETINGS.split("|"))),
)
"""The rules, in the order in which they count where they overlap."""

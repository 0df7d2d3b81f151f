"""Personal data and secrets: what is found and what only looks like it; redaction."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shoal.guard import checksums
from shoal.guard.pii import find, redact

FOUND = [
    ("Write to ada.l+x@mail.example.org, please", "email", "ada.l+x@mail.example.org"),
    ("my card is 4111 1111 1111 1111 ok", "card", "4111 1111 1111 1111"),
    ("Amex 378282246310005.", "card", "378282246310005"),
    ("to DE89 3704 0044 0532 0130 00 by Monday", "iban", "DE89 3704 0044 0532 0130 00"),
    ("gb82west12345698765432", "iban", "gb82west12345698765432"),
    ("from 203.0.113.7 again", "ip", "203.0.113.7"),
    ("at 2001:db8::8a2e:370:7334.", "ip", "2001:db8::8a2e:370:7334"),
    ("SSN 536-90-4399", "ssn", "536-90-4399"),
    ("social security number: 536904399", "ssn", "536904399"),
    ("DNI 12345678Z", "national_id", "12345678Z"),
    ("NIE X1234567L", "national_id", "X1234567L"),
    ("CF RSSMRA85T10A562S", "national_id", "RSSMRA85T10A562S"),
    ("NIR 2 55 08 14 168 025 38", "national_id", "2 55 08 14 168 025 38"),
    ("CPF 529.982.247-25", "national_id", "529.982.247-25"),
    ("Aadhaar 2341 2341 2346", "national_id", "2341 2341 2346"),
    ("NHS number 943 476 5919", "national_id", "943 476 5919"),
    ("BSN 111222333", "national_id", "111222333"),
    ("QQ is not, AB 12 34 56 C is", "national_id", "AB 12 34 56 C"),
    ("driver's licence F255921", "document", "F255921"),
    ("call +44 20 7946 0958 now", "phone", "+44 20 7946 0958"),
    ("(212) 555-0187 x12", "phone", "(212) 555-0187 x12"),
    ("212-555-0187", "phone", "212-555-0187"),
    ("Phone: 555 0187", "phone", "555 0187"),
    ("key sk-proj-abcdefghijklmnopqrstu0123", "secret", "sk-proj-abcdefghijklmnopqrstu0123"),
    ("AKIAIOSFODNN7EXAMPLE", "secret", "AKIAIOSFODNN7EXAMPLE"),
    ("password: hunter2!", "secret", "hunter2!"),
    ("postgres://ada:s3cret@db.example/books", "secret", "postgres://ada:s3cret@db.example/books"),
    ("Authorization: Bearer abcdef0123456789abcdef", "secret", "abcdef0123456789abcdef"),
    ("lives at 221B Baker Street, London", "address", "221B Baker Street"),
    ("Hauptstraße 12 in Bonn", "address", "Hauptstraße 12"),
    ("12, rue de la Paix 4", "address", "rue de la Paix 4"),
    ("PO Box 1234", "address", "PO Box 1234"),
    ("ask Dr. Maria van der Berg today", "name", "Maria van der Berg"),
    ("My name is Ada Lovelace and", "name", "Ada Lovelace"),
    ("Kind regards,\nAda King\n", "name", "Ada King"),
]

CLEAN = [
    "The order 4111111111111112 was placed",  # no check digit
    "version 10.4.2.1.9 and 2024-11-30, 30/11/2024, 12.10.2023",
    "1,234,567.89 USD and 12 345 678 units",
    "000-12-3456 and 666-12-3456",
    "127.0.0.1 and 0.0.0.0 and ::1",
    "at 12:30:45 and 10:20",
    "def password_of(user): return user.password",
    "GB00WEST12345698765432",
    "the password is not known to us",
    "an API key is needed",
    "call me on Monday",
    "The street was long; a way out, 3 of the roads",
    "Ask a doctor, or Miss out on it",
    "isbn 978-3-16-148410-0",
    "x = 3.14159265358979",
    "https://example.org/a@b/c?d=1234567",
]


@pytest.mark.parametrize(("text", "kind", "value"), FOUND)
def test_what_is_personal_is_found_to_the_character(text: str, kind: str, value: str) -> None:
    assert [(one.kind, text[one.start : one.end]) for one in find(text)] == [(kind, value)]


@pytest.mark.parametrize("text", CLEAN)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert [(one.kind, text[one.start : one.end]) for one in find(text)] == []


def test_redaction_puts_the_kind_in_its_place_and_keeps_the_rest() -> None:
    text = "Dear Ada,\nwrite to a@example.org or call 212-555-0187.\nRegards,\nBob"
    assert redact(text) == "Dear [NAME],\nwrite to [EMAIL] or call [PHONE].\nRegards,\n[NAME]"
    assert redact(text, frozenset({"email"})) == text.replace("a@example.org", "[EMAIL]")


def test_a_wrong_digit_is_noticed() -> None:
    for right, check in (
        ("4111111111111111", checksums.is_card),
        ("52998224725", checksums.is_brazilian),
        ("111222333", checksums.is_dutch),
    ):
        assert check(right)
        wrong = [right[:at] + str((int(digit) + 1) % 10) + right[at + 1 :] for at, digit in enumerate(right)]
        assert not any(check(one) for one in wrong)


PIECES = [value for _, _, value in FOUND] + [
    "[EMAIL]",
    "[PHONE]",
    "a",
    "1",
    ":",
    "@",
    ".",
    "-",
    "password:",
    "tel",
    " ",
    "\n",
    "Mr.",
    "Ada",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text(max_size=200))
@example("password: [SECRET]1")
def test_redaction_is_idempotent_and_leaves_nothing(text: str) -> None:
    once = redact(text)
    assert redact(once) == once
    assert find(once) == []


@given(st.text(max_size=300))
def test_spans_are_in_order_apart_and_inside(text: str) -> None:
    ends = [0, *(point for span in find(text) for point in (span.start, span.end)), len(text)]
    assert ends == sorted(ends)


def processor_s(text: str) -> float:
    """The least of three, so that others on the machine do not count."""
    spent = []
    for _ in range(3):
        began = time.process_time()
        find(text)
        spent.append(time.process_time() - began)
    return min(spent)


@pytest.mark.parametrize("piece", ["1 ", "a@", "a.", "A b ", "(1)", "::", "1-", "Mr. A ", "eyJ", "regards\n", "12 A ", "a://b:", "Rue A "])
def test_time_is_in_proportion_to_length(piece: str) -> None:
    """What patterns like to begin with, over and over: eight times the text may take no more than twenty times as long."""
    short, long = (piece * (size // len(piece)) for size in (12_500, 100_000))
    assert processor_s(long) < 20 * max(processor_s(short), 0.002)

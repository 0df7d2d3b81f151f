"""students.py: names of students, and the folders that they become."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.students import StudentName, folder_of, name_in, name_part, org_part, parse_name
from shoal.routing.names import split_suffix


@given(
    org=st.text(max_size=40),
    name=st.text(max_size=60),
    version=st.integers(1, 10**8),
    org_id=st.from_regex(r"org_[a-z2-7]{16}", fullmatch=True),
)
def test_whatever_people_call_things_a_name_can_be_read_again(org: str, name: str, version: int, org_id: str) -> None:
    made = StudentName("minnow", org_part(org_id, org), name_part(name), version)
    assert parse_name(str(made)) == made
    assert parse_name(str(made.alias)) == made.alias
    assert name_in(folder_of(str(made))) == made
    assert split_suffix(str(made.alias))[1] is None  # no name asks for the cheapest by accident


def test_organisations_of_one_name_have_names_of_their_own() -> None:
    one, other = org_part("org_aaaaaabbbbbbbbbb", "Acme"), org_part("org_cccccc4444444444", "ACME!")
    assert (one, other) == ("acme-aaaaaa", "acme-cccccc")
    assert org_part("org_operator", "Operator") == "operator"
    assert org_part("org_aaaaaabbbbbbbbbb", "株式会社") == "aaaaaa"
    assert org_part("org_aaaaaabbbbbbbbbb", "Acme", 16) == "acme-aaaaaabbbbbbbbbb"


def test_names_that_mean_something_else_are_no_names() -> None:
    assert [name_part(name) for name in ("floor", "Nitro", "7", "", "Größe & Maß")] == [
        "floor-student",
        "nitro-student",
        "7-student",
        "student",
        "groe-ma",
    ]


@pytest.mark.parametrize(
    "text", ["ft:minnow:acme", "ft:minnow:acme:a--b", "ft:minnow:acme:a:0", "ft:minnow:acme:a:01", "ft:minnow:Acme:a", "ft:a:b:c:1\n", ""]
)
def test_other_texts_are_none(text: str) -> None:
    assert parse_name(text) is None


def test_other_folders_are_none() -> None:
    assert [name_in(name) for name in ("minnow", "org--repo", "ft--minnow--acme--a--3.partial", "publishing-1.partial")] == [None] * 4
    assert folder_of("hf:org/repo/file.gguf") == "org--repo--file.gguf"

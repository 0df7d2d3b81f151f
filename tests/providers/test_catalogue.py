"""Which deployments a name stands for: configured, local, exact, discovered, in this order; an unknown name gets the nearest ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.providers.catalogue import Catalogue
from shoal.providers.discovery import Discovery

FIRST = Deployment("gpt#0", "gpt", "openai", "gpt-4o")
SECOND = Deployment("gpt#1", "gpt", "other", "gpt-4o")


def catalogue() -> Catalogue:
    """Two providers, one configured model, some discovered ones."""
    discovery = Discovery({})
    discovery.models = {"openai": ("gpt-4o", "gpt-4o-mini"), "other": ("gpt-4o", "llama", "gpt")}
    return Catalogue({"gpt": (FIRST, SECOND)}, ("openai", "other"), discovery, None, ())


def test_a_configured_name_comes_first() -> None:
    assert list(catalogue().resolve("gpt")) == [FIRST, SECOND]


def test_an_exact_name_needs_no_discovery() -> None:
    (found,) = catalogue().resolve("openai/brand/new")
    assert (found.provider, found.upstream_model, found.model, found.price) == ("openai", "brand/new", "openai/brand/new", None)


def test_a_bare_name_is_found_at_all_who_serve_it() -> None:
    assert [one.provider for one in catalogue().resolve("gpt-4o")] == ["openai", "other"]
    assert [one.provider for one in catalogue().resolve("llama")] == ["other"]


@pytest.mark.parametrize("name", ["nobody/gpt-4o", "openai/", "/gpt-4o", "", "gpt-5-turbo-x", "minnow", "minnow/minnow"])
def test_an_unknown_name_is_an_error_that_names_the_parameter(name: str) -> None:
    with pytest.raises(Fault) as found:
        catalogue().resolve(name)
    assert (found.value.kind, found.value.param) == ("model_not_found", "model")
    assert "/v1/models" in found.value.message


def test_the_nearest_names_are_told() -> None:
    with pytest.raises(Fault, match="'gpt-4o-mini'"):
        catalogue().resolve("gpt4o-mini")


@given(st.text(max_size=600))
def test_any_name_is_found_or_refused(name: str) -> None:
    try:
        assert catalogue().resolve(name)
    except Fault as fault:
        assert fault.kind == "model_not_found"
        assert len(fault.message) < 1200


def test_the_listing_names_everything_once() -> None:
    assert list(catalogue().listing()) == [("gpt", "openai"), ("gpt-4o", "openai"), ("gpt-4o-mini", "openai"), ("llama", "other")]

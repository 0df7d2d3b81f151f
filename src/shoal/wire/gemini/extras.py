"""Members beyond the nouns: those that Google has too are passed on, however the caller wrote them; the others are named.

Google's OpenAI endpoint takes its own options under `extra_body.google` (https://ai.google.dev/gemini-api/docs/openai#extra-body), so
they are taken from there as well.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from shoal.wire.gemini.members import camel
from shoal.wire.gemini.parts import Json

_REQUEST = frozenset({"safetySettings", "cachedContent", "labels", "toolConfig", "modelArmorConfig"})
_CONFIG = frozenset(
    {"responseModalities", "mediaResolution", "speechConfig", "imageConfig", "audioTimestamp", "thinkingConfig", "routingConfig",
     "modelSelectionConfig", "enableEnhancedCivicAnswers", "enableAffectiveDialog"}
)  # fmt: skip
_WITHIN = "generationConfig."
_OF_THE_GATEWAY = frozenset({"stream_options"})
"""Said by callers of other dialects, and heeded where their answer is written."""


def add(extra: Mapping[str, msgspec.Raw], request: Json, config: Json, dropped: set[str]) -> None:
    """Put what Google has a word for into the request and its `generationConfig`; the caller's names of the rest into `dropped`."""
    for name, raw in extra.items():
        _add(name, raw, request, config, dropped)


def _add(name: str, raw: msgspec.Raw, request: Json, config: Json, dropped: set[str]) -> None:
    known = camel(name)
    if known in _REQUEST:
        _merge(request, known, msgspec.json.decode(raw))
    elif known in _CONFIG or name.startswith(_WITHIN):
        _merge(config, known.removeprefix(_WITHIN), msgspec.json.decode(raw))
    elif name == "modalities" and bytes(raw).startswith(b"["):
        config["responseModalities"] = [str(one).upper() for one in msgspec.json.decode(raw)]
    elif name == "web_search_options":
        request.setdefault("tools", []).append({"googleSearch": {}})
    elif name in ("google", "extra_body", "generationConfig", "generation_config") and bytes(raw).startswith(b"{"):
        add(msgspec.json.decode(raw, type=dict[str, msgspec.Raw]), request, config, dropped)
    elif name not in _OF_THE_GATEWAY:
        dropped.add(name)


def _merge(target: Json, name: str, value: Any) -> None:
    """Objects join what is there already, and their members' names are Google's; all else replaces it."""
    if not isinstance(value, dict) or name == "labels":
        target[name] = value
        return
    so_far = target.get(name)
    target[name] = (so_far if isinstance(so_far, dict) else {}) | {camel(key): inner for key, inner in value.items()}

"""Tokens of a document, a recording or a film, roughly, by its kind and its size.

Pages: Claude 1,500 to 3,000 tokens (https://docs.claude.com/en/docs/build-with-claude/pdf-support#estimate-your-costs), Gemini 258
(https://ai.google.dev/gemini-api/docs/document-processing); sound 32 and film 300 tokens a second
(https://ai.google.dev/gemini-api/docs/tokens). How many pages or seconds a file has is guessed from its size.
"""

import math

from shoal.core.conversation import File

_BYTES_PER_PAGE, _PAGE, _GEMINI_PAGE = 50_000, 2_000, 258
# kind -> bytes a second (128 kbit/s, 1 Mbit/s), tokens a second
_RATES = {"audio": (16_000, 32), "video": (125_000, 300)}


def count_file(file: File, model: str) -> int:
    """About how many tokens a file has that is not plain text; one that lies elsewhere is taken for one page."""
    data = file.data or (file.url or "").partition("base64,")[2]
    size = len(data) * 3 // 4
    rate = _RATES.get((file.media_type or "").partition("/")[0])
    if rate is not None:
        return max(1, math.ceil(size / rate[0])) * rate[1]
    return max(1, math.ceil(size / _BYTES_PER_PAGE)) * (_GEMINI_PAGE if "gemini" in model.lower() else _PAGE)

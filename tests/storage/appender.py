"""A process that appends numbered entries to a journal, saying on stdout which are written, until it is killed or has written them all.

Arguments: directory, worker id, first number, how many (0: endless).
"""

import itertools
import sys
from pathlib import Path

from shoal.core.ledger import Entry
from shoal.storage.journal import Journal


def main() -> None:
    directory, worker, first, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    journal = Journal(directory, worker, segment_bytes=20_000)
    numbers = range(first, first + count) if count else itertools.count(first)
    for number in numbers:
        journal.append(
            Entry(
                request_id=f"{worker}_{number}",
                at_ms=1_700_000_000_000 + number,
                key_id="key_a",
                endpoint="chat",
                requested_model="gpt",
                model="gpt",
                provider="openai",
                deployment="openai/gpt",
                status=200,
                stream=False,
                input_tokens=1,
                cost_nano=1,
            )
        )
        print(number, flush=True)


main()

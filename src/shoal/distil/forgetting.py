"""Who wished to be forgotten is taken out of every dataset: `python -m shoal.distil.forgetting DATASETS`, with hashes of users on stdin.

A process of its own, because the trainer, which asks for it, does not load what datasets need.
"""

import sys
from pathlib import Path

import msgspec

from shoal.distil import dataset


def main() -> None:
    """Entry of the process: prints how many rows went."""
    subjects = frozenset(msgspec.json.decode(sys.stdin.buffer.read(), type=list[str]))
    print(dataset.forget(Path(sys.argv[1]), lambda row: row.origin.subject in subjects))


if __name__ == "__main__":
    main()

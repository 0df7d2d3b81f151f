"""The mini's process with a scripted engine in it, for test_process.py: loading takes as long as the file HOME/hold is there."""

import sys
import time
from pathlib import Path

from scripted import ScriptedEmbedder, ScriptedEngine

from shoal.mini import catalogue, serve
from shoal.mini.card import Speed


def load_engine(home: Path, model: str, threads: int, on_broken, **more):
    """Break as soon as somebody says "break", the way an engine's thread would."""
    while (home / "hold").exists():
        time.sleep(0.01)

    def answer(prompt, sampling):
        if "break" in prompt:
            on_broken("a test asked for it")
        return "Hello!"

    return ScriptedEngine(answer, hold=False)


catalogue.load_engine = load_engine
catalogue.load_embedder = lambda home, threads, model: ScriptedEmbedder()
catalogue.measured_speed = lambda home, name: Speed(decode_tokens_per_s=123.0, prefill_tokens_per_s=456.0, streams=32, threads=2)
catalogue.measure_reading = lambda home, model, embedder: Speed(
    decode_tokens_per_s=999.0, prefill_tokens_per_s=999.0, streams=32, threads=1
)

if __name__ == "__main__":
    sys.exit(serve.main())

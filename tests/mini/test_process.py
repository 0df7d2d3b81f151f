"""The mini's process: it listens before it loads, refuses while it loads, and ends with its parent, a signal, or a broken engine."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from scripted import Client

SCRIPT = Path(__file__).with_name("scripted_process.py")
HI = {"model": "minnow", "messages": [{"role": "user", "content": "Hi"}]}


def _command(home, script=SCRIPT):
    module = [str(script)] if script else ["-m", "shoal.mini.serve"]
    return [sys.executable, *module, "--socket", str(home / "m.sock"), "--home", str(home), "--model", "minnow", "--threads", "1"]


@contextmanager
def _started(home, script=SCRIPT):
    child = subprocess.Popen(_command(home, script), stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


async def _wait_until(check, timeout_s=20.0):
    async with asyncio.timeout(timeout_s):
        while not await check():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def _ended(child, timeout_s):
    return await asyncio.to_thread(child.wait, timeout_s)


def _status(client, wanted):
    async def check():
        try:
            return (await client.ask("/health"))[2]["status"] == wanted
        except (FileNotFoundError, ConnectionRefusedError):
            return False

    return check


async def test_it_listens_before_it_has_loaded(tmp_path):
    (tmp_path / "hold").touch()
    client = Client(tmp_path / "m.sock")
    with _started(tmp_path) as child:
        await _wait_until(_status(client, "loading"))
        assert stat.S_IMODE((tmp_path / "m.sock").stat().st_mode) == 0o600
        status, headers, answer = await client.ask("/v1/chat/completions", HI)
        assert (status, headers["retry-after"], answer["error"]["code"]) == (503, "1", "model_loading")
        assert (await client.ask("/v1/models"))[2]["data"] == []
        (tmp_path / "hold").unlink()
        await _wait_until(_status(client, "ok"))
        _, _, health = await client.ask("/health")
        assert (health["decode_tokens_per_s"], health["prefill_tokens_per_s"]) == (123.0, 456.0)
        assert health["models"][0]["id"] == "minnow"
        assert health["models"][0]["capabilities"]["chosen_logprobs"] is True
        _, _, answer = await client.ask("/v1/chat/completions", HI)
        assert answer["choices"][0]["message"]["content"] == "Hello!"

        async def embeds():
            return [model["id"] for model in (await client.ask("/v1/models"))[2]["data"]] == ["minnow", "minnow-embed"]

        await _wait_until(embeds)
        assert (await client.ask("/v1/models/minnow"))[2]["context_tokens"] == 4096
        child.send_signal(signal.SIGTERM)
        assert await _ended(child, 5) == 0
    assert not (tmp_path / "m.sock").exists()


async def test_it_ends_when_its_parent_closes_standard_input(tmp_path):
    (tmp_path / "hold").touch()
    with _started(tmp_path) as child:
        await _wait_until(_status(Client(tmp_path / "m.sock"), "loading"))
        child.stdin.close()
        child.stdin = None
        assert await _ended(child, 1) == 0


async def test_it_ends_when_its_parent_is_killed(tmp_path):
    starter = (
        f"import subprocess, time; child = subprocess.Popen({_command(tmp_path)!r}, stdin=subprocess.PIPE, start_new_session=True);"
        "print(child.pid, flush=True); time.sleep(1000)"
    )
    parent = subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE)  # noqa: ASYNC220
    pid = int(parent.stdout.readline())
    await _wait_until(_status(Client(tmp_path / "m.sock"), "ok"))
    child = psutil.Process(pid)
    parent.kill()
    parent.communicate()

    async def gone():
        # an orphan's remains stay where nobody collects them
        try:
            return child.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    await _wait_until(gone, 1.0)


async def test_a_broken_engine_ends_the_process_after_its_last_words(tmp_path):
    with _started(tmp_path) as child:
        client = Client(tmp_path / "m.sock")
        await _wait_until(_status(client, "ok"))
        events = await client.stream("/v1/chat/completions", HI | {"messages": [{"role": "user", "content": "break"}]})
        assert events[-1] == "[DONE]"
        assert await _ended(child, 5) == 70


async def test_a_dead_socket_is_replaced_and_a_live_one_is_not(tmp_path):
    client = Client(tmp_path / "m.sock")
    with _started(tmp_path) as first:
        await _wait_until(_status(client, "ok"))
        second = await asyncio.to_thread(
            subprocess.run, _command(tmp_path), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20
        )
        assert second.returncode == 1
        assert "another process" in second.stderr
        assert (await client.ask("/health"))[0] == 200
        first.kill()
        await _ended(first, 5)
    with _started(tmp_path):
        await _wait_until(_status(client, "ok"))


async def test_weights_that_are_not_there_are_named(tmp_path):
    with _started(tmp_path, script=None) as child:
        assert await _ended(child, 20) == 78
        assert b"shoal pull minnow" in child.stderr.read()


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_signal_lets_answers_finish(tmp_path, signals):
    with _started(tmp_path) as child:
        client = Client(tmp_path / "m.sock")
        await _wait_until(_status(client, "ok"))
        data = json.dumps(HI).encode()
        reader, writer = await asyncio.open_unix_connection(client.path)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: m\r\ncontent-length: %d\r\n\r\n" % len(data) + data)
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        for _ in range(signals):
            os.kill(child.pid, signal.SIGTERM)
        assert b"Hello!" in await reader.read()
        writer.close()
        assert await _ended(child, 5) == 0

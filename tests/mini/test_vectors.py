"""Embeddings: one unit vector per text in order, in both encodings, shortened on request, in batches that take turns."""

import asyncio
import base64
import json
import math
import struct

import pytest
from scripted import ScriptedEmbedder, ScriptedEngine, serving, until

from shoal.mini.vectors import shorten


def _body(texts, **more):
    return {"model": "minnow-embed", "input": texts} | more


async def _vectors(client, body):
    status, headers, answer = await client.ask("/v1/embeddings", body)
    assert status == 200, answer
    assert answer["object"] == "list"
    assert [item["index"] for item in answer["data"]] == list(range(len(answer["data"])))
    return [item["embedding"] for item in answer["data"]], answer["usage"], headers


async def test_texts_and_tokens(tmp_path):
    async with serving(tmp_path, ScriptedEngine(), ScriptedEmbedder()) as client:
        one, usage, _ = await _vectors(client, _body("abc"))
        assert usage == {"prompt_tokens": 5, "total_tokens": 5}
        two, usage, _ = await _vectors(client, _body(["abc", "abcdef"]))
        assert two[0] == one[0] != two[1]
        assert usage["prompt_tokens"] == 13
        assert (await _vectors(client, _body([1, 97, 98, 99, 2])))[0] == one
        assert (await _vectors(client, _body([[1, 97, 98, 99, 2], [9]])))[0][0] == one[0]


async def test_base64_is_the_same_in_32_bits(tmp_path):
    async with serving(tmp_path, ScriptedEngine(), ScriptedEmbedder()) as client:
        floats, _, _ = await _vectors(client, _body(["abc"]))
        packed, _, headers = await _vectors(client, _body(["abc"], encoding_format="base64", user="u", truncate=True))
        assert list(struct.unpack("<4f", base64.b64decode(packed[0]))) == pytest.approx(floats[0])
        assert headers["x-minnow-dropped"] == "truncate"


async def test_fewer_dimensions_are_a_unit_vector_again(tmp_path):
    async with serving(tmp_path, ScriptedEngine(), ScriptedEmbedder()) as client:
        whole, _, _ = await _vectors(client, _body("abc"))
        short, _, _ = await _vectors(client, _body("abc", dimensions=2))
    assert len(short[0]) == 2
    assert math.hypot(*short[0]) == pytest.approx(1)
    assert short[0][0] / short[0][1] == pytest.approx(whole[0][0] / whole[0][1])
    assert shorten([0.0, 0.0, 1.0], 2) == [0.0, 0.0]


async def test_large_requests_take_turns_with_others(tmp_path):
    embedder = ScriptedEmbedder()
    order = []
    embed = embedder.embed

    def watch(texts):
        order.append(len(texts[0]))
        return embed(texts)

    embedder.embed = watch
    async with serving(tmp_path, ScriptedEngine(), embedder) as client:
        large = asyncio.create_task(_vectors(client, _body(["a"] * 2048)))
        await until(lambda: order)
        await _vectors(client, _body(["abcdefgh"]))
        assert not large.done()
        vectors, usage, _ = await large
    assert len(vectors) == 2048
    assert usage["prompt_tokens"] == 3 * 2048
    assert max(embedder.batches) <= 32
    assert order.index(10) < len(order) - 1


async def test_a_caller_who_leaves_stops_the_work(tmp_path):
    embedder = ScriptedEmbedder()
    async with serving(tmp_path, ScriptedEngine(), embedder) as client:
        _, writer = await asyncio.open_unix_connection(client.path)
        data = json.dumps(_body(["a"] * 2048)).encode()
        writer.write(b"POST /v1/embeddings HTTP/1.1\r\nhost: m\r\ncontent-length: %d\r\n\r\n" % len(data) + data)
        await until(lambda: embedder.batches)
        writer.transport.abort()
        await _vectors(client, _body("a"))
        await _vectors(client, _body("a"))
        assert sum(embedder.batches) < 2048

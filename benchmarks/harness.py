"""What the benchmarks share: the machine, processes on chosen cores, the fixed upstream, wrk, Shoal itself.

One core is the gateway's, another one the load generator's and the upstream's; where a core cannot be chosen (macOS, one core) nothing
is pinned and the record says so. Everything listens on loopback and ends with the benchmark that started it.
"""

import contextlib
import http.client
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import psutil

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "build" / "bench"
MODEL = "gpt-4o-mini"
MB = 1_000_000

QUESTION = {
    "model": MODEL,
    "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Hello, please tell me something about the history of the city of Paris in two sentences."},
    ],
    "temperature": 0.7,
    "max_tokens": 256,
}
ANSWER = {
    "id": "chatcmpl-bench0001",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Paris began as a Celtic town on an island in the Seine. It has been a capital for most of a thousand years.",
                "refusal": None,
                "annotations": [],
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 38,
        "completion_tokens": 26,
        "total_tokens": 64,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    },
    "service_tier": "default",
    "system_fingerprint": "fp_bench",
}
MESSAGE = {
    "id": "msg_bench0001",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": ANSWER["choices"][0]["message"]["content"]}],  # type: ignore[index]
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 38,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 26,
        "service_tier": "standard",
    },
}
"""The same answer in Anthropic's words."""
MODELS = {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 1, "owned_by": "openai"}]}


class Trouble(Exception):
    """A benchmark cannot go on; the message says why and what to do."""


# the machine


def _cores() -> list[int]:
    affinity = getattr(os, "sched_getaffinity", None)
    return sorted(affinity(0)) if affinity and shutil.which("taskset") else []


CORES = _cores()
PINNED = len(CORES) >= 2
GENERATOR_CORE = CORES[0] if PINNED else None
GATEWAY_CORE = CORES[1] if PINNED else None


def measure_rss_mb(process: psutil.Process) -> float:
    """Resident memory of one process, in MB (10^6 bytes)."""
    return float(process.memory_info().rss) / MB


# processes


def raise_file_limit() -> None:
    """Thousands of connections need as many descriptors: take all that the system allows, here and for every process started."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else hard
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def find_port() -> int:
    """A TCP port on loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pin(core: int | None, argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` on `core` alone; `argv` itself where nothing is pinned."""
    return [*(["taskset", "-c", str(core)] if core is not None else []), *argv]


class Process:
    """A started command and everything below it. Its output goes to a file, whose end is shown when it fails."""

    def __init__(
        self, name: str, argv: Sequence[str], core: int | None = None, env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self.name = name
        self.log = BENCH / "logs" / f"{name}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            self.popen = subprocess.Popen(
                pin(core, argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(env or {})},
                cwd=cwd,
            )
        self.root = psutil.Process(self.popen.pid)

    def tree(self) -> list[psutil.Process]:
        """The process and its living descendants."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self.root, *self.root.children(recursive=True)]
        return []

    def check(self) -> None:
        """Errors: Trouble with the end of its output when it has ended."""
        if self.popen.poll() is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise Trouble(f"{self.name} ended with {self.popen.returncode}; see {self.log}\n{tail}")

    def suspend(self) -> None:
        """Stop it in its tracks, so that it costs nothing while another is measured."""
        for one in self.tree():
            one.suspend()

    def resume(self) -> None:
        """Let it run again."""
        for one in reversed(self.tree()):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.resume()

    def stop(self, polite: signal.Signals = signal.SIGTERM, grace_s: float = 15.0) -> None:
        """End it and everything below it: politely first, by force after `grace_s`."""
        tree = self.tree()
        if self.popen.poll() is None:
            self.popen.send_signal(polite)
        self.resume()  # a suspended process does not hear
        _, alive = psutil.wait_procs(tree, timeout=grace_s)
        for one in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        self.popen.wait()


def post(url: str, headers: dict[str, str], body: object, timeout_s: float = 60.0) -> tuple[int, bytes]:
    """One JSON request on a connection of its own. Answers status and body. Errors: OSError, http.client.HTTPException."""
    at = urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=timeout_s)
    try:
        connection.request("POST", at.path, json.dumps(body), {"content-type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def await_answer(
    process: Process, url: str, headers: dict[str, str], body: object, timeout_s: float = 120.0, every_s: float = 0.05
) -> None:
    """Ask until the answer is a 200 with choices. Errors: Trouble when the process ends or the time is over."""
    give_up, seen = time.monotonic() + timeout_s, "no connection"
    while time.monotonic() < give_up:
        process.check()
        try:
            status, answer = post(url, headers, body)
            if status == 200 and b'"choices"' in answer:
                return
            seen = f"{status} {answer[:300].decode(errors='replace')}"
        except (OSError, http.client.HTTPException) as error:
            seen = str(error)
        time.sleep(every_s)
    raise Trouble(f"{process.name} did not answer within {timeout_s:g} s ({seen}); see {process.log}")


# nginx: the upstream that always says the same, and the plain proxy that is the limit


def _start_nginx(name: str, core: int | None, server: str, directory: Path) -> Process:
    paths = " ".join(f"{one}_temp_path {directory}/{name}-{one};" for one in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    conf = directory / f"{name}.conf"
    conf.write_text(
        f"daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid {directory}/{name}.pid; error_log stderr error;\n"
        f"events {{ worker_connections 8192; }}\n"
        f"http {{ access_log off; keepalive_requests 100000000; {paths}\n{server} }}\n"
    )
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(nginx).exists():
        raise Trouble("nginx is not installed: it is the upstream and the measure (apt-get install nginx wrk, brew install nginx wrk).")
    return Process(name, [nginx, "-e", "stderr", "-c", str(conf)], core)


def start_upstream(port: int, directory: Path) -> Process:
    """nginx on the generator's core, saying ANSWER to whatever is posted, or MESSAGE where Anthropic's API has its messages."""
    server = (
        f"server {{ listen 127.0.0.1:{port} backlog=4096; default_type application/json;\n"
        f" location = /v1/models {{ return 200 '{json.dumps(MODELS)}'; }}\n"
        f" location = /health {{ return 200 'ok'; }}\n"
        f" location = /v1/messages {{ return 200 '{json.dumps(MESSAGE, separators=(',', ':'))}'; }}\n"
        f" location / {{ return 200 '{json.dumps(ANSWER, separators=(',', ':'))}'; }} }}"
    )
    return _start_nginx("upstream", GENERATOR_CORE, server, directory)


def start_nginx_proxy(port: int, upstream_port: int, directory: Path) -> Process:
    """nginx on the gateway's core, as a plain reverse proxy with kept connections and no buffering of streams."""
    server = (
        f"upstream up {{ server 127.0.0.1:{upstream_port}; keepalive 1024; keepalive_requests 100000000; }}\n"
        f"server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://up; proxy_http_version 1.1;\n"
        f' proxy_set_header Connection ""; proxy_buffering off; proxy_read_timeout 600s; }} }}'
    )
    return _start_nginx("nginx", GATEWAY_CORE, server, directory)


# Shoal, as a user runs it


def shoal_python() -> str:
    """The interpreter that has shoal: the one that runs this, or the checkout's own."""
    own = ROOT / ".venv" / "bin" / "python"
    return str(own) if own.exists() else sys.executable


class Shoal:
    """`shoal serve` in a home of its own, with a key from `shoal keys create`."""

    def __init__(self, home: Path, config: str, core: int | None, mini: bool = False, name: str = "shoal", workers: int = 1) -> None:
        home.mkdir(parents=True, exist_ok=True)
        (home / "bench.toml").write_text(config)
        self.home, self._name, self._core = home, name, core
        self._environment = {"SHOAL_HOME": str(home), "SHOAL_CONFIG": str(home / "bench.toml")}
        key = subprocess.run(
            [shoal_python(), "-m", "shoal", "keys", "create", "bench"],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **self._environment},
        )
        if key.returncode:
            raise Trouble(f"shoal keys create failed: {key.stderr.strip()}")
        port = find_port()
        self._argv = [shoal_python(), "-m", "shoal", "serve", "--port", str(port), "--workers", str(workers)]
        self._argv += [] if mini else ["--no-mini"]
        self.url = f"http://127.0.0.1:{port}/v1/chat/completions"
        self.headers = {"authorization": f"Bearer {key.stdout.strip()}"}
        self.process = self.start()

    def start(self) -> Process:
        """Start it, once more where it has ended."""
        self.process = Process(self._name, self._argv, self._core, self._environment)
        return self.process

    def command(self, *arguments: str) -> str:
        """What another command of the same installation prints. Errors: Trouble."""
        environment = {**os.environ, **self._environment}
        argv = [shoal_python(), "-m", "shoal", *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=environment)
        if done.returncode:
            raise Trouble(f"shoal {arguments[0]} failed: {done.stderr.strip()}")
        return done.stdout

    def worker(self) -> psutil.Process:
        """The first process that serves callers."""
        return next(one for one in self.process.tree() if "shoal.wiring.worker" in one.cmdline())


def gateway_config(upstream_port: int) -> str:
    """Shoal's configuration with the upstream as a provider: a priced model, so that a request is planned, metered and charged."""
    return (
        f'[providers.bench]\ndialect = "openai_chat"\nbase_url = "http://127.0.0.1:{upstream_port}/v1"\napi_key = "sk-upstream"\n\n'
        f'[models."{MODEL}"]\ndeployments = [{{ provider = "bench", model = "{MODEL}", price_like = "openai/{MODEL}" }}]\n'
    )


def translating_config(upstream_port: int) -> str:
    """The same model's name, but its provider speaks Anthropic's dialect: every question and every answer is translated."""
    return (
        f'[providers.anthropic]\nbase_url = "http://127.0.0.1:{upstream_port}/v1"\napi_key = "sk-upstream"\ndiscover = false\n\n'
        f'[models."{MODEL}"]\ndeployments = [{{ provider = "anthropic", model = "claude-sonnet-4-5" }}]\n'
    )


# wrk

_LUA = """wrk.method = "POST"
wrk.body = [==[%s]==]
%s
function done(summary, latency, requests)
  local e = summary.errors
  local form = '"p50_us": %%d, "p90_us": %%d, "p99_us": %%d, "max_us": %%d, "failed": %%d}\\n'
  form = '\\nRESULT {"requests": %%d, "duration_us": %%d, ' .. form
  io.write(string.format(form,
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max,
    e.connect + e.read + e.write + e.timeout + e.status))
end
"""


def run_wrk(url: str, headers: dict[str, str], connections: int, seconds: float, directory: Path, body: object = None) -> dict[str, float]:
    """Load `url` from the generator's core, one thread. Answers requests_per_s, p50_us, p90_us, p99_us, max_us, requests, failed."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise Trouble("wrk is not installed: it makes the load. Debian: apt-get install wrk; macOS: brew install wrk.")
    lines = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in {"content-type": "application/json", **headers}.items())
    script = directory / "wrk.lua"
    script.write_text(_LUA % (json.dumps(body or QUESTION, separators=(",", ":")), lines))
    argv = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s", "-s", str(script), url]
    done = subprocess.run(pin(GENERATOR_CORE, argv), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    found = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not found:
        raise Trouble(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
    result: dict[str, float] = json.loads(found[0][7:])
    result["requests_per_s"] = result["requests"] / (result["duration_us"] / 1e6)
    return result


# the frame of a run


@contextlib.contextmanager
def workplace() -> Iterator[tuple[Path, list[Process]]]:
    """A directory for configurations and a list of started processes: both are gone afterwards, whatever happens."""
    raise_file_limit()
    BENCH.mkdir(parents=True, exist_ok=True)
    started: list[Process] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        try:
            yield Path(directory), started
        finally:
            for process in reversed(started):
                process.stop()


def run(main: Callable[[], None]) -> None:
    """Run a benchmark's main(); a Trouble ends it with a message and status 1."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except Trouble as trouble:
        sys.exit(f"{Path(sys.argv[0]).name}: {trouble}")
    except KeyboardInterrupt:
        sys.exit(130)

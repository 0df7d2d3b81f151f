"""The parent process: what runs in an installation, and what is checked before any of it starts."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from shoal.core.toml_lines import place
from shoal.settings import BadSettings, Settings
from shoal.supervisor import Child, Supervisor, bind

_SOCKET_PATH_BYTES = 100  # sun_path holds 104 bytes on macOS, 108 on Linux


def run(settings: Settings, config: Path | None, home: Path, on_ready: Callable[[str], None]) -> int:
    """Start the workers and the mini, call `on_ready(url)` once all of them serve, and stay until told to stop; the exit status.

    The settings are those that `check` has found to be right. Errors: supervisor.CannotListen.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    server = settings.server
    listener = bind(server.host, server.port)
    os.set_inheritable(listener.fileno(), True)
    scheme = "https" if server.tls_cert else "http"
    address, port = listener.getsockname()[:2]
    url = f"{scheme}://{f'[{address}]' if ':' in address else address}:{port}"
    metrics = Path(tempfile.mkdtemp(prefix="shoal-metrics-"))
    socket, desk = _mini_socket(settings, home), _short(home / "desk.sock")
    children = [_worker(number, config, listener.fileno(), socket, desk, metrics) for number in range(server.workers)]
    children += [_bookkeeper(config), _desk(config, desk)]
    if settings.distil.enabled:
        children.append(_trainer(config, url))
    if socket is not None:
        children.append(_mini(settings, home, socket))
    supervisor = Supervisor(children, grace_s=server.drain_s + server.grace_s + 5.0, listeners=[listener], on_ready=lambda: on_ready(url))
    try:
        return supervisor.run()
    finally:
        shutil.rmtree(metrics, ignore_errors=True)


def check(settings: Settings, config: Path | None) -> None:
    """What can be known to be wrong before anything starts. Errors: BadSettings naming file, line and key."""
    from shoal.net.target import parse_target
    from shoal.providers.configured import priced_like
    from shoal.providers.prices import look_up
    from shoal.providers.registry import load
    from shoal.routing.routes import BadRoute, build_routes

    def wrong(keys: Sequence[str], what: str) -> BadSettings:
        if config is None:
            return BadSettings(what)
        return BadSettings(f"{place(str(config), config.read_text('utf-8'), keys)}: {what}")

    try:
        routes = build_routes(settings.routes)
    except BadRoute as error:
        raise wrong(error.keys, str(error)) from None
    providers = load(settings.providers, os.environ)
    if routes:
        from shoal.wiring.references import find_nobodys

        for keys, what in find_nobodys(settings, routes, providers):
            raise wrong(keys, what)
    for name, provider in providers.items():
        try:
            if provider.missing is None:
                parse_target(provider.base_url)
        except ValueError as error:
            raise wrong(["providers", name, "base_url"], f"providers.{name}.base_url: {error}") from None
    listed = look_up(priced_like(settings.models))
    for name, model in settings.models.items():
        for number, deployment in enumerate(model.deployments):
            if deployment.price_like is not None and isinstance(reason := listed[deployment.price_like], str):
                keys = ["models", name, "deployments", str(number), "price_like"]
                raise wrong(keys, f'models."{name}".deployments[{number}].price_like: {reason}')


def warn(settings: Settings, home: Path) -> list[str]:
    """What is not wrong, but worth knowing before a start."""
    from shoal.core.students import PREFIX
    from shoal.routing.routes import build_routes

    if PREFIX not in repr((settings.routes, settings.models)):
        return []
    from shoal.wiring.references import find_absent

    return list(find_absent(settings, build_routes(settings.routes), home))


def _worker(number: int, config: Path | None, listener: int, socket: Path | None, desk: Path, metrics: Path) -> Child:
    argv = [sys.executable, "-m", "shoal.wiring.compiled", "shoal.wiring.worker"]
    argv += ["--fd", str(listener), "--number", str(number), "--desk-socket", str(desk)]
    if config is not None:
        argv += ["--config", str(config)]
    if socket is not None:
        argv += ["--mini-socket", str(socket)]
    return Child(
        f"worker {number}",
        argv,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(metrics), "MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "131072"},
        fds=[listener],
    )


def _bookkeeper(config: Path | None) -> Child:
    argv = [sys.executable, "-m", "shoal.wiring.bookkeeper", *(["--config", str(config)] if config is not None else [])]
    return Child("the bookkeeper", argv, last=True)  # after the workers: it folds what they leave


def _desk(config: Path | None, socket: Path) -> Child:
    argv = [sys.executable, "-m", "shoal.wiring.desk", "--socket", str(socket), *(["--config", str(config)] if config is not None else [])]
    return Child("the desk", argv, essential=False)


def _trainer(config: Path | None, url: str) -> Child:
    """It asks teachers at this installation's own address, over the loopback where it listens on all."""
    for everywhere, here in (("//0.0.0.0:", "//127.0.0.1:"), ("//[::]:", "//[::1]:")):
        url = url.replace(everywhere, here)
    argv = [sys.executable, "-m", "shoal.wiring.trainer", "--url", url, *(["--config", str(config)] if config is not None else [])]
    return Child("the trainer", argv, essential=False)


def _mini(settings: Settings, home: Path, socket: Path) -> Child:
    mini = settings.mini
    argv = [sys.executable, "-m", "shoal.mini.serve", "--socket", str(socket), "--home", str(home), "--model", mini.model]
    alone = not settings.providers  # with others to answer, the gateway stays up whatever becomes of the mini
    argv += ["--students-mb", str(mini.students_memory_mb)] if mini.students_memory_mb else []
    return Child("the mini", [*argv, "--threads", str(mini.threads or os.cpu_count() or 1)], essential=alone, last=True)


def _mini_socket(settings: Settings, home: Path) -> Path | None:
    """Where the mini listens: configured, or in SHOAL_HOME."""
    if not settings.mini.enabled:
        return None
    return _short(Path(settings.mini.socket) if settings.mini.socket else home / "mini.sock")


def _short(path: Path) -> Path:
    """A socket's path, or, where that is too long for a socket, one in a private directory."""
    if len(os.fsencode(path)) > _SOCKET_PATH_BYTES:
        return Path(tempfile.mkdtemp(prefix="shoal-")) / path.name
    return path

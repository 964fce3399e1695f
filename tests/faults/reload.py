"""F25, F26: SIGHUP under load, and workers that gunicorn replaces."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from tests.e2e.harness import HOLDS_WITHIN_S, Gateway, until
from tests.factories import chat_body, model_entry, provider_entry
from tests.faults.site import MIXED, Books, Site, budgeted_key, check_books, load

NAMED_KEY = "sk-from-the-env-file-canary"


def hang_up(gateway: Gateway) -> str:
    """SIGHUP as the README writes it, where that meets this server alone; else to its process."""
    found = subprocess.run(["pidof", "tokenhub"], capture_output=True, text=True) if shutil.which("pidof") else None
    if found is not None and found.stdout.split() == [str(gateway.process.pid)]:
        subprocess.run("kill -HUP $(pidof tokenhub)", shell=True, check=True)
        return "by name"
    os.kill(gateway.process.pid, signal.SIGHUP)
    return "by process id"


class Files:
    """The env file and the credentials file of a gateway."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.env_file = site.folder / "env"
        self.credentials = site.catalogue()
        self.write_env()

    def write_env(self, **settings: str) -> None:
        self.env_file.write_text("".join(f"{name}={text}\n" for name, text in settings.items()))

    def gateway(self, **settings: str) -> Gateway:
        self.made = self._site.gateway(credentials=self.credentials, ENV="production", **settings)
        return self.made

    def write_credentials(self, content: object) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        self.made.credentials_file.write_text(text)


def told(gateway: Gateway, event: str) -> list[Mapping[str, Any]]:
    """The log's lines of one event."""
    lines = (json.loads(line) for line in gateway.log().splitlines() if line.startswith("{"))
    return [line for line in lines if line.get("event") == event]


def reload(gateway: Gateway, event: str = "reloaded") -> Mapping[str, Any]:
    """Send the signal; gives the line that tells what came of it."""
    before = len(told(gateway, event))
    hang_up(gateway)
    until(lambda: len(told(gateway, event)) > before)
    lines = told(gateway, event)
    assert len(lines) == before + 1, lines
    return lines[-1]


def under_load(site: Site, *, clients: int, requests: int, reloads: int) -> str:
    """Reload again and again while requests and streams run: nobody notices."""
    files = Files(site)
    gateway = files.gateway(ENV_FILE=str(files.env_file))
    key, books, mark = budgeted_key(gateway), Books(gateway.data), site.upstream.mark()
    pids, ways = gateway.worker_pids(), set()
    with load(gateway, key, clients, MIXED) as running:
        for number in range(reloads):
            running.until_open(clients)
            files.write_env(TOKENHUB_DEFAULT_MAX_LATENCY_MS=str(21_000 + number))
            models = [*files.credentials["models"], model_entry(f"m{number}")]
            files.write_credentials({**files.credentials, "models": models})
            before = len(told(gateway, "reloaded"))
            ways.add(hang_up(gateway))
            until(lambda before=before: len(told(gateway, "reloaded")) > before)
        while len(running.got) < requests:
            time.sleep(0.1)
    assert not running.failures(), running.failures()[:3]
    assert gateway.worker_pids() == pids
    check_books(books, key, running.got, site.upstream, mark)
    listed = {model["id"] for model in gateway.get("/v1/models", key=gateway.first_key).json()["data"]}
    assert {f"m{number}" for number in range(reloads)} <= listed
    streams = sum(got.stream for got in running.got)
    told_how = ", ".join(ways)
    return f"{reloads} reloads {told_how}: 0 of {len(running.got)} failed, 0 of {streams} streams cut, same pids"


def broken_files(site: Site) -> str:
    """Each broken file is one line, and changes nothing."""
    files = Files(site)
    gateway = files.gateway(ENV_FILE=str(files.env_file))
    pids = gateway.worker_pids()
    good = {"TOKENHUB_LOG_LEVEL": "info"}
    models = gateway.get("/v1/models", key=gateway.first_key).json()["data"]
    more = {**files.credentials, "models": [*files.credentials["models"], model_entry("never")]}
    tries: list[tuple[Mapping[str, str], object]] = [
        ({"TOKENHUB_LOG_LEVEL": "loud"}, more),
        ({"TOKENHUB_DEFAULT_MODE": "loud"}, more),
        ({"not a name": ""}, more),
        (good, "{"),
        (good, {"providers": [{"id": "x", "api_kye": "sk-canary"}]}),
        (good, {**more, "models": [*more["models"], {"id": "no provider"}]}),
    ]
    for env, content in tries:
        files.write_env(**env)
        files.write_credentials(content)
        lines = gateway.log().count("\n")
        told_why = reload(gateway, "reload_refused")
        assert told_why["reason"], told_why
        time.sleep(0.3)
        fresh = [line for line in gateway.log().splitlines()[lines:] if "Handling signal" not in line]
        assert len(fresh) == 1, fresh
        assert "canary" not in fresh[0]
    gateway.credentials_file.chmod(0o644)
    assert "chmod 600" in reload(gateway, "reload_refused")["reason"]
    gateway.credentials_file.chmod(0o600)
    files.env_file.unlink()
    reload(gateway, "reload_refused")
    time.sleep(HOLDS_WITHIN_S)
    for answer in gateway.on_each_worker("GET", "/v1/models"):
        assert answer.json()["data"] == models
    assert gateway.worker_pids() == pids
    return f"{len(tries) + 2} broken files: one line each, nothing changed, same pids"


def what_it_does(site: Site) -> str:
    """What changed is told and holds on all workers; what needs a restart is said; what an administrator changed stays;
    references are resolved again."""
    files = Files(site)
    entry = provider_entry("alpha", site.upstream.url, api_key="env:ALPHA_KEY")
    files.credentials["providers"] = [entry]
    files.write_env(ALPHA_KEY="sk-first-canary")
    gateway = files.gateway(ENV_FILE=str(files.env_file))
    pids = gateway.worker_pids()
    assert gateway.admin("PATCH", "/models/slow-300", {"weight": 77}).status == 200
    assert gateway.admin("DELETE", "/models/slow-50-10").status in (200, 204)
    old = _key_used(gateway, site)

    changed = {"TOKENHUB_LOG_LEVEL": "debug", "TOKENHUB_DEFAULT_MODE": "cheap"}
    files.write_env(ALPHA_KEY=NAMED_KEY, **changed)
    models = [{**m, "weight": 55} if m["id"] in ("slow-300", "slow-50-10") else m for m in files.credentials["models"]]
    files.write_credentials({**files.credentials, "models": [*models, model_entry("fresh")]})
    line = reload(gateway)
    assert line["settings"] == ["TOKENHUB_LOG_LEVEL", "TOKENHUB_DEFAULT_MODE"], line
    assert line["needs_restart"] == [], line
    assert line["catalog"] == ["model fresh"], line
    time.sleep(HOLDS_WITHIN_S)
    found = {model["id"]: model for model in gateway.admin("GET", "/models?limit=1000").json()["items"]}
    assert found["slow-300"]["weight"] == 77 and "slow-50-10" not in found and "fresh" in found
    assert _key_used(gateway, site) != old and len(_key_used(gateway, site)) == 1
    assert NAMED_KEY not in gateway.log()
    files.write_env(ALPHA_KEY=NAMED_KEY, TOKENHUB_MAX_BODY_BYTES="5000")
    line = reload(gateway)
    assert line["needs_restart"] == ["TOKENHUB_MAX_BODY_BYTES"], line
    assert line["settings"] == ["TOKENHUB_LOG_LEVEL", "TOKENHUB_DEFAULT_MODE"], line
    victim = pids[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: victim not in gateway.worker_pids() and len(gateway.worker_pids()) == len(pids))
    until(lambda: gateway.get("/readyz").status == 200)
    assert len(_key_used(gateway, site)) == 1, "a new worker has another key than the others"
    return "changes told and held, restart said, admin kept, references resolved, a new worker agrees"


def _key_used(gateway: Gateway, site: Site) -> set[str]:
    """Hashes of the keys that the workers send upstream."""
    mark = site.upstream.mark()
    answers = gateway.on_each_worker("POST", "/v1/chat/completions", body=chat_body("ok"))
    assert [answer.status for answer in answers] == [200] * len(answers)
    return {call["authorization_sha256"] for call in site.upstream.calls(mark)}


def recycling(site: Site, *, clients: int, requests: int, each: int) -> str:
    """gunicorn's max_requests, if somebody sets it: workers are replaced all the time, and nobody notices."""
    arguments = ("--max-requests", str(each), "--max-requests-jitter", str(each // 5))
    gateway = site.gateway(*arguments)
    key, books, mark = budgeted_key(gateway), Books(gateway.data), site.upstream.mark()
    pids = set(gateway.worker_pids())
    with load(gateway, key, clients, [chat_body("slow-50-10"), chat_body("slow-50-10", stream=True)]) as running:
        while len(running.got) < requests:
            time.sleep(0.05)
            pids |= set(gateway.worker_pids())
    assert len(pids) > 4, "no worker was replaced"
    assert not running.failures(), running.failures()[:3]
    books.wait_until_closed(5)
    check_books(books, key, running.got, site.upstream, mark)
    return f"{len(pids) - 4} workers replaced: 0 of {len(running.got)} failed"

"""Units, image, compose file, manifests: what they start exists, and what they set is known."""

import re
import shlex
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its types are a package of their own

from backend.cli.arguments import parse
from backend.cli.serving import CONNECTION_GRACE_S
from backend.settings import Settings
from backend.store.work_queue import QUEUE_STREAM
from tests.fakes.programs import ROOT, need

DEPLOY = ROOT / "backend" / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SETTINGS = {setting.name.upper() for setting in fields(Settings)}
GRACE_S = Settings().shutdown_grace_s + CONNECTION_GRACE_S
PYTHON = "/opt/answers/.venv/bin/python"


def python_m_backend(command: list[str]) -> Namespace:
    """What our command line makes of a command, which has to be one of ours."""
    assert command[1:3] == ["-m", "backend"], command
    return parse(command[3:])


def blocks(document: Path, language: str) -> Iterator[str]:
    """The code in a document that is marked as of this language."""
    yield from re.findall(rf"^```{language}\n(.*?)^```$", document.read_text("utf-8"), re.M | re.S)


# systemd


def unit(path: Path) -> dict[str, list[str]]:
    """The values of every key of a unit, in order."""
    found: dict[str, list[str]] = {}
    for line in path.read_text("utf-8").splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_takes_the_unit(path: Path, tmp_path: Path) -> None:
    """`systemd-analyze verify` finds nothing wrong, and the rest of the machine is kept from it."""
    program = need("systemd-analyze")
    copy = tmp_path / path.name
    copy.write_text(path.read_text("utf-8").replace(PYTHON, sys.executable), "utf-8")
    verify = subprocess.run([program, "verify", copy], capture_output=True, text=True, check=False)
    assert (verify.returncode, verify.stderr) == (0, "")
    exposed = ("security", "--offline=true", "--threshold=20", copy)
    security = subprocess.run([program, *exposed], capture_output=True, text=True, check=False)
    assert security.returncode == 0, security.stdout[-500:]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_what_there_is(path: Path) -> None:
    """The command is one of ours, by the Python of the README, and ends as systemd ends it."""
    found = unit(path)
    (start,) = found["ExecStart"]
    options = python_m_backend(shlex.split(start.replace("%i", "3000")))
    assert shlex.split(start)[0] == PYTHON
    assert options.command == ("worker" if "worker" in path.name else "serve")
    assert float(found["TimeoutStopSec"][0]) >= GRACE_S + 5
    assert (found["KillSignal"], found["Restart"]) == (["SIGTERM"], ["always"])
    assert found["DynamicUser"] == found["NoNewPrivileges"] == ["yes"]
    for pairs in found.get("Environment", []):
        env = dict(pair.split("=") for pair in pairs.replace("%i", "1").split())
        assert env.keys() <= SETTINGS
        Settings.from_env(env)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_holds_no_secret(path: Path) -> None:
    """Units can be read by everybody: keys and addresses are in a file that only root reads."""
    said = " ".join(unit(path).get("Environment", []))
    for name in ("REDIS_URL", "OPENAI_API_KEY", "AUTH_SECRET"):
        assert name not in said


def test_the_units_are_those_of_the_document() -> None:
    """The README enables units that exist, with the settings where they look for them."""
    text = (DEPLOY / "README.md").read_text("utf-8")
    for path in UNITS:
        assert path.name.removesuffix(".service") in text
        assert unit(path)["EnvironmentFile"][0] in text


# The image, and what is made of it


def instructions() -> list[tuple[str, str]]:
    """The lines of the Dockerfile, put together where they were broken, as (word, rest)."""
    text = re.sub(r"\\\n\s*", "", (DEPLOY / "Dockerfile").read_text("utf-8"))
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return [(line.split()[0], line.partition(" ")[2]) for line in lines]


def test_the_image_copies_what_there_is() -> None:
    """Every path that is copied from the clone is in it, and let through by the ignore file."""
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    for word, rest in instructions():
        if word == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source.partition('/')[0]}" in ignore, source


def test_the_image_is_of_one_python() -> None:
    """What one stage installs, the last one can run, and the page lies where it is looked for."""
    froms = [rest for word, rest in instructions() if word == "FROM"]
    pythons = {match[1] for each in froms if (match := re.match(r"python:(\d\.\d+)-slim", each))}
    (version,) = pythons
    places = [rest.split()[-1] for word, rest in instructions() if "site-packages" in rest]
    assert places == [f"/venv/lib/python{version}/site-packages/backend/frontend/node_modules"]


def test_the_image_runs_as_nobody() -> None:
    """In its last stage it becomes a user without rights, and starts a server of ours."""
    last = dict(instructions()[-10:])
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", last["USER"])
    entry, command = yaml.safe_load(last["ENTRYPOINT"]), yaml.safe_load(last["CMD"])
    assert python_m_backend([*entry, *command]).command == "serve"
    assert "/healthz" in last["HEALTHCHECK"]
    assert str(Settings().port) in last["HEALTHCHECK"]
    assert last["EXPOSE"].split() == [str(Settings().port), str(Settings().frontend_port)]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file."""
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return loaded


def test_compose_starts_what_there_is(compose: dict[str, Any]) -> None:
    """Servers and workers are commands of ours, with settings that exist, and time to end."""
    ours = {name: each for name, each in compose["services"].items() if name != "redis"}
    assert {name: parse(each["command"]).command for name, each in ours.items()} == {
        "server": "serve",
        "worker": "worker",
    }
    for each in ours.values():
        assert set(each["environment"]) <= SETTINGS
        assert "REDIS_URL" in each["environment"]
        assert float(each["stop_grace_period"].removesuffix("s")) >= GRACE_S + 5
        assert each["read_only"]
        build = each["build"]
        assert (DEPLOY / build["context"]).resolve() == ROOT
        assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()
    assert "OPENAI_API_KEY" in ours["worker"]["environment"]
    assert ours["worker"]["healthcheck"] == {"disable": True}


def test_compose_keeps_what_redis_was_told(compose: dict[str, Any]) -> None:
    """Redis writes down what it accepts, evicts nothing, and its data outlive it."""
    redis = compose["services"]["redis"]
    command = redis["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    (volume,) = redis["volumes"]
    assert volume.partition(":")[0] in compose["volumes"]


# Kubernetes


@pytest.fixture(scope="module")
def manifests() -> dict[tuple[str, str], dict[str, Any]]:
    """The manifests in the document, by kind and name."""
    loaded = [yaml.safe_load(block) for block in blocks(DEPLOY / "kubernetes.md", "yaml")]
    return {(each["kind"], each["metadata"]["name"]): each for each in loaded}


@pytest.mark.parametrize(("name", "command"), [("server", "serve"), ("worker", "worker")])
def test_kubernetes_starts_what_there_is(
    manifests: dict[tuple[str, str], Any], name: str, command: str
) -> None:
    """A pod runs a command of ours, with settings that exist, and has time to end."""
    pod = manifests["Deployment", f"answers-{name}"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert parse(container["args"]).command == command
    env = {each["name"]: each for each in container["env"]}
    assert env.keys() <= SETTINGS
    Settings.from_env({key: each["value"] for key, each in env.items() if "value" in each})
    grace_s = float(env.get("SHUTDOWN_GRACE_S", {}).get("value", Settings().shutdown_grace_s))
    assert pod["terminationGracePeriodSeconds"] >= 5 + grace_s + CONNECTION_GRACE_S


def test_kubernetes_leaves_a_server_a_place_to_write(
    manifests: dict[tuple[str, str], Any],
) -> None:
    """On a file system that is read-only, the folder for sockets has a volume of its own."""
    pod = manifests["Deployment", "answers-server"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (mount,) = container["volumeMounts"]
    assert mount == {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108  it is a pod's
    assert pod["volumes"] == [{"name": "tmp", "emptyDir": {}}]


def test_kubernetes_probes_the_right_things(manifests: dict[tuple[str, str], Any]) -> None:
    """A server that waits for Redis gets no new people, and is not killed."""
    pod = manifests["Deployment", "answers-server"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": Settings().port}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": Settings().port}


def test_kubernetes_scales_on_the_queue(manifests: dict[tuple[str, str], Any]) -> None:
    """The stream that is measured is the queue, and the target leaves room in a worker."""
    scaled = manifests["ScaledObject", "answers-worker"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == "answers-worker"
    (trigger,) = scaled["triggers"]
    assert trigger["metadata"]["stream"] == QUEUE_STREAM
    assert int(trigger["metadata"]["streamLength"]) < Settings().worker_concurrency


# The folder


def test_every_file_is_described() -> None:
    """Nothing lies in backend/deploy/ that its README does not know."""
    text = (DEPLOY / "README.md").read_text("utf-8")
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.name not in ("README.md", "Dockerfile.dockerignore"):
            assert path.name in text, path

"""The container file and the init container, as far as they can be held to their word without building an image."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from end_to_end import Machine, Ran, files_below

from aiverify.demo.stories import local_hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def instructions(root: Path) -> list[tuple[str, str]]:
    """The instructions of the container file, each with its arguments on one line."""
    text = (root / "docs" / "integrations" / "Containerfile").read_text("utf-8")
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    return [(name, " ".join(rest.split())) for name, _, rest in (line.partition(" ") for line in lines if line.strip())]


def test_the_container_runs_as_nobody_in_particular(instructions: list[tuple[str, str]]) -> None:
    last = max(place for place, (name, _) in enumerate(instructions) if name == "FROM")
    final = dict(instructions[last:])

    user, _, group = final["USER"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert json.loads(final["ENTRYPOINT"]) == ["aiverify"]
    assert not any(name == "RUN" for name, _ in instructions[last:])


def test_everything_that_is_installed_is_named_with_its_hash(instructions: list[tuple[str, str]]) -> None:
    commands = [command for name, rest in instructions if name == "RUN" for command in rest.split(" && ")]
    installs = [shlex.split(command) for command in commands if " pip install " in command]

    assert len(installs) == 3
    for words in installs:
        assert "--no-deps" in words
        assert "--require-hashes" in words or "--no-index" in words
    assert not any(name == "ADD" or re.search(r"\b(curl|wget|apt-get)\b", rest) for name, rest in instructions)


def test_what_is_copied_is_there_and_is_sent_to_the_builder(root: Path, instructions: list[tuple[str, str]]) -> None:
    ignore = (root / "docs" / "integrations" / "Containerfile.dockerignore").read_text("utf-8").splitlines()
    kept = [line.removeprefix("!") for line in ignore if line.startswith("!")]
    copied = [
        source
        for name, rest in instructions
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]

    assert ignore[1] == "*"
    assert sorted(copied) == sorted(kept)
    for source in copied:
        assert (root / source).exists(), source


def test_no_image_goes_by_a_name_that_moves_without_saying_so(instructions: list[tuple[str, str]]) -> None:
    (base,) = (rest.removeprefix("PYTHON=") for name, rest in instructions if name == "ARG")

    assert not fnmatch.fnmatch(base, "*:latest")
    assert re.search(r":\d+\.\d+", base)
    assert all(rest.split()[0] == "${PYTHON}" for name, rest in instructions if name == "FROM")


# The init container


@pytest.fixture
def manifest(root: Path) -> dict[str, Any]:
    """The objects of the manifest, by their kinds."""
    text = (root / "docs" / "integrations" / "kubernetes.yaml").read_text("utf-8")
    return {item["kind"]: item for item in yaml.safe_load_all(text)}


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_every_object_fits_the_schema_of_kubernetes(manifest: dict[str, Any], version: str) -> None:
    assert set(manifest) == {"ConfigMap", "Deployment"}
    for item in manifest.values():
        kubernetes_validate.validate(item, version, strict=True)


@pytest.fixture
def pod(manifest: dict[str, Any]) -> Any:
    return manifest["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture
def hub() -> Iterator[Any]:
    with local_hub() as (hub, _):
        yield hub


def commit_of(hub: Any, name: str) -> str:
    return str(hub.repository(f"demo/{name}").commit)


class Kubelet:
    """Starts the init container's command with its arguments, its policy, and its volumes as folders here."""

    def __init__(self, folder: Path, manifest: dict[str, Any], pod: Any, endpoint: str) -> None:
        (self.container,) = pod["initContainers"]
        self.volumes = {mount["mountPath"]: folder / mount["name"] for mount in self.container["volumeMounts"]}
        for place in self.volumes.values():
            place.mkdir()
        for name, text in manifest["ConfigMap"]["data"].items():
            (self.volumes["/policy"] / name).write_text(text)
        self.machine = Machine(folder, HF_ENDPOINT=endpoint, PYTHONDONTWRITEBYTECODE="1")
        self.machine.environment |= {"HOME": str(self.volumes["/tmp"]), "XDG_CACHE_HOME": str(self.volumes["/tmp"])}

    def run(self, repo: str, commit: str) -> Ran:
        arguments = [word.replace("org/name", repo).replace(COMMIT, commit) for word in self.container["args"]]
        mounted = re.compile(f"=({'|'.join(self.volumes)})/")
        return self.machine.run(*(mounted.sub(lambda found: f"={self.volumes[found[1]]}/", word) for word in arguments))


@pytest.fixture
def kubelet(tmp_path: Path, manifest: dict[str, Any], pod: Any, hub: Any) -> Kubelet:
    return Kubelet(tmp_path, manifest, pod, hub.endpoint)


def test_a_model_that_passes_lets_the_server_start(kubelet: Kubelet, hub: Any) -> None:
    ran = kubelet.run("demo/checkpoint", commit_of(hub, "checkpoint"))

    assert ran.code == 0, ran
    assert list((kubelet.volumes["/models"] / "name").glob("pytorch_model-*.bin"))
    assert not files_below(kubelet.machine.home)
    assert not files_below(kubelet.machine.here)


def test_a_model_that_is_blocked_keeps_the_server_from_starting(kubelet: Kubelet, hub: Any) -> None:
    assert kubelet.run("demo/payload", commit_of(hub, "payload")).code == 1


def test_what_cannot_be_verified_keeps_the_server_from_starting(kubelet: Kubelet, hub: Any) -> None:
    assert kubelet.run("demo/absent", COMMIT).code == 2
    (kubelet.volumes["/policy"] / "aiverify.toml").unlink()
    assert kubelet.run("demo/checkpoint", commit_of(hub, "checkpoint")).code == 2


def test_nothing_stands_between_the_verdict_and_kubernetes(pod: Any) -> None:
    (container,) = pod["initContainers"]

    assert "command" not in container  # no shell that could lose the exit code
    assert container["args"][0] == "verify"
    assert "restartPolicy" not in container  # "Always" would make it a sidecar, which nobody waits for
    assert re.search(r"@sha256:[0-9a-f]{64}$", container["image"])


def test_the_server_can_read_the_model_and_change_nothing(pod: Any) -> None:
    (server,) = pod["containers"]

    assert {mount["name"]: mount["readOnly"] for mount in server["volumeMounts"]} == {"models": True}
    for container in (*pod["initContainers"], server):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False


def test_user_and_group_are_those_of_the_image(pod: Any, instructions: list[tuple[str, str]]) -> None:
    security = pod["securityContext"]

    assert f"{security['runAsUser']}:{security['runAsGroup']}" == dict(instructions)["USER"]

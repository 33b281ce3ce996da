"""examples/cluster: the scripts are bash that SLURM reads, the manifests are what Kubernetes reads, and
their commands are orster's. What they do without a cluster: tests/e2e/test_cluster_scripts.py."""

from __future__ import annotations

import copy
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.kubernetes import faults
from tests.unit.test_pages import unknown

REPOSITORY = Path(__file__).resolve().parents[2]
CLUSTER = REPOSITORY / "examples" / "cluster"
SCRIPTS = [*sorted(CLUSTER.glob("*.sbatch")), REPOSITORY / "templates" / "train.sbatch"]
MANIFESTS = sorted(CLUSTER.glob("*.yaml"))
NUMBER, SIZE = r"[0-9]+", r"[0-9]+[KMGT]?"
# options of sbatch, from its manual page, and what their values look like
DIRECTIVES = {
    "job-name": r"[\w.-]+",
    "nodes": r"[0-9]+(-[0-9]+)?",
    "ntasks": NUMBER,
    "ntasks-per-node": NUMBER,
    "cpus-per-task": NUMBER,
    "gpus-per-node": r"([a-z0-9_]+:)?[0-9]+",
    "mem": SIZE,
    "time": r"([0-9]+-)?[0-9]{1,2}:[0-9]{2}:[0-9]{2}",
    "signal": r"(B:|R:)*[A-Z0-9]+(@[0-9]+)?",
    "requeue": "",
    "exclusive": "",
    "open-mode": "append|truncate",
    "array": r"[0-9,-]+(%[0-9]+)?",
    "dependency": r"afterok:.+",
}


def directives(text: str) -> list[tuple[str, str]]:
    """Name and value of each #SBATCH line; sbatch reads those before the first command only."""
    found = []
    for line in text.splitlines()[1:]:
        if line.strip() and not line.startswith("#"):
            break
        if match := re.fullmatch(r"#SBATCH --([a-z-]+)(?:=(\S*))?", line):
            found.append((match[1], match[2] or ""))
        else:
            assert not line.startswith("#SBATCH"), f"not read as a directive: {line}"
    return found


def wrong(text: str) -> list[str]:
    return [
        f"--{name}={value}"
        for name, value in directives(text)
        if name not in DIRECTIVES or re.fullmatch(DIRECTIVES[name], value) is None
    ]


def commands(text: str) -> list[list[str]]:
    """The words after `orster` or `-m orster_cli` of each command of a shell script."""
    joined = text.replace("\\\n", " ").replace('"$@"', "finetune dataset/ -m a -o b")
    joined = re.sub(r"\$\([^()]*\)", "x", joined)
    lines = re.findall(
        r"(?:orster_cli|\borster) ((?!-)[^&|;\n]+)", re.sub(r"^#.*$", "", joined, flags=re.M)
    )
    return [shlex.split(line) for line in lines]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scripts(path: Path) -> None:
    text = path.read_text("utf-8")
    subprocess.run(["bash", "-n", path], check=True)
    assert text.startswith("#!/usr/bin/env bash\n")
    assert wrong(text) == []
    names = [name for name, _ in directives(text)]
    assert len(names) == len(set(names)) >= 6
    assert text.count("#SBATCH --") == len(names), "a directive after the first command is not read"
    # the end of its time reaches the script, which lets the work write a checkpoint
    assert {"signal", "requeue", "open-mode"} <= set(names)
    assert "trap" in text
    assert "scontrol requeue" in text


@pytest.mark.parametrize("path", sorted(CLUSTER.glob("*.sbatch")), ids=lambda path: path.stem)
def test_commands_of_scripts(path: Path) -> None:
    found = commands(path.read_text("utf-8"))
    assert found
    assert [(words, bad) for words in found if (bad := unknown(list(words)))] == []


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifests(path: Path) -> None:
    documents = list(yaml.safe_load_all(path.read_text("utf-8")))
    assert documents
    assert [fault for document in documents for fault in faults(document)] == []
    for document in documents:
        if document["kind"] != "Job":
            continue
        pod = document["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert container["command"] == ["/bin/sh", "-c"]
        (script,) = (text.replace("$$", "$") for text in container["args"])  # as the kubelet does
        subprocess.run(["bash", "-n", "-c", script], check=True)
        (words,) = commands(script)
        assert unknown(list(words)) == []
        assert pod["terminationGracePeriodSeconds"] >= 60 if "prepare" in path.stem else True


def test_pods_of_a_training_find_each_other() -> None:
    service, job = yaml.safe_load_all((CLUSTER / "train.yaml").read_text("utf-8"))
    pod = job["spec"]["template"]["spec"]
    name, (port,) = job["metadata"]["name"], service["spec"]["ports"]
    (script,) = pod["containers"][0]["args"]
    assert service["spec"]["selector"] == {"job-name": name}
    assert service["spec"]["clusterIP"] == "None"  # a name for each pod
    assert pod["subdomain"] == service["metadata"]["name"]
    assert f"--rdzv-endpoint {name}-0.{pod['subdomain']}:{port['port']}" in script
    assert f"--nnodes {job['spec']['completions']}" in script
    gpus = pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
    assert f"--nproc-per-node {gpus}" in script
    assert (
        job["spec"]["completions"] == job["spec"]["parallelism"]
    )  # all of them at once, or none starts


def test_parts_of_a_dataset_are_all_joined() -> None:
    (prepare,) = yaml.safe_load_all((CLUSTER / "prepare.yaml").read_text("utf-8"))
    (join,) = yaml.safe_load_all((CLUSTER / "join.yaml").read_text("utf-8"))
    count = prepare["spec"]["completions"]
    script = prepare["spec"]["template"]["spec"]["containers"][0]["args"][0].replace("$$", "$")
    joined = join["spec"]["template"]["spec"]["containers"][0]["args"][0].replace("$$", "$")
    said = [
        subprocess.run(
            ["bash", "-c", f"orster() {{ echo \"$@\"; }}; {text.removeprefix('exec ')}"],
            env={"JOB_COMPLETION_INDEX": str(count - 1), "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, check=True,
        ).stdout.split()
        for text in (script, joined)
    ]  # fmt: skip
    assert said[0][said[0].index("--shard") + 1] == f"{count}/{count}"
    assert said[0][said[0].index("-o") + 1] == f"parts/{count}"
    at = said[1].index("--merge")
    assert said[1][at + 1 : at + 1 + count] == [f"parts/{k + 1}" for k in range(count)]


def _job(change: Callable[[dict[str, Any]], object]) -> list[str]:
    (job,) = yaml.safe_load_all((CLUSTER / "prepare.yaml").read_text("utf-8"))
    job = copy.deepcopy(job)
    change(job)
    return faults(job)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda job: job.update(kind="Jobs"), "unknown kind"),
        (lambda job: job["spec"].update(completion=3), ".spec.completion: unknown"),
        (lambda job: job["spec"].update(completions="64"), "expected int"),
        (lambda job: job["spec"].pop("template"), ".spec.template: missing"),
        (lambda job: job["spec"].pop("completionMode"), "need completionMode Indexed"),
        (lambda job: job["spec"]["template"]["spec"].update(restartPolicy="Always"), "restartPolicy"),
        (lambda job: job["spec"]["template"]["spec"].pop("volumes"), "no volume data"),
        (lambda job: job["metadata"].update(name="Orster_1"), "DNS label"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_manifest_is_found(change: Callable[..., object], says: str) -> None:
    assert any(says in fault for fault in _job(change))


def test_a_mistake_in_a_script_is_found() -> None:
    head = "#!/usr/bin/env bash\n#SBATCH --node=2\n#SBATCH --time=24h\n#SBATCH --nodes=2\nset -u\n"
    assert wrong(head) == ["--node=2", "--time=24h"]
    assert directives(head + "#SBATCH --mem=1G\n")[-1] == ("nodes", "2")
    assert commands('srun torchrun -m orster_cli "$@" &\n# orster no\norster show x && ls') == [
        ["finetune", "dataset/", "-m", "a", "-o", "b"],
        ["show", "x"],
    ]

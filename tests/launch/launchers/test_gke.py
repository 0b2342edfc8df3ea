import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch import cli
from launch.launchers import gke

HERE = Path(__file__).resolve().parent
VALIDATOR = jsonschema.Draft202012Validator(json.loads((HERE / "jobset_schema.json").read_text()))
RUN = ("--config=a", "--workdir=/data/c")
LAUNCH = ("launch", "gke", "--image=image", "--hosts=2", "--volume_claim=runs", "--", *RUN)
CPU = gke.Hosts(image="image", hosts=2, volume_claim="runs", words=RUN, max_restarts=3)
TPU = replace(CPU, hosts=4, accelerator="tpu-v5-lite-podslice", topology="4x4", chips_per_host=4)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def pod(hosts):
    manifest = gke.manifest(hosts)
    job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
    return job["template"]["spec"]


def expand(word, environment):
    """What Kubernetes makes of a word of a command."""
    return re.sub(
        r"\$(\$|\((\w+)\))",
        lambda found: environment[found[2]] if found[2] else "$",
        word,
    )


@pytest.mark.parametrize("name", ["gke_cpu", "gke_gpu", "gke_tpu", "gke_slices", "gke_hostile"])
def test_manifest_keeps_to_the_schema(name):
    shown = (HERE / "golden" / f"{name}.txt").read_text()
    VALIDATOR.validate(json.loads(shown.split("\n", 1)[1]))


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.update(kind="Job"),
        lambda manifest: manifest["spec"].update(maxRestarts=3),
        lambda manifest: manifest["spec"]["failurePolicy"].update(maxRestarts="3"),
        lambda manifest: manifest["metadata"].update(name="Run_1"),
    ],
)
def test_schema_sees_mistakes(change):
    manifest = gke.manifest(CPU)
    change(manifest)
    assert list(VALIDATOR.iter_errors(manifest))


@given(words=st.lists(TEXT, max_size=3), number=st.integers(0, 99))
def test_words_reach_the_worker_unchanged(words, number):
    manifest = json.loads(json.dumps(gke.manifest(replace(CPU, words=words))))
    job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
    command = job["template"]["spec"]["containers"][0]["command"]
    expanded = [expand(word, {"PROCESS_ID": str(number)}) for word in command]
    assert expanded == [
        "lopt",
        "meta-train",
        *words,
        "--coordinator_address=lopt-worker-0-0.lopt:8476",
        "--num_processes=2",
        f"--process_id={number}",
    ]


def test_every_slice_is_a_job_in_a_node_pool_of_its_own():
    manifest = gke.manifest(replace(TPU, slices=3))
    (jobs,) = manifest["spec"]["replicatedJobs"]
    assert (jobs["replicas"], jobs["template"]["spec"]["parallelism"]) == (3, 4)
    (placed,) = manifest["metadata"]["annotations"].items()
    assert placed == (
        "alpha.jobset.sigs.k8s.io/exclusive-topology",
        "cloud.google.com/gke-nodepool",
    )
    assert "annotations" not in gke.manifest(TPU)["metadata"]


def test_kueue_reads_its_queue_from_a_label():
    labels = gke.manifest(replace(CPU, queue="research"))["metadata"]["labels"]
    assert labels == {"kueue.x-k8s.io/queue-name": "research"}
    assert "labels" not in gke.manifest(CPU)["metadata"]


def test_dockerfile_takes_what_is_there():
    root = HERE.parents[2]
    lines = (root / "Dockerfile").read_text().splitlines()
    sources = [x.split()[1:-1] for x in lines if x.startswith("COPY ") and "--from" not in x]
    assert sources
    assert all((root / source).exists() for words in sources for source in words)
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (default,) = [x.removeprefix("ARG EXTRAS=") for x in lines if x.startswith("ARG EXTRAS=")]
    assert set(default.split(",")) <= set(extras)


def test_tpu_hosts_find_each_other_by_themselves():
    assert pod(TPU)["containers"][0]["command"][-1] == "--distributed"
    assert pod(TPU)["containers"][0]["resources"]["limits"] == {"google.com/tpu": "4"}


def test_claim_is_mounted_even_if_it_is_a_bucket():
    (volume,), (container,) = pod(CPU)["volumes"], pod(CPU)["containers"]
    assert volume["persistentVolumeClaim"] == {"claimName": "runs"}
    assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": "/data"}]
    job = gke.manifest(CPU)["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert job["template"]["metadata"]["annotations"] == {"gke-gcsfuse/volumes": "true"}


def test_a_mistake_is_not_tried_again():
    manifest = gke.manifest(CPU)
    job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2]
    assert manifest["spec"]["failurePolicy"]["rules"][0]["action"] == "FailJobSet"


def test_restarts_wait(monkeypatch):
    import runpy
    import sys
    import time

    (backoff,) = pod(CPU)["initContainers"]
    python, option, module, restart = backoff["command"]
    assert (python, option, restart) == ("python", "-m", "$(RESTART)")
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setattr(sys, "argv", [module, "3"])
    monkeypatch.delitem(sys.modules, module, raising=False)
    runpy.run_module(module, run_name="__main__")
    assert waited == [8.0]


def test_manifest_is_applied_through_stdin(fake_tools):
    fake_tools.add("kubectl", reads_stdin=True)
    assert cli.main(LAUNCH) == 0
    ((command, document),) = fake_tools.calls()
    assert command == ["kubectl", "apply", "--filename=-"]
    assert json.loads(document) == gke.manifest(replace(CPU, max_restarts=10))


def test_refused_manifest(fake_tools, capfd):
    fake_tools.add("kubectl", reads_stdin=True)
    fake_tools.answer({"apply": [{"status": 1, "stderr": "no matches for kind\n"}]})
    assert cli.main(LAUNCH) == 1
    assert "no matches for kind\nlopt: error: `kubectl apply" in capfd.readouterr().err

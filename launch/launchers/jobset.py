"""The JobSet manifest of a run: one Indexed Job whose pods are the processes.

The worker's command is a list of words and meets no shell. Kubernetes itself expands ``$(NAME)`` in
it, which is used for the process's number and escaped everywhere else.

References: the JobSet API, jobset.x-k8s.io/v1alpha2; the Job and Pod APIs, batch/v1 and v1; the
Cloud Storage FUSE CSI driver's pod annotations.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from launch import errors
from launch.launchers.common import double_dollars

MOUNT = "/data"
"""Where the volume is mounted."""
_PORT = 8476
_SAVE_SECONDS = 120
"""Between the notice of an eviction and the pod's end."""
_JOB = "worker"
_ANNOTATIONS = {"gke-gcsfuse/volumes": "true"}
"""Without it a Cloud Storage FUSE claim is not mounted; nothing is needed for other claims."""

Manifest = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Hosts:
    """Where the processes run; fields are the launcher's flags of the same names.

    ``accelerator`` with a ``topology`` is a TPU, without one a GPU; None is a CPU.
    """

    name: str
    image: str
    hosts: int
    volume_claim: str
    accelerator: str | None = None
    topology: str | None = None
    chips_per_host: int | None = None
    cpus_per_host: int | None = None
    memory_per_host: str | None = None
    spot: bool = False
    namespace: str | None = None
    service_account: str | None = None


def manifest(hosts: Hosts, words: Sequence[str], max_restarts: int) -> Manifest:
    """The JobSet.

    Args:
        hosts: where the processes run.
        words: the arguments of ``lopt meta-train``.
        max_restarts: tries of all pods together after the first.
    """
    job = {
        "parallelism": hosts.hosts,
        "completions": hosts.hosts,
        "completionMode": "Indexed",
        # One lost process is of no use to the others: the Job fails, the JobSet restarts it whole.
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onExitCodes": {
                        "containerName": _JOB,
                        "operator": "In",
                        "values": [errors.USER_ERROR],
                    },
                }
            ]
        },
        "template": {"metadata": {"annotations": _ANNOTATIONS}, "spec": _pod(hosts, words)},
    }
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": _given(name=hosts.name, namespace=hosts.namespace),
        "spec": {
            "failurePolicy": {
                "maxRestarts": max_restarts,
                "rules": [
                    {
                        "name": "userError",
                        "action": "FailJobSet",
                        "onJobFailureReasons": ["PodFailurePolicy"],
                    }
                ],
            },
            "replicatedJobs": [{"name": _JOB, "replicas": 1, "template": {"spec": job}}],
        },
    }


def _pod(hosts: Hosts, words: Sequence[str]) -> Manifest:
    worker = _given(
        name=_JOB,
        image=hosts.image,
        command=["lopt", "meta-train", *double_dollars(words), *_cluster(hosts)],
        env=[_from_annotation("PROCESS_ID", "batch.kubernetes.io/job-completion-index")],
        resources=_resources(hosts) or None,
        volumeMounts=[{"name": "data", "mountPath": MOUNT}],
    )
    # JobSet restarts at once; the wait is ours.
    backoff = {
        "name": "backoff",
        "image": hosts.image,
        "command": ["python", "-m", "launch.launchers.backoff", "$(RESTART)"],
        "env": [_from_annotation("RESTART", "jobset.sigs.k8s.io/restart-attempt")],
    }
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": hosts.volume_claim}}
    return _given(
        restartPolicy="Never",
        terminationGracePeriodSeconds=_SAVE_SECONDS,
        serviceAccountName=hosts.service_account,
        nodeSelector=_node_labels(hosts) or None,
        tolerations=_tolerations(hosts) or None,
        initContainers=[backoff],
        containers=[worker],
        volumes=[claim],
    )


def _cluster(hosts: Hosts) -> list[str]:
    """How the processes find each other: GKE tells a TPU's; a JobSet's pods have known names."""
    if hosts.topology:
        return ["--distributed"]
    return [
        f"--coordinator_address={hosts.name}-{_JOB}-0-0.{hosts.name}:{_PORT}",
        f"--num_processes={hosts.hosts}",
        "--process_id=$(PROCESS_ID)",
    ]


def _resources(hosts: Hosts) -> Manifest:
    chip = "google.com/tpu" if hosts.topology else "nvidia.com/gpu"
    chips = {chip: str(hosts.chips_per_host)} if hosts.accelerator else {}
    cpus = str(hosts.cpus_per_host) if hosts.cpus_per_host else None
    requests = {**_given(cpu=cpus, memory=hosts.memory_per_host), **chips}
    return _given(requests=requests or None, limits=chips or None)


def _node_labels(hosts: Hosts) -> Manifest:
    kind = "tpu" if hosts.topology else "gpu"
    labels = {
        f"cloud.google.com/gke-{kind}-accelerator": hosts.accelerator,
        "cloud.google.com/gke-tpu-topology": hosts.topology,
        "cloud.google.com/gke-spot": "true" if hosts.spot else None,
    }
    return _given(**labels)


def _tolerations(hosts: Hosts) -> list[Manifest]:
    """GKE taints Spot nodes; nodes with chips too, but who asks for chips is let in."""
    if not hosts.spot:
        return []
    taint = {"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true"}
    return [{**taint, "effect": "NoSchedule"}]


def _from_annotation(name: str, annotation: str) -> Manifest:
    path = f"metadata.annotations['{annotation}']"
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _given(**fields: Any) -> Manifest:
    return {name: value for name, value in fields.items() if value is not None}

"""``lopt launch gke``: a JobSet on Kubernetes, with TPU, GPU or CPU hosts.

One Indexed Job, or one for each slice, whose pods are the processes. The worker's command is a list
of words and meets no shell. Kubernetes itself expands ``$(NAME)`` in it, which is used for the
process's number and escaped everywhere else.

References: the JobSet API, jobset.x-k8s.io/v1alpha2; the Job and Pod APIs, batch/v1 and v1; the
Cloud Storage FUSE CSI driver's pod annotations; Kueue's queue label; JobSet's exclusive placement.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from launch import errors, options
from launch.launchers import common
from launch.options import flag

MOUNT = "/data"
"""Where the volume is mounted."""
_PORT = 8476
_SAVE_SECONDS = 120
"""Between the notice of an eviction and the pod's end."""
_JOB = "worker"
_IMAGE = "europe-docker.pkg.dev/me/lopt/lopt:1"
_ANNOTATIONS = {"gke-gcsfuse/volumes": "true"}
"""Without it a Cloud Storage FUSE claim is not mounted; nothing is needed for other claims."""
_ONE_POOL_EACH = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}
"""Every slice lies in one node pool, whose chips are connected, and no two of them in the same."""
_QUEUE = "kueue.x-k8s.io/queue-name"
_SPOT = "cloud.google.com/gke-spot"

Manifest = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Hosts(common.Launch):
    """Where the processes run.

    ``accelerator`` with a ``topology`` is a TPU, without one a GPU; None is a CPU. Each of a TPU's
    slices is a Job of its own, between which the data centre's network connects the processes.
    """

    image: str = flag(
        "IMAGE", "a container image with `lopt` and `python` on its PATH", example=_IMAGE
    )
    hosts: int = flag(
        "N", "pods, each a process on a host of its own; for a TPU slice all its hosts", example="4"
    )
    volume_claim: str | None = flag(
        "NAME", "a ReadWriteMany claim (Filestore, NFS, Lustre); all pods mount it at /data"
    )
    accelerator: str | None = flag(
        "TYPE", "the node label's value: tpu-v5-lite-podslice, nvidia-h100-80gb, ...; else a CPU"
    )
    topology: str | None = flag("4x4", "a TPU slice's topology; says that the accelerator is a TPU")
    slices: int = flag("N", "TPU slices of that topology, each with --hosts pods", default=1)
    chips_per_host: int | None = flag("N", "TPU chips or GPUs of each host")
    cpus_per_host: int | None = flag("N", "CPU cores that each pod asks for")
    memory_per_host: str | None = flag("64Gi", "memory that each pod asks for")
    spot: bool = flag("", "use Spot nodes")
    name: str = flag("NAME", "the JobSet's name", default="lopt")
    queue: str | None = flag("NAME", "a LocalQueue of Kueue, which starts it when there is room")
    namespace: str | None = flag("NAME", "where the pods run")
    service_account: str | None = flag("NAME", "as whom they run")


HELP = f"""
usage: lopt launch gke --image=IMAGE --hosts=N [FLAGS]
         -- --config=CONFIG --workdir=gs://BUCKET/... [...]

{options.help_of(Hosts)}

The cluster needs JobSet (jobset.sigs.k8s.io), and Kueue for --queue. The Dockerfile of lopt's
repository makes an image. TPU7x is reached through GKE alone: --accelerator=tpu7x.

--workdir is in a bucket that the --service_account may write to (the image needs lopt[gcs]), or on
the volume of --volume_claim. A pod that is evicted or preempted has 2 minutes to save. A mistake of
yours (status 2) fails the JobSet at once.

  kubectl get jobset NAME                                    how it stands
  kubectl logs -f -l jobset.sigs.k8s.io/jobset-name=NAME     what it says
  kubectl delete jobset NAME                                 save and stop

Common failures
  no matches for kind "JobSet"     install JobSet in the cluster
  field is immutable               a JobSet of this name exists: delete it, or choose another --name
  pods stay Pending                no such nodes or claim: `kubectl describe pod` names the label,
                                   quota or claim; the topology must be the node pool's, the hosts
                                   all of them, the claim in the --namespace
  no pods at all                   Kueue has no room: `kubectl get workloads` says why
  pods stay in Init                the volume cannot be mounted: `kubectl describe pod` says why; is
                                   the claim ReadWriteMany?
  cannot be reached, be locked     the --service_account needs the role Storage Object User
  `lopt`: executable not found     the image has no lopt on its PATH

example: lopt launch gke --image=europe-docker.pkg.dev/me/lopt/lopt:1 --hosts=4
           --service_account=trainer --accelerator=tpu-v5-lite-podslice --topology=4x4
           --chips_per_host=4 -- --config=mnist_mlp_pes --workdir=gs://me-runs/mnist
"""


def run(arguments: Sequence[str]) -> int:
    """Apply the manifest; returns the exit status."""
    hosts = common.parse(Hosts, arguments)
    _check(hosts)
    document = json.dumps(manifest(hosts), indent=2) + "\n"
    command = ["kubectl", "apply", "--filename=-"]
    how = "see https://kubernetes.io/docs/tasks/tools"
    return common.run_or_show(command, document, how, hosts.dry_run)


def _check(hosts: Hosts) -> None:
    common.check_name(hosts.name)
    if hosts.accelerator and not hosts.chips_per_host:
        raise options.missing("chips_per_host", "4")
    if not hosts.accelerator and (hosts.topology or hosts.chips_per_host):
        raise options.missing("accelerator", "tpu-v5-lite-podslice")
    if hosts.slices > 1 and not hosts.topology:
        raise options.missing("topology", "4x4")
    folder = common.shared_workdir(hosts.words)
    if folder.startswith(common.BUCKET):
        return
    if not hosts.volume_claim:
        raise errors.UserError(
            f"--workdir={folder} is inside the pods and lost with them: give gs://BUCKET/FOLDER, or"
            f" --volume_claim=NAME and --workdir={MOUNT}/..."
        )
    if not folder.startswith(f"{MOUNT}/"):
        raise errors.UserError(
            f"--workdir={folder} is not on the volume, which is mounted at {MOUNT}: give"
            f" --workdir={MOUNT}/..."
        )


def manifest(hosts: Hosts) -> Manifest:
    """The JobSet."""
    mistake = {"containerName": _JOB, "operator": "In", "values": [errors.USER_ERROR]}
    job = {
        "parallelism": hosts.hosts,
        "completions": hosts.hosts,
        "completionMode": "Indexed",
        # One lost process is of no use to the others: the Job fails, the JobSet restarts it whole.
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": mistake}]},
        "template": {"metadata": {"annotations": _ANNOTATIONS}, "spec": _pod(hosts)},
    }
    end = {
        "name": "userError",
        "action": "FailJobSet",
        "onJobFailureReasons": ["PodFailurePolicy"],
    }
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": _given(
            name=hosts.name,
            namespace=hosts.namespace,
            labels=_given(**{_QUEUE: hosts.queue}),
            annotations=_ONE_POOL_EACH if hosts.slices > 1 else None,
        ),
        "spec": {
            "failurePolicy": {"maxRestarts": hosts.max_restarts, "rules": [end]},
            "replicatedJobs": [{"name": _JOB, "replicas": hosts.slices, "template": {"spec": job}}],
        },
    }


def _pod(hosts: Hosts) -> Manifest:
    worker = _given(
        name=_JOB,
        image=hosts.image,
        command=["lopt", "meta-train", *common.double_dollars(hosts.words), *_cluster(hosts)],
        env=[_from_annotation("PROCESS_ID", "batch.kubernetes.io/job-completion-index")],
        resources=_resources(hosts),
        volumeMounts=[{"name": "data", "mountPath": MOUNT}] if hosts.volume_claim else None,
    )
    # JobSet restarts at once; the wait is ours.
    backoff = {
        "name": "backoff",
        "image": hosts.image,
        "command": ["python", "-m", "launch.launchers.backoff", "$(RESTART)"],
        "env": [_from_annotation("RESTART", "jobset.sigs.k8s.io/restart-attempt")],
    }
    # GKE taints Spot nodes; nodes with chips too, but who asks for chips is let in.
    spot = {"key": _SPOT, "operator": "Equal", "value": "true", "effect": "NoSchedule"}
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": hosts.volume_claim}}
    return _given(
        restartPolicy="Never",
        terminationGracePeriodSeconds=_SAVE_SECONDS,
        serviceAccountName=hosts.service_account,
        nodeSelector=_node_labels(hosts),
        tolerations=[spot] if hosts.spot else None,
        initContainers=[backoff],
        containers=[worker],
        volumes=[claim] if hosts.volume_claim else None,
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
    return _given(
        requests=_given(cpu=cpus, memory=hosts.memory_per_host) | chips,
        limits=chips,
    )


def _node_labels(hosts: Hosts) -> Manifest:
    kind = "tpu" if hosts.topology else "gpu"
    labels = {
        f"cloud.google.com/gke-{kind}-accelerator": hosts.accelerator,
        "cloud.google.com/gke-tpu-topology": hosts.topology,
        _SPOT: "true" if hosts.spot else None,
    }
    return _given(**labels)


def _from_annotation(name: str, annotation: str) -> Manifest:
    path = f"metadata.annotations['{annotation}']"
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _given(**fields: Any) -> Manifest:
    return {name: value for name, value in fields.items() if value not in (None, {})}

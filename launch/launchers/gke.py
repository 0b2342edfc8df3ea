"""``lopt launch gke``: a JobSet on Kubernetes, with TPU, GPU or CPU hosts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from absl import flags

from launch import errors
from launch.launchers import common, jobset

HELP = """
usage: lopt launch gke --image=IMAGE --hosts=N --volume_claim=NAME [FLAGS]
         -- --config=CONFIG --workdir=/data/... [...]

  --image=IMAGE          a container image with lopt installed (`lopt` and `python` on its PATH)
  --hosts=N              pods, each a process on a host of its own; for a TPU slice all its hosts
  --volume_claim=NAME    a ReadWriteMany claim (Filestore, NFS, Lustre); all pods mount it at /data
  --accelerator=TYPE     the node label's value: tpu-v5-lite-podslice, nvidia-h100-80gb, ...
                         (default: CPU)
  --topology=4x4         a TPU slice's topology; says that the accelerator is a TPU
  --chips_per_host=N     TPU chips or GPUs of each host
  --cpus_per_host=N --memory_per_host=64Gi   what each pod asks for
  --spot                 use Spot nodes
  --name=NAME            the JobSet's name (default lopt)
  --namespace=NAME --service_account=NAME
  --max_restarts=N       restarts of all pods together (default 10), 2 s, 4 s, 8 s ... up to 5
                         minutes later
  --dry_run              print the manifest and apply nothing

The cluster needs JobSet (jobset.sigs.k8s.io). --workdir lies on the volume, where renaming a
folder must be atomic: a Cloud Storage FUSE claim will do if its bucket has a hierarchical namespace
and the service account may write to it. A pod that is evicted or preempted has 2 minutes to save. A
mistake of yours (status 2) fails the JobSet at once.

  kubectl get jobset NAME                                    how it stands
  kubectl logs -f -l jobset.sigs.k8s.io/jobset-name=NAME     what it says
  kubectl delete jobset NAME                                 save and stop

Common failures
  no matches for kind "JobSet"     install JobSet in the cluster
  field is immutable               a JobSet of this name exists: delete it, or choose another --name
  pods stay Pending                no such nodes or claim: `kubectl describe pod` names the label,
                                   quota or claim; the topology must be the node pool's, the hosts
                                   all of them, the claim in the --namespace
  pods stay in Init                the volume cannot be mounted: `kubectl describe pod` says why; is
                                   the claim ReadWriteMany? For a bucket, the --service_account
                                   needs the role Storage Object User
  `lopt`: executable not found     the image has no lopt on its PATH

example: lopt launch gke --image=europe-docker.pkg.dev/me/lopt/lopt:1 --hosts=4
           --volume_claim=runs --accelerator=tpu-v5-lite-podslice --topology=4x4
           --chips_per_host=4 -- --config=mnist_mlp_pes --workdir=/data/mnist
"""


def run(arguments: Sequence[str]) -> int:
    """Apply the manifest; returns the exit status."""
    values = _flags()
    given, words = common.parse(arguments, values)
    _check(given, words)
    hosts = jobset.Hosts(**{field.name: given[field.name] for field in fields(jobset.Hosts)})
    manifest = jobset.manifest(hosts, words, given["max_restarts"])
    document = json.dumps(manifest, indent=2) + "\n"
    how = "see https://kubernetes.io/docs/tasks/tools"
    command = ["kubectl", "apply", "--filename=-"]
    return common.run_or_show(command, document, how, given["dry_run"])


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    for name in ("hosts", "chips_per_host", "cpus_per_host"):
        flags.DEFINE_integer(name, None, "How many.", lower_bound=1, flag_values=values)
    for name in (
        "image",
        "accelerator",
        "topology",
        "memory_per_host",
        "namespace",
        "service_account",
        "volume_claim",
    ):
        flags.DEFINE_string(name, None, "As Kubernetes reads it.", flag_values=values)
    flags.DEFINE_string("name", "lopt", "The JobSet's name.", flag_values=values)
    flags.DEFINE_bool("spot", False, "Spot nodes.", flag_values=values)
    common.define(values, max_restarts=10)
    return values


def _check(given: Mapping[str, Any], words: Sequence[str]) -> None:
    common.require(given, image="europe-docker.pkg.dev/me/lopt/lopt:1", hosts="4")
    common.check_name(given["name"])
    if given["accelerator"]:
        common.require(given, chips_per_host="4")
    elif given["topology"] or given["chips_per_host"]:
        common.require(given, accelerator="tpu-v5-lite-podslice")
    folder = common.shared_workdir(words)
    if not given["volume_claim"]:
        raise errors.UserError(
            f"--workdir={folder} is inside the pods and lost with them: give --volume_claim=NAME"
            f" and --workdir={jobset.MOUNT}/..."
        )
    if not folder.startswith(f"{jobset.MOUNT}/"):
        raise errors.UserError(
            f"--workdir={folder} is not on the volume, which is mounted at {jobset.MOUNT}: give"
            f" --workdir={jobset.MOUNT}/..."
        )

"""``lopt launch gke``: a JobSet on Kubernetes, with TPU, GPU or CPU hosts."""

import json
from collections.abc import Sequence

from launch import errors, options
from launch.launchers import common
from launch.launchers.jobset import MOUNT, Hosts, manifest

HELP = f"""
usage: lopt launch gke --image=IMAGE --hosts=N --volume_claim=NAME [FLAGS]
         -- --config=CONFIG --workdir=/data/... [...]

{options.help_of(Hosts)}

The cluster needs JobSet (jobset.sigs.k8s.io), and Kueue for --queue. The Dockerfile of lopt's
repository makes an image. TPU7x is reached through GKE alone: --accelerator=tpu7x.

--workdir lies on the volume, where renaming a folder must be atomic: a Cloud Storage FUSE claim
will do if its bucket has a hierarchical namespace and the service account may write to it. A pod
that is evicted or preempted has 2 minutes to save. A mistake of yours (status 2) fails the JobSet
at once.

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
                                   the claim ReadWriteMany? For a bucket, the --service_account
                                   needs the role Storage Object User
  `lopt`: executable not found     the image has no lopt on its PATH

example: lopt launch gke --image=europe-docker.pkg.dev/me/lopt/lopt:1 --hosts=4
           --volume_claim=runs --accelerator=tpu-v5-lite-podslice --topology=4x4
           --chips_per_host=4 -- --config=mnist_mlp_pes --workdir=/data/mnist
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
    if not hosts.volume_claim:
        raise errors.UserError(
            f"--workdir={folder} is inside the pods and lost with them: give --volume_claim=NAME"
            f" and --workdir={MOUNT}/..."
        )
    if not folder.startswith(f"{MOUNT}/"):
        raise errors.UserError(
            f"--workdir={folder} is not on the volume, which is mounted at {MOUNT}: give"
            f" --workdir={MOUNT}/..."
        )

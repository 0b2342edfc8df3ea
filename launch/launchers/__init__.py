"""Launchers: ``lopt meta-train`` as several processes, on one machine or on a cluster's hosts.

A launcher is a module with ``HELP`` (usage, exit statuses, common failures with their remedies) and
``run(arguments) -> exit status``. Each only starts ``lopt meta-train`` and starts it again: that a
run goes on where it was stopped is the work folder's doing.
"""

LAUNCHERS: dict[str, tuple[str, str]] = {
    "local": ("launch.launchers.local", "several processes on this machine"),
    "slurm": ("launch.launchers.slurm", "a Slurm job that is requeued until it is done"),
    "gke": ("launch.launchers.gke", "a JobSet on Kubernetes: TPU, GPU or CPU hosts"),
    "tpu": ("launch.launchers.tpu", "a TPU pod as a queued resource of Google Cloud"),
}
"""Name -> (module, one line of help)."""

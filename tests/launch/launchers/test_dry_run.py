"""What every launcher would run, as golden files; `LOPT_UPDATE_GOLDEN=1` writes them anew."""

import shlex

import pytest

RUN = ("--", "--config=mnist_mlp_pes", "--workdir=/data/run")
HOSTILE = (
    "--",
    "--config=my configs/a b.py",
    "--workdir=/data/it's; rm -rf ~",
    "--config.a=\"double\" 'single' `tick` $(HOME) ${HOME} $HOME $$",
    "--config.b=line\nbreak\n#SBATCH --nodes=99\n",
    "--config.c=a && b || c | d > e < f & * ? [x] {y} ! # \\ \t%j",
    "--config.d=",
    "--config.e=é 中",
)
SLURM = ("--nodes=2", "--time=24:00:00")
GKE = ("--image=registry/lopt:1", "--hosts=4", "--volume_claim=runs")
TPU = (
    "--name=mnist",
    "--zone=us-west4-a",
    "--accelerator_type=v5litepod-16",
    "--runtime_version=v2-alpha-tpuv5-lite",
    "--package=lopt[train,tpu] @ git+https://github.com/me/lopt",
)
CASES = {
    "local.txt": ("local", "--processes=2", *RUN),
    "local_hostile.txt": ("local", "--processes=3", "--cores_per_process=1", *HOSTILE),
    "slurm.txt": ("slurm", *SLURM, *RUN),
    "slurm_gpu.txt": (
        "slurm",
        *SLURM,
        "--gpus_per_node=4",
        "--cpus_per_task=8",
        "--partition=gpu",
        "--account=me",
        "--qos=long",
        "--name=mnist",
        "--output=logs/%j.out",
        "--max_restarts=2",
        *RUN,
    ),
    "slurm_hostile.txt": ("slurm", *SLURM, *HOSTILE),
    "gke_cpu.txt": ("gke", *GKE, "--cpus_per_host=8", "--memory_per_host=16Gi", *RUN),
    "gke_gpu.txt": (
        "gke",
        *GKE,
        "--name=mnist",
        "--namespace=research",
        "--accelerator=nvidia-h100-80gb",
        "--chips_per_host=8",
        "--max_restarts=3",
        *RUN,
    ),
    "gke_tpu.txt": (
        "gke",
        *GKE,
        "--accelerator=tpu-v5-lite-podslice",
        "--topology=4x4",
        "--chips_per_host=4",
        "--spot",
        "--service_account=trainer",
        *RUN,
    ),
    "gke_slices.txt": (
        "gke",
        *GKE,
        "--accelerator=tpu7x",
        "--topology=2x2x4",
        "--slices=2",
        "--chips_per_host=4",
        "--queue=research",
        *RUN,
    ),
    "gke_bucket.txt": (
        "gke",
        *GKE[:2],
        "--accelerator=tpu-v5-lite-podslice",
        "--topology=4x4",
        "--chips_per_host=4",
        "--service_account=trainer",
        "--",
        "--config=mnist_mlp_pes",
        "--workdir=gs://runs/mnist",
    ),
    "gke_hostile.txt": ("gke", *GKE, *HOSTILE),
    "tpu.txt": ("tpu", *TPU, *RUN),
    "tpu_spot.txt": ("tpu", *TPU, "--project=me", "--spot", "--delete", *RUN),
    "tpu_bucket.txt": ("tpu", *TPU, "--", "--config=mnist_mlp_pes", "--workdir=gs://runs/mnist"),
    "tpu_hostile.txt": ("tpu", *TPU[:4], "--package=./a b'; $(x)", "--project=p q;\n", *HOSTILE),
}


@pytest.mark.parametrize("name", CASES)
def test_dry_run_is_golden(dry_run, same_as_golden, name):
    same_as_golden(name, dry_run(*CASES[name]))


def test_shown_commands_split_back_into_their_words(dry_run):
    words = shlex.split(dry_run(*CASES["local_hostile.txt"]))
    assert [words.count(word) for word in HOSTILE[1:]] == [3] * len(HOSTILE[1:])


def test_startup_script_is_a_file_for_gcloud(dry_run, tmp_path):
    script = tmp_path / "start up.sh"
    script.write_text("mount")
    shown = dry_run("tpu", *TPU, f"--startup_script={script}", *RUN)
    assert f"--metadata-from-file=startup-script={script}" in shlex.split(shown, comments=True)

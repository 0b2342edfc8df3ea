import pytest

from launch import cli
from launch.launchers import LAUNCHERS, backoff, common

RUN = ("--", "--config=a", "--workdir=/data/c")
SLURM = ("slurm", "--nodes=1", "--time=1:00:00")
GKE = ("gke", "--image=i", "--hosts=2", "--volume_claim=v")
TPU = ("tpu", "--zone=z", "--accelerator_type=t", "--runtime_version=r", "--package=p")


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_help_has_usage_example_and_remedies(capsys, launcher):
    assert cli.main(["launch", launcher, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: lopt launch {launcher} ")
    assert "\nCommon failures\n" in shown
    assert f"\nexample: lopt launch {launcher} " in shown
    assert "--dry_run" in shown
    assert "--max_restarts" in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_help_lists_every_launcher(capsys):
    assert cli.main(["launch", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name:7}  {summary}\n" in shown for name, summary in LAUNCHERS.items())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "say which launcher: local, slurm, gke, tpu"),
        (("slrum",), "did you mean 'slurm'?"),
        (("local", "--processes=2"), "they come after `--`"),
        (("local", "--processes=2", "--config=a"), "they come after `--`"),
        (("local", *RUN), "--processes is missing"),
        (("local", "--proceses=2", *RUN), "did you mean 'processes'?"),
        (("local", "--processes=0", *RUN), "processes"),
        (("local", "--processes=two", *RUN), "two"),
        (("local", "--processes=2", "--max_restarts=-1", *RUN), "max_restarts"),
        (("local", "--processes=9", "--cores_per_process=9999", *RUN), "cores there are"),
        (("local", "--processes=2", "--", "meta-train", *RUN[1:]), "unexpected 'meta-train'"),
        (("local", "--processes=2", "--", "--workdir=w"), "--config is missing after"),
        (("local", "--processes=2", "--", "--config=a"), "--workdir is missing after"),
        (
            ("local", "--processes=2", "--", "--config=a", "--workdir="),
            "--workdir is missing after",
        ),
        (("local", "--processes=2", *RUN, "--process_id=1"), "--process_id after `--`"),
        (("local", "--processes=2", *RUN, "--distributed"), "--distributed after `--`"),
        (("slurm", "--time=1:00:00", *RUN), "--nodes is missing"),
        (("slurm", "--nodes=2", *RUN), "--time is missing"),
        ((*SLURM, "--", "--config=a", "--workdir=runs/x"), "--workdir=runs/x is relative"),
        ((*SLURM, "--partition=a\n#SBATCH --nodes=9", *RUN), "no quotes"),
        ((*SLURM, "--name=a b", *RUN), "no quotes"),
        ((*SLURM, "--output=$(x)", *RUN), "no quotes"),
        ((*SLURM, "--time=", *RUN), "no quotes"),
        (("gke", "--hosts=2", *RUN), "--image is missing"),
        (("gke", "--image=i", *RUN), "--hosts is missing"),
        ((*GKE, "--name=Run_1", *RUN), "lower-case"),
        ((*GKE, "--accelerator=a", *RUN), "--chips_per_host is missing"),
        ((*GKE, "--topology=4x4", *RUN), "--accelerator is missing"),
        ((*GKE, "--", "--config=a", "--workdir=runs/x"), "--workdir=runs/x is relative"),
        ((*GKE[:-1], *RUN), "--volume_claim=NAME"),
        ((*GKE, "--volume_claim=", *RUN), "--volume_claim=NAME"),
        ((*GKE, "--", "--config=a", "--workdir=/x"), "mounted at /data"),
        ((*GKE, "--slices=2", *RUN), "--topology is missing"),
        ((*GKE, "--slices=0", *RUN), "--slices=0 must be at least 1"),
        ((*TPU, *RUN), "--name is missing"),
        (
            (*TPU, "--name=a", "--accelerator_type=tpu7x-16", *RUN),
            "TPU7x is reached through GKE alone",
        ),
        ((*TPU[:-1], "--name=a", *RUN), "--package is missing"),
        ((*TPU, "--name=a b", *RUN), "lower-case"),
        (
            (*TPU, "--name=a", "--", "--config=a", "--workdir=runs/x"),
            "--workdir=runs/x is relative",
        ),
        ((*TPU, "--name=a", "--startup_script=/nowhere", *RUN), "/nowhere is not a file"),
    ],
)
def test_mistake_is_one_line(user_error, words, expected):
    assert expected in user_error("launch", *words)


@pytest.mark.parametrize("launch", [SLURM, GKE, (*TPU, "--name=a")])
@pytest.mark.parametrize("folder", ["s3://b/c", "file:///data/c", "/data/gs://b"])
def test_only_google_s_buckets_are_a_workdir(user_error, launch, folder):
    said = user_error("launch", *launch, "--dry_run", "--", "--config=a", f"--workdir={folder}")
    assert f"--workdir={folder} is no folder: of storage in clouds only gs:// can be used" in said


@pytest.mark.parametrize(
    ("words", "tool"),
    [(SLURM, "sbatch"), (GKE, "kubectl"), ((*TPU, "--name=a"), "gcloud")],
)
def test_missing_tool_is_named(user_error, fake_tools, words, tool):
    assert f"{tool} is not on the PATH" in user_error("launch", *words, *RUN)


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--a=1", "--workdir=x=y"], "x=y"),
        (["-workdir", "x", "--b"], "x"),
        (["--workdir=x", "--workdir=y"], "y"),
        (["--workdir_of=x"], None),
        (["--workdir"], None),
    ],
)
def test_flag_of_unparsed_words(words, value):
    assert common.flag_of(words, "workdir") == value


def test_backoff_doubles_up_to_its_limit():
    assert [backoff.seconds(restart) for restart in range(5)] == [0, 2, 4, 8, 16]
    assert backoff.seconds(9) == backoff.seconds(10**6) == 300

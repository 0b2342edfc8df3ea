import io

from rich.console import Console

from launch import progress

RECORD = {
    "meta_step": 3,
    "meta_loss": 1.25,
    "grad_norm": 0.5,
    "snr": 2.0,
    "inner_steps_per_s": 1234.0,
}
COUNTS = {"diverged": 7, "skipped": 2}
WORDS = (
    "meta-loss 1.2500",
    "grad-norm 0.5",
    "snr 2.00",
    "diverged 7",
    "skipped 2",
    "1,234 inner",
    "0:01:05 left",
)


def test_lines_first_then_rarely_then_last(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    lines = progress.ProgressLines(10)
    for step in range(1, 6):
        now[0] = 4.0 * step
        lines.update({**RECORD, "meta_step": step}, COUNTS, 65.2)
    lines.close()
    lines.close()
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in shown] == ["1/10", "4/10", "5/10"]
    assert all(word in shown[0] for word in WORDS)


def test_the_first_estimate_of_the_time_is_shown_at_once(capsys, monkeypatch):
    monkeypatch.setattr(progress.time, "monotonic", lambda: 1.0)
    lines = progress.ProgressLines(10)
    for step, seconds_left in ((1, None), (2, None), (3, 65.2), (4, 60.0)):
        lines.update({**RECORD, "meta_step": step}, COUNTS, seconds_left)
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in shown] == ["1/10", "3/10"]
    assert shown[0].endswith("? left")
    assert shown[1].endswith("0:01:05 left")


def test_bar_shows_the_same(monkeypatch):
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=160)
    bar = progress.ProgressBar(10, console)
    bar.update(RECORD, COUNTS, 65.2)
    bar.message("a line that stays")
    bar.close()
    shown = terminal.getvalue()
    assert "3/10" in shown
    assert all(word in shown for word in WORDS)
    assert "a line that stays" in shown


def test_log_gets_lines(capsys):
    assert isinstance(progress.make_progress(3), progress.ProgressLines)

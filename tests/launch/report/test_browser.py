"""A page in a real browser, where there is one."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), None)
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--enable-logging=stderr",
)  # fmt: skip

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome is installed")


def screenshot(page, tmp_path, width, height=1600):
    """The page as pixels, and what the browser wrote to its console."""
    picture = tmp_path / f"{width}.png"
    done = subprocess.run(
        [BROWSER, *QUIET, f"--user-data-dir={tmp_path / str(width)}", f"--screenshot={picture}",
         f"--window-size={width},{height}", page.as_uri()],
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return np.asarray(Image.open(picture).convert("L")), console


def test_page_is_shown_without_complaint(evaluation_page, tmp_path):
    pixels, console = screenshot(evaluation_page, tmp_path, 1280)
    assert console == []
    assert (pixels < 128).mean() > 0.005
    assert (pixels[:, -10:] > 250).all()  # nothing runs over the edge

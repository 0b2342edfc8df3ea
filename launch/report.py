"""``lopt report``: a page about a run, an evaluation or an experiment."""

from collections.abc import Sequence
from dataclasses import dataclass

from launch import errors, workdir
from launch.options import flag, help_of, read


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The command's flags."""

    out: str | None = flag("FILE", "where the page goes; report.html in DIR by default")
    figures: str | None = flag("FOLDER", "write each figure there too, as PNG and PDF")


HELP = f"""
usage: lopt report DIR [--out=FILE] [--figures=FOLDER]

Writes one HTML page about a work folder of `lopt meta-train`, finished or not, `lopt evaluate` or
`lopt reproduce`. The page holds its figures and styles itself and needs no network: it can be sent
by mail, read on a phone, and printed.

{help_of(Arguments)}

example: lopt report runs/digits
"""

_PAGE = "report.html"


def run(arguments: Sequence[str]) -> int:
    """Write the page; returns the exit status."""
    asked, (given,) = read(Arguments, arguments, ("DIR",), "lopt report runs/digits")
    folder = workdir.place(given)
    if not folder.is_dir():
        raise errors.UserError(f"folder {folder} does not exist")
    out = workdir.place(asked.out) if asked.out else folder / _PAGE
    if out.is_dir() or not out.parent.is_dir():
        raise errors.UserError(f"--out={out} is no file in a folder that exists; choose another")

    from meta_train import process
    from meta_train.report import page  # imports JAX and Matplotlib: all that is cheap is checked

    figures = workdir.place(asked.figures) if asked.figures else None
    process.keep_compiled()
    try:
        text = page.make(folder, figures)
        out.write_text(text, encoding="utf-8")
    except page.NoPage as error:
        raise errors.UserError(str(error)) from error
    except OSError as error:
        raise errors.UserError(
            f"{error.filename or out} cannot be written ({error.strerror}); choose another place "
            "with --out or --figures"
        ) from error
    print(f"{out} ({len(text.encode()) / 1e6:.1f} MB)")
    return errors.DONE

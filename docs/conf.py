"""How Sphinx builds the site: pages in MyST Markdown, tutorials executed, API from docstrings."""

import importlib
import re
import tomllib
from pathlib import Path

from sphinx.util import logging

_PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]

project = "lopt"
author = "the lopt developers"
release = version = _PROJECT["version"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_show_copyright = False
html_title = "lopt"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b7a75", "color-brand-content": "#0b7a75"},
    "dark_css_variables": {"color-brand-primary": "#53c7c0", "color-brand-content": "#53c7c0"},
}
html_static_path = ["_static"]
html_css_files = ["tables.css"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# A cell that fails ends the build. What was executed is kept until its source changes.
nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_execution_timeout = 900
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("What most subclasses have besides", "params_style")]


def _formulas(app, what, name, obj, options, lines):
    """Indented formulas become literal blocks, and the bars of a norm stay bars."""
    del app, what, name, obj, options
    found, margin, literal = [], 0, False
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if line and indent == 0:
            literal = False
        elif line and found and not found[-1] and margin == 0 and not literal:
            found += ["::", ""]
            literal = True
        if line:
            margin = indent
        found.append(line if literal else re.sub(r"(?<!`)\|(?!`)", r"\\|", line))
    lines[:] = found


def _check_coverage(app, env):
    """Every public name is on a page of the API, or the build fails."""
    del app
    documented = env.domains["py"].objects
    for package in (
        "lopt",
        "tasks",
        "meta_train",
        "meta_train.run",
        "meta_train.diagnosis",
        "meta_train.evaluation",
        "checkpoints",
    ):
        for name in importlib.import_module(package).__all__:
            if f"{package}.{name}" not in documented:
                logging.getLogger(__name__).warning("%s.%s is on no page of the API", package, name)


def setup(app):
    """Formulas come before napoleon, which reads what is left."""
    app.connect("autodoc-process-docstring", _formulas, priority=400)
    app.connect("env-check-consistency", _check_coverage)

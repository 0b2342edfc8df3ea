"""From content to HTML: the templates, filled."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import jinja2

from meta_train.versions import versions


def render(template: str, content: Mapping[str, Any]) -> str:
    """Fill a template of ``launch/report/templates``; text from outside is escaped.

    Args:
        template: its file name.
        content: its variables.

    Returns:
        A whole HTML page that refers to nothing outside itself.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("launch.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made = {
        "on": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "by": versions(["lopt"])["lopt"],
    }
    return environment.get_template(template).render(**content, made=made)

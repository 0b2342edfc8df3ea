"""From a Matplotlib figure, or its SVG file, to SVG that stands inside an HTML page."""

import io
import re
from xml.etree import ElementTree

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_HREF, _ID = f"{{{_XLINK}}}href", "id"
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_REFERENCE = re.compile(r"url\(#([^)]*)\)")
_DRAWN = {"svg", "g", "defs", "path", "use", "text", "tspan", "clipPath", "rect", "image"}
"""Elements that a page takes over. A style would rule the whole page, and a script run in it."""
_IMAGE = "data:image/png;base64,"
"""How an href begins that is no reference: of what is drawn as pixels."""


def inline(figure: Figure, name: str, label: str) -> str:
    """The figure as an ``<svg>`` element that scales with the page.

    Args:
        figure: what is drawn; made within ``styles.drawing()``, as is this call.
        name: of the figure, unlike that of any other on the page.
        label: says what it shows to those who cannot see it.
    """
    FigureCanvasSVG(figure)
    file = io.BytesIO()
    # Without the date the same figure is the same text.
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return embedded(file.getvalue(), name, label)


def embedded(content: bytes, name: str, label: str) -> str:
    """The same of a figure that was saved as SVG.

    Args:
        content: of the file.
        name: see ``inline``.
        label: see ``inline``.

    Raises:
        ValueError: the content is no SVG.
    """
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from error
    if root.tag != f"{{{_SVG}}}svg":
        raise ValueError(f"its outermost element is {root.tag}")
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag not in {f"{{{_SVG}}}{tag}" for tag in _DRAWN}:
                parent.remove(child)
    _rename(root, name)
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        for attribute in ("d", "x", "y", "points"):
            if attribute in element.attrib:
                element.set(attribute, _LONG_NUMBER.sub(_shorten, element.get(attribute, "")))
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.set("role", "img")
    root.set("aria-label", label)
    return ElementTree.tostring(root, encoding="unicode")


def _rename(root: ElementTree.Element, name: str) -> None:
    """Drop ids that nothing refers to, and make the others the figure's own."""
    used: list[str] = []
    for element in root.iter():
        used += [href[1:] for href in [element.get(_HREF, "")] if href.startswith("#")]
        for value in element.attrib.values():
            used += _REFERENCE.findall(value)
    # By place: Matplotlib's own ids are drawn at random.
    names = {old: f"{name}-{i}" for i, old in enumerate(dict.fromkeys(used))}
    for element in root.iter():
        for attribute, value in list(element.attrib.items()):
            if attribute == _ID and value not in names:
                del element.attrib[attribute]
            elif attribute == _ID:
                element.set(attribute, names[value])
            elif attribute == _HREF:
                del element.attrib[attribute]
                if value.startswith("#"):
                    element.set("href", f"#{names[value[1:]]}")
                elif value.startswith(_IMAGE):
                    element.set("href", value)
            elif attribute.startswith("on"):
                del element.attrib[attribute]
            else:
                element.set(attribute, _REFERENCE.sub(lambda x: f"url(#{names[x[1]]})", value))


def _shorten(number: re.Match[str]) -> str:
    """A hundredth of a point is enough, and half the page's size."""
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")

"""Figures that look alike wherever they are shown: as PNG and PDF, and as SVG in a page."""

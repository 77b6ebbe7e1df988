"""Views over the package: discover, steer, personalise, inspect. No method logic inside."""

from workbench.widgets import ui

__all__ = ["ui"]

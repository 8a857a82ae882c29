"""The OpenAI-compatible HTTP API, generated from the installed engines."""

from .app import create_app

__all__ = ["create_app"]

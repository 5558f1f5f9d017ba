"""Keeps critical work going when the cloud LLM stops answering."""

__version__ = "0.1.0"

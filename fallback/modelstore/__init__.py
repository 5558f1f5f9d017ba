"""The models on this machine: which there are, where they lie, whether they are whole."""

from fallback.modelstore.errors import ModelStoreError
from fallback.modelstore.store import LocatedModel, locate

__all__ = ["LocatedModel", "ModelStoreError", "locate"]

"""The formats in which families of models are told of tools and write calls."""

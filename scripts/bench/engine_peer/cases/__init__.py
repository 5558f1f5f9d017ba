"""What is measured: one subject a module, listed in `registered`."""

"""How much of real-world JSON Schema the engine keeps, and whether what it writes is valid."""

"""A seeded simulation of outages: no sockets, no clock, the same core that serves."""

"""Every rule, ours first: one line each."""

from __future__ import annotations

from outage_sim.episode import Build
from outage_sim.rules.envoy import Envoy
from outage_sim.rules.fallback import Fallback
from outage_sim.rules.finagle import Finagle
from outage_sim.rules.litellm import LiteLLM
from outage_sim.rules.polly import Polly
from outage_sim.rules.resilience4j import Resilience4j

RULES: dict[str, Build] = {
    "fallback": lambda agenda, world, random, start: Fallback(agenda, world, random, started=start),
    "resilience4j": lambda agenda, world, random, start: Resilience4j(),
    "Polly": lambda agenda, world, random, start: Polly(),
    "Envoy": lambda agenda, world, random, start: Envoy(started=start),
    "Finagle": lambda agenda, world, random, start: Finagle(random, started=start),
    "LiteLLM": lambda agenda, world, random, start: LiteLLM(),
}

"""How property tests run: without a time limit for each example, which a busy machine would break."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("twofold", deadline=None)
settings.load_profile("twofold")

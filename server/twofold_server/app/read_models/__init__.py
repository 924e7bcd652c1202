"""`twofold projections`: a client of the projector's ProjectionService, for people and for scripts."""

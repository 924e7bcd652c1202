"""What messages mean: the contract of each context, envelopes and tokens."""

"""The processes of one machine: `twofold up` starts, watches and stops them."""

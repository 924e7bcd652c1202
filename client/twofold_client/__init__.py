"""The Python client of Twofold: channels that carry the consistency token, and errors with their details."""

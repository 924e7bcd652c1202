"""What keeps a measurement from being one."""


class BenchError(Exception):
    """Nothing was measured; says why."""

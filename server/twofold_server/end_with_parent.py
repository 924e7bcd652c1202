"""Runs a command that must not outlive its parent, however the parent ends.

``python -m twofold_server.end_with_parent <ppid> -- command args…`` asks Linux for SIGKILL at the
parent's death and then becomes the command. Elsewhere the command just runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def ending_with_parent(command: Sequence[str]) -> list[str]:
    """The command, to be started by this process and to end with it."""
    return [sys.executable, "-m", __name__, str(os.getpid()), "--", *command]


def main(arguments: Sequence[str]) -> None:
    """Become the command; does not return."""
    parent, _, *command = arguments
    if sys.platform == "linux":
        # Survives the exec below, as long as the command is no setuid program.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):  # it died before it could be asked for
            sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])

